"""How fast the models are in a browser, and how much memory an hour takes.

``python -m benchmarks.web [--runtime PLACE] [--model MODEL …] [--times N] [--hour | --drop FILE]``
writes the site of ``musicnn-zoo app``, opens it in headless Chromium, and runs the JavaScript
module on an example clip, as stereo at 44.1 kHz: loading, the first row after that, and how many
times faster than real time the taggram is. Models and numbers of threads take turns; medians are
printed. With ``--hour`` an hour comes in blocks, and the memory of the browser's process and the
longest frame of the page are printed. With ``--drop`` a recording is given to the page itself,
which decodes, plays and draws it, and the same is printed of that. Needs the extra ``dev`` and
Chromium.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from musicnn_zoo.web.serving import SiteServer
from musicnn_zoo.web.site import write_site

HOUR_S = 3600
FRAMES = """
    let longest = 0, last = performance.now(), watching = true;
    const watch = (now) => { longest = Math.max(longest, now - last); last = now;
                             if (watching) requestAnimationFrame(watch); };
    requestAnimationFrame(watch);
"""
SCORE = """async ([model, threads, seconds]) => {
    const { load } = await import('/lib/tagger.js');
    const decoder = new OfflineAudioContext(2, 1, 44100);
    const answer = await fetch('/examples/techno_loop.ogg');
    const clip = await decoder.decodeAudioData(await answer.arrayBuffer());
    const channels = [clip.getChannelData(0), clip.getChannelData(1)];
    async function* hour() {
        for (let n = 0; n < seconds; n++) {
            const at = n % Math.floor(clip.duration) * 44100;
            yield channels.map((channel) => channel.slice(at, at + 44100));
        }
    }
    const sound = seconds ? { blocks: hour(), sampleRate: 44100 } : clip;
    const start = performance.now();
    const tagger = await load(model, { base: './', threads });
    const loaded = performance.now();
    FRAMES
    let first = null, rows = 0;
    for await (const row of tagger.taggram(sound)) {
        first ??= performance.now() - loaded;
        rows += 1;
    }
    const end = performance.now();
    watching = false;
    tagger.dispose();
    return { load: (loaded - start) / 1000, first: first / 1000, rows, longest,
             speed: (seconds || clip.duration) / (end - loaded) * 1000 };
}""".replace("FRAMES", FRAMES)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runtime", type=Path, default=os.environ.get("MUSICNN_ZOO_RUNTIME"))
    parser.add_argument("--model", nargs="+", default=["MSD_musicnn", "MTT_musicnn"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--hour", action="store_true")
    parser.add_argument("--drop", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = write_site(Path(folder) / "site", models=given.model, runtime=given.runtime)
        click.echo(f"site {site.size / 1e6:.1f} MB in {len(site.files)} files")
        with served(site) as url:
            cases = [(model, threads) for model in given.model for threads in given.threads]
            if given.drop:
                show_drop(url, given.drop, given.model[0])
            elif given.hour:
                for case in cases:
                    show_hour(url, *case)
            else:
                show_speed(url, cases, given.times)


@contextmanager
def served(site: Any) -> Iterator[str]:
    """Serve a site from a thread; gives its address."""
    with SiteServer(site) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server.url
        finally:
            server.stop()
            thread.join()


@contextmanager
def opened(url: str) -> Iterator[tuple[Any, Any]]:
    """Open a page; gives the browser and the page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        tab = browser.new_page()
        tab.goto(url)
        yield browser, tab
        browser.close()


def show_speed(url: str, cases: list[tuple[str, int]], times: int) -> None:
    """Let the cases take turns, each in a new page."""
    found: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in cases}
    with opened(url) as (_, tab):
        for _ in range(times):
            for case in cases:
                tab.goto(url)
                found[case].append(tab.evaluate(SCORE, [*case, 0]))
    click.echo(f"{'':24} load s  first row s  times real time  longest frame ms")
    for (model, threads), runs in found.items():
        load, first, speed, longest = (
            statistics.median(run[name] for run in runs)
            for name in ("load", "first", "speed", "longest")
        )
        click.echo(
            f"{model:16} {threads} {'thread ' if threads == 1 else 'threads'}"
            f"{load:7.2f} {first:12.2f} {speed:16.0f} {longest:17.0f}"
        )


def show_hour(url: str, model: str, threads: int) -> None:
    """Run an hour in blocks, and look at the largest process of the pages."""
    with opened(url) as (browser, tab):
        run = tab.evaluate(SCORE, [model, threads, HOUR_S])
        peak = peak_of_pages(browser)
    click.echo(
        f"{model}: an hour, {run['rows']} rows, {run['speed']:.0f} times real time, "
        f"longest frame {run['longest']:.0f} ms, peak {peak:.0f} MB"
    )


def show_drop(url: str, recording: Path, model: str) -> None:
    """Give a recording to the page once its model is loaded, and wait for the last row."""
    with opened(url) as (browser, tab):
        tab.wait_for_selector(":root.ready")
        wait_until(tab, "!document.getElementById('message').textContent")
        tab.evaluate(f"() => {{ {FRAMES} window.longest = () => longest; }}")
        start = time.perf_counter()
        tab.set_input_files("#file", recording)
        wait_until(tab, "document.querySelector('.row-facts')?.textContent.includes('listened')")
        first = time.perf_counter() - start
        wait_until(tab, f"document.getElementById('message').textContent.startsWith('{model}: ')")
        taken = time.perf_counter() - start
        longest = tab.evaluate("window.longest()")
        seconds = tab.evaluate("document.getElementById('audio').duration")
        peak = peak_of_pages(browser)
    click.echo(
        f"{model}: {recording.name}, {seconds:.0f} s, first row after {first:.1f} s, "
        f"{seconds / taken:.0f} times real time while it plays, longest frame {longest:.0f} ms, "
        f"peak {peak:.0f} MB"
    )


def wait_until(tab: Any, expression: str) -> None:
    """Wait until it holds; Playwright's own way needs what the page's policy forbids."""
    while not tab.evaluate(expression):
        tab.wait_for_timeout(20)


def peak_of_pages(browser: Any) -> float:
    """Return the largest memory that a process of pages and workers had, in MB."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    return max(peak_mb(each["id"]) for each in processes if each["type"] == "renderer")


def peak_mb(process: int) -> float:
    """Return the largest resident memory that a process had, in MB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    (kib,) = re.findall(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(kib) * 1024 / 1e6


if __name__ == "__main__":
    main()
