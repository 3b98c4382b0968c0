"""How large the listening page of an hour is, and how fast it answers.

``python -m benchmarks.listening [--models MTT_musicnn MSD_musicnn]`` makes an hour of sound of an
example clip, writes its page with the sound linked and embedded, opens both in Chromium, and
measures the time from each action to the second frame that is painted after it. Needs the extra
``dev`` and Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile

from musicnn_zoo import listening_page
from musicnn_zoo.listening.recording import Recording

CLIP = Path(__file__).parents[1] / "examples" / "audio" / "techno_loop.ogg"
HOUR_S = 3600
TIMES = 15

ACTIONS = {
    "click into the taggram": """() => {
        const plot = document.querySelector('.panel .plot');
        const box = plot.getBoundingClientRect();
        const at = { clientX: box.left + Math.random() * box.width, clientY: box.top + 5,
                     button: 0, buttons: 1, pointerId: 1, bubbles: true };
        plot.setPointerCapture = () => {};
        plot.dispatchEvent(new PointerEvent('pointerdown', at)); }""",
    "zoom in": "() => document.getElementById('zoom-in').click()",
    "show all of it": "() => document.getElementById('zoom-all').click()",
    "all 50 tags, then 10": """() => {
        const count = document.getElementById('count');
        count.value = count.value === '0' ? '10' : '0';
        count.dispatchEvent(new Event('change')); }""",
    "other colours": "() => document.getElementById('theme').click()",
    "tags as text": "() => document.querySelector('#outline summary').click()",
}

UNTIL_PAINTED = """async (action) => {
    const start = performance.now();
    action();
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - start;
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["MTT_musicnn"])
    models = parser.parse_args().models
    with tempfile.TemporaryDirectory() as folder:
        audio = make_hour(Path(folder))
        page = listening_page(audio, models=models)
        linked = page.save(Path(folder) / "linked.html", link=True)
        embedded = page.save(Path(folder) / "embedded.html")
        rows = page.taggrams[0].scores.shape
        click.echo(f"an hour, {len(models)} x {rows[0]} rows of {rows[1]} tags")
        click.echo(f"page without the sound {linked.stat().st_size / 1e6:.1f} MB")
        click.echo(f"page with the sound {embedded.stat().st_size / 1e6:.1f} MB, ", nl=False)
        click.echo(f"the file {audio.stat().st_size / 1e6:.1f} MB")
        for place in (linked, embedded):
            measure(place)


def make_hour(folder: Path) -> Path:
    """Write an hour of an example clip as WebM."""
    signal, rate = soundfile.read(CLIP, dtype="float32", always_2d=True)
    whole = np.tile(signal, (HOUR_S * rate // len(signal) + 1, 1))[: HOUR_S * rate]
    soundfile.write(folder / "hour.flac", whole, rate)
    small = folder / "hour.webm"
    small.write_bytes(Recording(folder / "hour.flac").media().content)
    return small


def measure(place: Path) -> None:
    """Open a page and print how long it takes to answer."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
            args=["--no-sandbox"],
        )
        tab: Any = browser.new_page(viewport={"width": 1440, "height": 900})
        tab.goto(place.as_uri())
        tab.wait_for_selector("#play:enabled")
        ready = tab.evaluate("performance.now()")
        click.echo(f"{place.stem}: ready to play after {ready / 1000:.1f} s")
        click.echo(f"  {'milliseconds until painted':30} median  longest")
        for name, action in {"nothing": "() => {}", **ACTIONS}.items():
            took = [tab.evaluate(f"({UNTIL_PAINTED})({action})") for _ in range(TIMES)]
            click.echo(f"  {name:30} {statistics.median(took):6.0f} {max(took):8.0f}")
        browser.close()


if __name__ == "__main__":
    main()
