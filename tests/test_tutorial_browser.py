"""The tutorial to play with, in a browser: each choice shows its picture, and says its numbers."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_pages import until
from helpers_web import opened, serving_site

from musicnn_zoo.cli import cli
from musicnn_zoo.web import site as site_module
from musicnn_zoo.web.scripts import read_asset
from musicnn_zoo.web.site import Site, write_site
from musicnn_zoo.web.tutorial import DATA, INDEX, MISSING, tutorial_files

pytestmark = pytest.mark.browser

PAGE = "tutorial.html"
WORDS = json.loads(read_asset("web/page/tutorial.json"))
SHAPES = [shape for shape in WORDS["frontends"] if "layer" in shape]
CORPORA = {"MagnaTagATune": "MTT", "Million Song Dataset": "MSD"}
COLOURS = """(canvas) => {
    const { height, width } = canvas;
    const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, width, height);
    return new Set(new Uint32Array(data.buffer)).size;
}"""
CURSORS = """() => [...document.querySelectorAll(".cursor")]
    .filter((each) => each.offsetParent)
    .map((each) => [new DOMMatrix(getComputedStyle(each).transform).e, each.parentElement])
    .map(([x, { clientWidth }]) => x / clientWidth)"""


@pytest.fixture(scope="module")
def written(tmp_path_factory, web_runtime):
    return write_site(tmp_path_factory.mktemp("site"), models=["MTT_musicnn"], runtime=web_runtime)


@pytest.fixture(scope="module")
def site(written):
    with serving_site(written) as server:
        yield server


@pytest.fixture(scope="module")
def index(written):
    return json.loads((written.folder / "tutorial" / INDEX).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def array(written):
    data = (written.folder / "tutorial" / DATA).read_bytes()

    def read(given):
        count = int(np.prod(given["shape"]))
        values = np.frombuffer(data, f"<{given['type']}", count, given["at"])
        return values.reshape(given["shape"])

    return read


def clock(seconds):
    tenths = int(np.floor(seconds * 10 + 0.5))
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


def hertz(value):
    return f"{value} Hz" if value < 1000 else f"{int(value / 100 + 0.5) / 10:.1f} kHz"


def signed(value):
    return f"{'−' if value < 0 else '+'}{abs(value):.2f}"


def choose(tab, step, label):
    tab.locator(step).get_by_role("radio", name=label, exact=True).check()


def is_drawn(tab, step, name):
    canvas = tab.locator(f"{step} .pictures").get_by_role("img", name=name, exact=True)
    assert canvas.is_visible()
    for _ in range(60):
        if canvas.evaluate(COLOURS) > 2:
            return canvas
        tab.wait_for_timeout(50)
    raise AssertionError(f"{step}: {name} is empty")


def told(tab, step, name):
    """What is said of a picture, as a screen reader finds it."""
    canvas = is_drawn(tab, step, name)
    return tab.inner_text(f"#{canvas.get_attribute('aria-describedby')}")


def test_the_data_are_small(written, index) -> None:
    sizes = [size for name, size in written.files.items() if name.startswith("tutorial/")]
    assert sum(sizes) < 1.5e6
    assert written.has_tutorial
    assert len(index["clips"]) == 2
    assert len(index["models"]) == 4


def test_both_inputs_are_seen(chromium, site, index, array) -> None:
    with opened(chromium, site, PAGE) as tab:
        for clip in index["clips"]:
            choose(tab, "#clips", clip["title"])
            choose(tab, "#input", "log-mel spectrogram")
            loudest = array(clip["logmel"]).astype(int).sum(axis=1).argmax()
            assert f"the band at {hertz(index['bands_hz'][loudest])}." in told(
                tab, "#input", "Log-mel"
            )
            assert not tab.is_visible("#wave")
            choose(tab, "#input", "waveform")
            is_drawn(tab, "#input", "Waveform")
            assert not tab.locator("#input canvas.heat").is_visible()
            assert f'load_audio("{clip["file"]}")' in tab.inner_text("#input .python")
            choose(tab, "#input", "log-mel spectrogram")


@pytest.mark.parametrize("corpus", CORPORA)
def test_every_filter_shows_itself_and_where_it_answers(
    chromium, site, index, array, corpus
) -> None:
    bands = index["bands_hz"]
    with opened(chromium, site, PAGE) as tab:
        choose(tab, "#corpora", corpus)
        for clip in index["clips"]:
            choose(tab, "#clips", clip["title"])
            for shape in SHAPES:
                choose(tab, "#frontend", shape["name"])
                models = index["layers"][shape["layer"]]
                (model,) = (name for name in models if name.startswith(CORPORA[corpus]))
                of_model = models[model]
                living = tab.inner_text("#living")
                assert living.startswith(
                    f"{of_model['alive']} of {of_model['of']} filters of {model} live;"
                )
                assert f"other {of_model['of'] - of_model['alive']} are dead" in living
                buttons = tab.locator("#filters button")
                assert buttons.count() == len(of_model["filters"])
                for one in of_model["filters"]:
                    button = tab.get_by_role("button", name=f"Filter {one['filter']}", exact=True)
                    button.click()
                    assert button.get_attribute("aria-pressed") == "true"
                    assert button.locator("canvas").evaluate(COLOURS) > 2
                    answers = array(one["answers"][clip["file"]]).astype(int)
                    best = answers.max(axis=0)
                    said = tab.inner_text("#frontend .told:not(:empty)")
                    if best.max() == best.min():
                        assert "to nothing in this one" in said
                        continue
                    at = best.argmax()
                    row = answers[:, at].argmax()
                    height = one["weights"]["shape"][0]
                    high = height if height > 3 else 1
                    positions = len(bands) - high + 1
                    rows = -(-positions // len(answers))
                    low = row * rows
                    top = min(low + rows, positions) - 1 + high - 1
                    seconds = at * one["answers"][clip["file"]]["step_s"]
                    assert said.startswith(
                        f"Filter {one['filter']} answers most at {clock(seconds)}, to the bands "
                        f"from {hertz(bands[low])} to {hertz(bands[top])}: "
                        f"{int(best[at] / 2.55 + 0.5)} % of"
                    )
                    assert f"On average {int(best.mean() / 2.55 + 0.5)} %." in said
                    assert ("turns it over" in said) == one["turned"]
                tab.locator("#filters button").first.click()
                is_drawn(tab, "#frontend", "Log-mel")
                is_drawn(tab, "#frontend", "Best band")
                assert "most at" in told(tab, "#frontend", "Answer")
                assert f'layers=["{shape["layer"]}"]' in tab.inner_text("#frontend .python")


def test_a_back_end_shows_which_moments_it_listens_to(chromium, site, index, array) -> None:
    models = {model["name"]: model for model in index["models"]}
    with opened(chromium, site, PAGE) as tab:
        for corpus, prefix in CORPORA.items():
            choose(tab, "#corpora", corpus)
            for clip in index["clips"]:
                choose(tab, "#clips", clip["title"])
                for backend, architecture in (("temporal pooling", "musicnn"), ("MLP", "vgg")):
                    choose(tab, "#backend", backend)
                    model = models[f"{prefix}_{architecture}"]
                    heard = model["clips"][clip["file"]]
                    lost, scores = array(heard["lost"]), array(heard["scores"])
                    for line in (0, 3):
                        tag = heard["strongest"][line]
                        tab.select_option("#tag", model["tags"][tag])
                        said = told(tab, "#backend", "Moments")
                        mean = scores[:, tag].astype(float).mean()
                        assert said.startswith(
                            f"{model['tags'][tag]} by {model['name']}: {mean:.2f}"
                        )
                        for at, words in (
                            (lost[line].argmax(), "Most for it"),
                            (lost[line].argmin(), "ost against it"),
                        ):
                            if abs(lost[line][at]) > 1e-6:
                                seconds = clock(at * heard["lost"]["step_s"])
                                assert words in said
                                assert f"{seconds} ({signed(lost[line][at])})" in said
                    if "wins" not in heard:
                        assert not tab.get_by_role("img", name="Winners").is_visible()
                        continue
                    wins = array(heard["wins"])
                    most = wins.argmax()
                    assert told(tab, "#backend", "Winners").startswith(
                        f"The frame at {clock(most * index['frame_s'])} wins most: the maximum of "
                        f"{wins[most]} of the {heard['living'][most // 187]} channels"
                    )


def test_a_back_end_without_weights_has_words_and_no_picture(chromium, site, index) -> None:
    with opened(chromium, site, PAGE) as tab:
        for backend in WORDS["backends"]:
            if "architecture" in backend:
                continue
            choose(tab, "#backend", backend["name"])
            assert tab.inner_text("#backend-text").startswith(backend["text"])
            assert "No trained model" in tab.inner_text("#backend-text")
            assert tab.inner_text("#backend .python").endswith(backend["python"][0])
            for picture in tab.locator("#backend canvas").all():
                assert not picture.is_visible()
            assert not tab.is_visible("#tag")


def test_front_ends_without_weights_have_words_and_no_picture(chromium, site) -> None:
    with opened(chromium, site, PAGE) as tab:
        choose(tab, "#frontend", "others")
        assert tab.inner_text("#shape-text") == WORDS["frontends"][-1]["text"]
        for picture in tab.locator("#frontend canvas").all():
            assert not picture.is_visible()
        assert not tab.is_visible("#living")
        choose(tab, "#frontend", "timbral, 7 × 67")
        is_drawn(tab, "#frontend", "Answer")


def test_everything_follows_the_sound(chromium, site, index, array) -> None:
    with opened(chromium, site, PAGE) as tab:
        choose(tab, "#input", "log-mel spectrogram")
        until(tab, "!document.getElementById('play').disabled")
        tab.get_by_role("button", name="Play", exact=True).click()
        until(tab, "document.getElementById('audio').currentTime > 1")
        tab.get_by_role("button", name="Pause", exact=True).click()
        until(tab, "document.getElementById('audio').paused")
        tab.wait_for_timeout(300)
        time = tab.evaluate("document.getElementById('audio').currentTime")
        places = tab.evaluate(CURSORS)
        assert len(places) == 7
        assert places == pytest.approx([time / 32] * 7, abs=0.002)
        loudness = array(index["clips"][0]["logmel"])[:, int(time / 0.032)]
        now = tab.locator("#input .right:not(:empty)").inner_text()
        assert now == hertz(index["bands_hz"][loudness.argmax()])
        spot = tab.locator(".spot").bounding_box()
        plot = tab.locator("#frontend .plot").first.bounding_box()
        middle = (spot["x"] + spot["width"] / 2 - plot["x"]) / plot["width"]
        assert middle == pytest.approx(time / 32, abs=0.005)
        choose(tab, "#clips", index["clips"][1]["title"])  # goes on with another
        until(tab, "!document.getElementById('play').disabled")
        assert tab.inner_text("#clock").startswith("0:00.0")


def test_the_output_is_the_taggram(chromium, site, index, array) -> None:
    with opened(chromium, site, PAGE) as tab:
        for corpus, prefix in CORPORA.items():
            choose(tab, "#corpora", corpus)
            (panel,) = (each for each in tab.locator(".panel").all() if each.is_visible())
            assert panel.locator("h2").inner_text() == f"{prefix}_musicnn"
            with tab.expect_download() as started:
                panel.get_by_role("button", name="as JSON").click()
            found = json.loads(Path(started.value.path()).read_text(encoding="utf-8"))
            (model,) = (each for each in index["models"] if each["name"] == found["model"])
            scores = array(model["clips"]["techno_loop.ogg"]["scores"])
            np.testing.assert_array_equal(np.array(found["scores"], np.float32), scores)


def test_hands_off_the_mouse(chromium, site, index) -> None:
    with opened(chromium, site, PAGE) as tab:
        tab.get_by_role("radio", name="timbral, 7 × 38", exact=True).focus()
        tab.keyboard.press("ArrowRight")
        assert tab.get_by_role("radio", name="timbral, 7 × 67", exact=True).is_checked()
        tab.locator("#filters button").nth(2).focus()
        tab.keyboard.press("Space")
        assert tab.locator("#filters button").nth(2).get_attribute("aria-pressed") == "true"
        until(tab, "!document.getElementById('play').disabled")
        tab.keyboard.press("ArrowRight")
        until(tab, "document.getElementById('audio').currentTime === 5")
        tab.keyboard.press("+")
        assert "0:05.0" in tab.inner_text("#clock")


def test_the_pages_lead_to_each_other(chromium, site) -> None:
    with opened(chromium, site) as tab:
        tab.get_by_role("link", name="tutorial").click()
        tab.wait_for_selector(":root.ready #filters button")
        tab.get_by_role("link", name="Tag music of yours").click()
        tab.wait_for_selector(":root.ready #choose")


def test_other_colours_draw_everything_again(chromium, site) -> None:
    pictures = "() => [...document.querySelectorAll('canvas')].map((each) => each.toDataURL())"
    with opened(chromium, site, PAGE) as tab:
        tab.wait_for_timeout(300)
        light = tab.evaluate(pictures)
        tab.click("#theme")
        tab.wait_for_timeout(300)
        dark = tab.evaluate(pictures)
        visible = [each.is_visible() for each in tab.locator("canvas").all()]
        assert sum(visible) > 15
        for one, other, shown in zip(light, dark, visible, strict=True):
            assert one != other or not shown


@pytest.mark.parametrize("width", [320, 768, 2560])
def test_it_fits_every_screen(chromium, site, index, width) -> None:
    with opened(chromium, site, PAGE, width=width) as tab:
        for shape in WORDS["frontends"]:
            choose(tab, "#frontend", shape["name"])
            assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_checker_of_accessibility_has_nothing_to_say(chromium, site, scheme) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(chromium, site, PAGE, scheme=scheme, bypass_csp=True) as tab:
        for shape, backend, given in (
            ("timbral, 7 × 38", "temporal pooling", "log-mel spectrogram"),
            ("temporal, 0.5 s", "MLP", "waveform"),
            ("others", "autopool", "waveform"),
        ):
            choose(tab, "#frontend", shape)
            choose(tab, "#backend", backend)
            choose(tab, "#input", given)
            found = Axe().run(tab)
            assert found.violations_count == 0, found.generate_report()


def test_without_h5py_command_and_page_say_what_is_missing(
    chromium, web_runtime, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setattr(site_module, "tutorial_files", tutorial_files.__wrapped__)
    ran = CliRunner().invoke(cli, ["app", str(tmp_path / "site"), "--runtime", str(web_runtime)])
    assert (ran.exit_code, ran.stderr.strip()) == (0, MISSING)
    files = {
        path.relative_to(tmp_path / "site").as_posix(): path.stat().st_size
        for path in (tmp_path / "site").rglob("*")
        if path.is_file()
    }
    light = Site(tmp_path / "site", files)
    assert not light.has_tutorial
    with serving_site(light) as server, chromium.new_context() as context:
        tab = context.new_page()
        tab.goto(server.url + PAGE)
        until(tab, "!document.getElementById('trouble').hidden")
        assert tab.inner_text("#trouble") == MISSING
        assert not tab.is_visible("#steps")
