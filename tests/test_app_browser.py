"""The page that tags in the browser: what is dropped on it, and what it says."""

import base64
import csv
import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from helpers_audio import HARPSICHORD, STRINGS, TECHNO, chirps, cut_in_half, encode
from helpers_pages import until
from helpers_web import on_any_server, opened, serving_site

import musicnn_zoo
from musicnn_zoo.sound.envelope import find_envelope
from musicnn_zoo.tagging.results import Clip, Taggram
from musicnn_zoo.web.site import write_site

pytestmark = pytest.mark.browser

MODELS = ["MTT_musicnn", "MSD_musicnn"]
DEFAULT = MODELS[0]
HOSTILE = "<img src=x onerror=alert(1)> =1+1 \"'&.ogg"


@pytest.fixture(scope="module")
def site(tmp_path_factory, web_runtime):
    with serving_site(
        write_site(tmp_path_factory.mktemp("site"), models=MODELS, runtime=web_runtime)
    ) as server:
        yield server


DROP = """([name, content]) => {
    const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name));
    for (const kind of ["dragover", "drop"]) {
        const target = document.querySelector("main");
        target.dispatchEvent(
            new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
    }
}"""


def drop(tab, path, name=None):
    content = base64.b64encode(Path(path).read_bytes()).decode()
    tab.evaluate(DROP, [name or Path(path).name, content])


def said(tab) -> str:
    return tab.inner_text("#trouble") if tab.is_visible("#trouble") else ""


def tagged(tab, path, *, model=DEFAULT, name=None) -> dict:
    """Drop a file, wait for its last row, and return the download of its taggram."""
    drop(tab, path, name)
    shown = json.dumps(name or Path(path).name)
    until(
        tab,
        f"document.getElementById('title').textContent === {shown}"
        f" && document.getElementById('message').textContent.startsWith('{model}: ')",
    )
    assert said(tab) == ""
    return loaded(tab, f"Download the scores of {model} as JSON")


def download(tab, label: str):
    with tab.expect_download() as started:
        tab.get_by_label(label, exact=True).click()
    return started.value


def loaded(tab, label: str):
    return json.loads(Path(download(tab, label).path()).read_text(encoding="utf-8"))


def close_to(found, taggram, *, abs=5e-3):  # noqa: A002
    assert found["tags"] == list(taggram.tags)
    assert found["times"] == pytest.approx(list(taggram.times))
    np.testing.assert_allclose(found["scores"], taggram.scores, atol=abs)


# What a recording is given


@pytest.mark.parametrize(
    "clip",
    [TECHNO, HARPSICHORD, STRINGS, "mp3", "m4a"],
    ids=lambda clip: getattr(clip, "name", clip),
)
def test_what_is_dropped_has_the_tags_of_the_library(chromium, site, clip, tmp_path) -> None:
    if isinstance(clip, str):
        signal, rate = soundfile.read(TECHNO, dtype="float32", always_2d=True)
        codec = {"mp3": "mp3", "m4a": "aac"}[clip]
        clip = encode(tmp_path / f"techno.{clip}", signal.T, rate, codec)
    taggram = musicnn_zoo.taggram(clip, hop_s=1.0)
    tags = taggram.rank(top_k=50)
    with opened(chromium, site) as tab:
        found = tagged(tab, clip)
        close_to(found, taggram)
        for name, value in taggram.to_dict().items():
            if name not in ("source", "times", "tags", "scores"):
                assert found[name] == pytest.approx(value, abs=0.03), name
        whole = loaded(tab, f"Download the tags as JSON of {DEFAULT}")["tags"]
        assert list(whole)[:3] == list(tags.names[:3])
        assert whole == pytest.approx(dict(tags), abs=5e-3)
        strongest = tab.locator(".strongest .tag").all_inner_texts()
        assert strongest == list(whole)[:5]
        tab.fill(".threshold input", "0.25")
        tab.press(".threshold input", "Tab")
        events = loaded(tab, f"Download the events as JSON of {DEFAULT}")["events"]
        own = Taggram(
            np.array(found["scores"], np.float32), taggram.tags, taggram.times,
            taggram.patch_s, taggram.hop_s, DEFAULT, taggram.clip,
        )  # fmt: skip
        expected = own.events(threshold=0.25).to_dict()["events"]
        assert [list(event.values()) for event in events] == [
            pytest.approx(list(event.values()), abs=1e-6) for event in expected
        ]
        assert tab.locator(".events tbody tr, .events table > tr").count() == len(expected)


def test_the_python_lines_give_the_same(chromium, site, tmp_path, monkeypatch) -> None:
    """Also with a row a patch, which are the tags of ``musicnn_zoo.tag`` without options."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(HARPSICHORD, "a 'song'.ogg")
    with opened(chromium, site) as tab:
        tagged(tab, tmp_path / "a 'song'.ogg")
        for step, more in (("1", {"hop_s": 1.0}), ("", {})):
            tab.select_option("#step", step)
            until(tab, f"document.getElementById('message').textContent.startsWith('{DEFAULT}: ')")
            found = loaded(tab, f"Download the tags as JSON of {DEFAULT}")["tags"]
            own: dict = {}
            exec(tab.inner_text(".python code"), own)
            tags = musicnn_zoo.tag("a 'song'.ogg", top_k=50, model=DEFAULT, **more)
            assert own["tags"] == tags.top(5)
            assert found == pytest.approx(dict(tags), abs=5e-3)
            assert list(found)[:3] == list(tags.names[:3])
            assert own["events"].clip == own["taggram"].clip


def test_models_stand_below_each_other_on_one_scale(chromium, site) -> None:
    with opened(chromium, site) as tab:
        tagged(tab, STRINGS)
        tab.get_by_label("2 MSD_musicnn").check()
        until(tab, "document.getElementById('message').textContent.startsWith('MSD_musicnn: ')")
        found = loaded(tab, "Download the scores of MSD_musicnn as JSON")
        close_to(found, musicnn_zoo.taggram(STRINGS, model="MSD_musicnn", hop_s=1.0))
        assert tab.locator("section.panel h2").all_inner_texts() == MODELS
        assert len(set(tab.locator(".scale").all_inner_texts())) == 1
        assert tab.locator(".result h3").all_inner_texts() == MODELS
        tab.keyboard.press("1")
        assert tab.locator("section.panel:visible h2").all_inner_texts() == MODELS[1:]
        assert tab.locator(".result:visible h3").all_inner_texts() == MODELS[1:]
        tagged(tab, TECHNO, model="MSD_musicnn")  # what was chosen stays chosen
        assert tab.locator("section.panel h2").all_inner_texts() == MODELS[1:]


def test_rows_come_while_it_plays_and_the_cursor_follows(chromium, site) -> None:
    with opened(chromium, site) as tab:
        tab.get_by_role("button", name="Techno loop").click()
        until(tab, "document.getElementById('audio')?.currentTime > 0.5")
        assert tab.inner_text("#play") == "Pause"
        until(tab, f"document.getElementById('message').textContent.startsWith('{DEFAULT}: ')")
        until(tab, "document.getElementById('audio').currentTime > 2.2")
        tab.keyboard.press("k")
        tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        time, duration = tab.evaluate("[audio.currentTime, audio.duration]")
        fractions = tab.locator(".cursor").evaluate_all(
            "all => all.map((one) => new DOMMatrix(one.style.transform).e"
            " / one.parentElement.clientWidth)"
        )
        assert fractions == pytest.approx([time / duration] * 2, abs=0.003)
        taggram = musicnn_zoo.taggram(TECHNO, hop_s=1.0)
        row = taggram.scores[np.searchsorted(taggram.times, time, side="right") - 1]
        bars = tab.locator(".panel .meter:visible").evaluate_all(
            "all => all.map((one) => [one.ariaLabel, Number(one.ariaValueNow)])"
        )
        assert len(bars) == 10
        assert dict(bars) == pytest.approx(
            {tag: float(row[taggram.tags.index(tag)]) for tag, _ in bars}, abs=5e-3
        )


def test_the_last_of_many_counts(chromium, site) -> None:
    with opened(chromium, site) as tab:
        for clip in (TECHNO, STRINGS, TECHNO, STRINGS):
            drop(tab, clip)
            tab.wait_for_timeout(250)
        tab.get_by_label(f"1 {DEFAULT}").uncheck()
        found = tagged(tab, HARPSICHORD)
        close_to(found, musicnn_zoo.taggram(HARPSICHORD, hop_s=1.0))
        assert tab.locator("section.panel").count() == 1
        assert tab.locator("audio").count() == 1


def test_downloads_for_spreadsheets_and_eyes(chromium, site) -> None:
    with opened(chromium, site) as tab:
        found = tagged(tab, HARPSICHORD, name="=1+1, a.ogg")
        file = download(tab, f"Download the scores of {DEFAULT} as CSV")
        assert file.suggested_filename == f"=1+1, a.{DEFAULT}.csv"
        with Path(file.path()).open(encoding="utf-8", newline="") as text:
            head, *rows = csv.reader(text)
        assert head == ["source", "time_s", *found["tags"]]
        assert {row[0] for row in rows} == {"./=1+1, a.ogg"}
        np.testing.assert_allclose(np.array(rows)[:, 2:].astype(float), found["scores"], atol=6e-7)
        file = download(tab, f"Download the events as CSV of {DEFAULT}")
        with Path(file.path()).open(encoding="utf-8", newline="") as text:
            head, *rows = csv.reader(text)
        assert head == ["source", "tag", "start_s", "end_s", "score"]
        assert "harpsichord" in {row[1] for row in rows}
        picture = Path(download(tab, f"Download the scores of {DEFAULT} as PNG").path())
        width, height = np.frombuffer(picture.read_bytes()[16:24], ">u4")
        assert (width, height > 240) == (1400, True)


# What is odd


def film_without_sound(path):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(20):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def test_what_is_no_recording_is_said_in_one_sentence(chromium, site, tmp_path) -> None:
    broken = tmp_path / "notes.mp3"
    broken.write_bytes(b"no sound at all " * 100)
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0, np.float32), 44_100)
    half = cut_in_half(encode(tmp_path / "half.m4a", chirps(6), 44_100, "aac"))
    film = film_without_sound(tmp_path / "film.webm")
    odd = ROOT / "tests" / "inputs"
    expected = {
        broken: "notes.mp3: this is no recording that this browser can decode",
        tmp_path / "empty.wav": "empty.wav: is empty.",
        tmp_path / "nothing.wav": "nothing.wav: there are no samples in it.",
        half: "half.m4a: there are no samples in it.",
        film: "film.webm: there are pictures in it, but no sound.",
        odd / "wav_rate_1hz.wav": "wav_rate_1hz.wav: states a sample rate of 1 Hz, which no",
        odd / "wav_float_1e30.wav": "wav_float_1e30.wav: the sound has a sample of 1",
    }
    with opened(chromium, site) as tab:
        for path, sentence in expected.items():
            drop(tab, path)
            until(tab, "!document.getElementById('trouble').hidden")
            assert said(tab).startswith(sentence)
            tab.evaluate("document.getElementById('trouble').hidden = true")
        assert len(tagged(tab, HARPSICHORD)["times"]) == 30  # and it goes on


def test_odd_recordings_are_right(chromium, site, tmp_path) -> None:
    eight = chirps(4, 48_000, 8) / np.arange(1, 9, dtype=np.float32)[:, np.newaxis]
    soundfile.write(tmp_path / "eight.wav", eight.T, 48_000)
    soundfile.write(tmp_path / "fine.flac", chirps(4, 192_000).T, 192_000)
    soundfile.write(tmp_path / "short.wav", chirps(0.5).T, 44_100)
    soundfile.write(tmp_path / "silence.wav", np.zeros(5 * 16_000), 16_000)
    with opened(chromium, site) as tab:
        for path in sorted(tmp_path.iterdir()):
            found = tagged(tab, path)
            taggram = musicnn_zoo.taggram(path, hop_s=1.0)
            close_to(found, taggram)
            assert {name: found[name] for name in ("repeated", "silent")} == {
                "repeated": taggram.clip.repeated, "silent": taggram.clip.silent,
            }  # fmt: skip
            facts = tab.inner_text("#facts")
            assert ("repeated to fill one" in facts) == (path.name == "short.wav")
            assert ("8 channels" in facts) == (path.name == "eight.wav")
        assert tab.inner_text("#message") == f"{DEFAULT}: silent throughout"
        assert tab.locator(".strongest li").count() == 0


def test_a_recording_that_is_cut_off_says_so(chromium, site, tmp_path) -> None:
    soundfile.write(tmp_path / "cut.flac", chirps(12).T, 44_100)
    encode(tmp_path / "cut.mp3", chirps(12), 44_100, "mp3")
    with opened(chromium, site) as tab:
        for name in ("cut.flac", "cut.mp3"):
            found = tagged(tab, cut_in_half(tmp_path / name))
            assert found["damaged"]
            assert found["duration_s"] + found["lost_s"] == pytest.approx(12, abs=0.02)
            assert f"damaged: {found['lost_s']:.1f} s lost" in tab.inner_text("#facts")


@pytest.mark.parametrize("name", ["cat_lame_xing.mp3", "chained.ogg", "chained.opus"])
def test_what_follows_in_the_same_file_is_heard(chromium, site, name: str) -> None:
    clip = ROOT / "tests" / "inputs" / name
    with opened(chromium, site) as tab:
        found = tagged(tab, clip)
        taggram = musicnn_zoo.taggram(clip, hop_s=1.0)
        assert found["duration_s"] == pytest.approx(taggram.clip.duration_s, abs=0.05)
        assert len(found["times"]) == len(taggram.times)
        assert not found["damaged"]


def test_what_an_mp3_has_beyond_full_scale(chromium, site, tmp_path) -> None:
    """Chromium cuts it off before anyone can see it, Python does not."""
    signal, rate = soundfile.read(TECHNO, frames=6 * 44_100, dtype="float32", always_2d=True)
    clip = encode(tmp_path / "loud.mp3", np.clip(1.6 * signal, -1, 1).T, rate, "mp3")
    decoded, _ = soundfile.read(clip, dtype="float32", always_2d=True)
    assert np.abs(decoded).max() > 1.05
    cut = musicnn_zoo.taggram(np.clip(decoded, -1, 1).T, sample_rate=rate, hop_s=1.0)
    with opened(chromium, site) as tab:
        found = tagged(tab, clip)
        close_to(found, cut, abs=1e-3)
        close_to(found, musicnn_zoo.taggram(clip, hop_s=1.0), abs=0.03)


def test_a_name_does_no_harm(chromium, site) -> None:
    with opened(chromium, site) as tab:
        tagged(tab, HARPSICHORD, name=HOSTILE)
        assert tab.inner_text("#title") == HOSTILE
        assert tab.locator("img, iframe").count() == 0


def test_a_browser_that_lacks_something(chromium, site) -> None:
    no_pieces = "delete window.AudioDecoder; delete Navigator.prototype.mediaDevices;"
    with opened(chromium, site, before=no_pieces) as tab:
        close_to(tagged(tab, STRINGS), musicnn_zoo.taggram(STRINGS, hop_s=1.0))
        assert tab.locator("#microphone").is_disabled()
    context = chromium.new_context()
    context.add_init_script("delete window.WebAssembly")
    tab = context.new_page()
    tab.goto(site.url)
    until(tab, "!document.getElementById('trouble').hidden")
    assert said(tab).startswith("This browser cannot compute here (it has no WebAssembly).")
    context.close()


def test_the_microphone_is_asked_for_when_it_is_pressed(chromium, site) -> None:
    count = """const own = MediaDevices.prototype.getUserMedia; window.asked = 0;
        MediaDevices.prototype.getUserMedia = function (...given) {
            window.asked += 1; return own.apply(this, given); };"""
    with opened(chromium, site, before=count, permissions=["microphone"]) as tab:
        tagged(tab, HARPSICHORD)
        assert tab.evaluate("window.asked") == 0
        tab.get_by_role("button", name="Use the microphone").dblclick()  # impatiently
        until(tab, "/ · live$/.test(document.querySelector('.row-facts')?.textContent)")
        assert tab.evaluate("window.asked") == 1
        until(tab, "parseFloat(document.getElementById('clock').textContent.slice(2)) > 4.5")
        tab.get_by_role("button", name="Stop the microphone").click()
        until(tab, "document.getElementById('play')?.disabled === false")
        until(tab, f"document.getElementById('message').textContent.startsWith('{DEFAULT}: ')")
        assert tab.inner_text("#title") == "microphone.wav"
        found = loaded(tab, f"Download the scores of {DEFAULT} as JSON")
        assert found["duration_s"] > 4.5
        assert not found["silent"]
        heard = tab.evaluate("document.getElementById('audio').duration")
        assert heard == pytest.approx(found["duration_s"], abs=0.01)


def test_a_microphone_that_is_refused(chromium, site) -> None:
    with opened(chromium, site) as tab:
        tab.get_by_role("button", name="Use the microphone").click()
        until(tab, "!document.getElementById('trouble').hidden")
        assert "microphone" in said(tab)
        assert tab.get_by_role("button", name="Use the microphone").is_enabled()


# The page


def test_it_works_without_a_network_after_the_first_visit(chromium, site) -> None:
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto(site.url)
    until(tab, "navigator.serviceWorker.controller !== null")
    context.set_offline(True)
    asked = []
    site_files = site.files
    site.files = {}  # and nothing would answer
    try:
        tab.reload()
        tab.wait_for_selector(":root.ready")
        tab.on("requestfailed", lambda request: asked.append(request.url))
        tab.get_by_role("button", name="Bach, Prelude in C").click()
        until(tab, f"document.getElementById('message').textContent.startsWith('{DEFAULT}: ')")
        assert tab.inner_text("#message").startswith(f"{DEFAULT}: harpsichord 0.")
        assert asked == []
    finally:
        site.files = site_files
        context.close()


def test_any_server_will_do_in_any_folder_and_a_new_site_replaces_the_old(
    chromium, web_runtime, tmp_path
) -> None:
    """As GitHub Pages serves it, in a folder with a name of its own."""
    folder = tmp_path / "my project"
    write_site(folder, models=["MTT_vgg"], runtime=web_runtime)
    with on_any_server(tmp_path) as url:
        context = chromium.new_context()
        tab = context.new_page()
        asked = []
        context.on("request", lambda request: asked.append(request.url))
        tab.goto(f"{url}my%20project/")
        tab.get_by_role("button", name="Bach, Prelude in C").click()
        until(tab, "document.getElementById('message').textContent.startsWith('MTT_vgg: ')")
        assert not tab.evaluate("crossOriginIsolated")
        assert tab.get_by_text("A row every").is_visible()
        until(tab, "navigator.serviceWorker.controller !== null")
        own = (f"{url}my%20project/", f"blob:{url}", "data:,")
        assert [each for each in asked if not each.startswith(own)] == []
        assert tab.evaluate("caches.keys().then((names) => names.length)") == 1
        write_site(folder, models=["MTT_vgg", "MSD_vgg"], runtime=web_runtime)
        until(
            tab,
            "navigator.serviceWorker.getRegistration().then((worker) => worker.update())"
            ".then(() => caches.match('models/MSD_vgg/model.onnx')).then(Boolean)",
        )
        tab.reload()
        tab.get_by_role("button", name="Bach, Prelude in C").click()
        tab.get_by_label("2 MSD_vgg").wait_for()
        until(tab, "caches.keys().then((names) => names.length === 1)")
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_checker_of_accessibility_has_nothing_to_say(chromium, site, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(chromium, site, scheme=scheme, bypass_csp=True) as tab:
        empty = Axe().run(tab)
        assert empty.violations_count == 0, empty.generate_report()
        tagged(tab, TECHNO)
        tab.get_by_text("Tags over time, as text").click()
        found = Axe().run(tab)
        assert found.violations_count == 0, found.generate_report()
        drop(tab, __file__)
        until(tab, "!document.getElementById('trouble').hidden")
        troubled = Axe().run(tab)
        assert troubled.violations_count == 0, troubled.generate_report()


TEXTS = """() => Array.from(document.querySelectorAll('body *'))
    .filter((element) => element.checkVisibility() && element.getClientRects().length)
    .filter((element) => !element.closest('.events, pre, select, summary *, .plot'))
    .filter((element) => element.matches('button, input, progress, .meter')
        || Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((element) => !element.closest('button *, label input, h2 *'))
    .map((element) => {
        const box = element.getBoundingClientRect();
        const all = Array.from(document.querySelectorAll('body *'));
        const at = all.indexOf(element);
        return { what: element.outerHTML.slice(0, 90), at,
            within: at + element.querySelectorAll('*').length,
            left: box.left, right: box.right, top: box.top + scrollY, bottom: box.bottom + scrollY,
            cut: element.matches('button') && element.scrollWidth > element.clientWidth + 1 };
    })"""


@pytest.mark.parametrize("width", [320, 360, 768, 1440, 2560])
def test_nothing_overlaps_and_nothing_scrolls_sideways(chromium, site, width: int) -> None:
    with opened(chromium, site, width=width) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.get_by_role("button", name="Techno loop").wait_for()
        tagged(tab, HARPSICHORD, name="a very long name of a recording " * 4 + "x" * 80 + ".ogg")
        tab.get_by_label("2 MSD_musicnn").check()
        until(tab, "document.getElementById('message').textContent.startsWith('MSD_musicnn: ')")
        tab.evaluate("audio.pause(); scrollTo(0, 0)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        texts = tab.evaluate(TEXTS)
        assert len(texts) > 60
        for text in texts:
            assert text["left"] >= 0, text
            assert text["right"] <= width, text
            assert not text["cut"], text
        for one, other in combinations(texts, 2):
            apart = (
                one["right"] <= other["left"] + 0.5
                or other["right"] <= one["left"] + 0.5
                or one["bottom"] <= other["top"] + 0.5
                or other["bottom"] <= one["top"] + 0.5
            )
            assert apart or one["within"] >= other["at"], (one, other)


# Rules that the page shares with Python


EVENTS = """async ([tags, times, patch_s, rows, silent, threshold, release, minLengthS]) => {
    const { Taggram } = await import("./player/taggram.js");
    const { findEvents } = await import("./player/events.js");
    const taggram = new Taggram({ facts: { patch_s }, tags, csv: null });
    rows.forEach((row, at) => taggram.append(times[at], Float32Array.from(row), silent[at]));
    const rule = { threshold, minLengthS, ...(release === null ? {} : { release }) };
    return findEvents(taggram, rule).map(Object.values);
}"""


def test_events_are_those_of_the_library(chromium, site) -> None:
    generator = np.random.default_rng(0)
    rules = [(0.5, None, 0.0), (0.3, 0.3, 2.0), (0.8, 0.0, 0.0), (1.0, None, 0.0), (0.1, None, 5.0)]
    with opened(chromium, site) as tab:
        for count in (0, 1, 7, 60):
            tags = tuple("abcde")
            steps = generator.normal(0, 0.2, (count, 5)).cumsum(axis=0)
            scores = np.round(np.clip(0.5 + steps, 0, 1), 1).astype(np.float32)
            taggram = Taggram(
                scores, tags, np.arange(count) * 0.976, 2.992, 0.976, "a", Clip(None, 9.0),
                silent=generator.random(count) < 0.1,
            )  # fmt: skip
            for threshold, release, least in rules:
                given = [
                    list(tags), taggram.times.tolist(), 2.992, scores.tolist(),
                    taggram.silent.tolist(), threshold, release, least,
                ]  # fmt: skip
                expected = taggram.events(
                    threshold=threshold, release=release, min_length_s=least
                ).events
                found = tab.evaluate(EVENTS, given)
                assert [event[:3] for event in found] == [list(event[:3]) for event in expected]
                assert [event[3] for event in found] == pytest.approx(
                    [event.score for event in expected], abs=1e-6
                )


ENVELOPE = """async ([blocks, sampleRate]) => {
    const { Envelope } = await import("./player/envelope.js");
    const envelope = new Envelope();
    for (const block of blocks) envelope.feed(Float32Array.from(block), sampleRate);
    envelope.finish();
    const { length, lowest, highest, stretch } = envelope;
    return [stretch, Array.from(lowest.slice(0, length)), Array.from(highest.slice(0, length))];
}"""


def test_the_waveform_is_that_of_the_library(chromium, site) -> None:
    signal = np.random.default_rng(0).uniform(-1.2, 1.2, 6_100).astype(np.float32)
    with opened(chromium, site) as tab:
        for rate in (1000, 400):
            blocks = np.split(signal, [17, 900, 901])
            stretch, lowest, highest = tab.evaluate(ENVELOPE, [[b.tolist() for b in blocks], rate])
            expected = find_envelope([signal], rate)
            assert stretch == pytest.approx(expected.stretch_s)
            np.testing.assert_allclose(lowest, expected.lowest, atol=1)
            np.testing.assert_allclose(highest, expected.highest, atol=1)
