"""The listening page in a real browser."""

import csv
import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from helpers_audio import HARPSICHORD, TECHNO, chirps, encode
from helpers_pages import serving_pages, until, watched

from musicnn_zoo import Taggram, listening_page
from musicnn_zoo.library.text_store import Writer
from musicnn_zoo.listening.listing import Listed, list_page, navigation
from musicnn_zoo.listening.page import Envelope, ListeningPage
from musicnn_zoo.listening.recording import Recording
from musicnn_zoo.tagging.results import Clip

pytestmark = pytest.mark.browser

MODELS = ["MTT_musicnn", "MSD_musicnn"]
HOSTILE = (
    "<img src=x onerror=alert(1)>.ogg",
    "'\"><script>alert(1)<／script>.ogg",
    'it\'s "quoted" & 🎸 $HOME ${x}.ogg',
    "=1+cmd|' !A0.ogg",
    "</script><script>alert(1)<!--.ogg".replace("/", "∕"),
)


@pytest.fixture(scope="module")
def techno(tmp_path_factory):
    """Page of a clip with two models, and where it was saved."""
    page = listening_page(TECHNO, models=MODELS)
    place = page.save(tmp_path_factory.mktemp("page") / "techno.html")
    return page, place


@contextmanager
def opened(chromium, place, *, allowed=("file:", "blob:"), **options):
    """Open a page, which must ask for nothing but itself, and wait for its sound."""
    with watched(chromium, *allowed, **options) as tab:
        tab.goto(place if isinstance(place, str) else place.as_uri())
        tab.wait_for_selector("#play:enabled")
        yield tab


def now(tab):
    return tab.evaluate("document.getElementById('audio').currentTime")


def go(tab, time):
    tab.evaluate("time => { document.getElementById('audio').currentTime = time }", time)
    until(
        tab,
        "(() => { const audio = document.getElementById('audio');"
        f" return !audio.seeking && Math.abs(audio.currentTime - {time}) < 0.01 }})()",
    )


def painted(tab):
    """Wait until what was done is drawn: the page draws in frames, and not before them."""
    tab.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def bars(tab, model):
    """What the live bars of a model show: tag, value of the bar, written value, drawn width."""
    painted(tab)
    panel = tab.locator(f"section.panel[aria-label='Taggram by {model}']")
    return panel.locator(".now:not([hidden])").evaluate_all(
        """rows => rows.map(row => {
            const meter = row.querySelector('.meter');
            return [meter.getAttribute('aria-label'), Number(meter.getAttribute('aria-valuenow')),
                    row.querySelector('.value').textContent,
                    Number(/scaleX\\(([^)]*)\\)/.exec(row.querySelector('.fill').style.transform)[1])]
        })"""
    )


def cursors(tab):
    """Where the cursors stand, as fractions of what they stand on."""
    painted(tab)
    return tab.locator(".cursor").evaluate_all(
        "all => all.filter(one => one.offsetParent).map(one => new"
        " DOMMatrix(one.style.transform).e / one.parentElement.clientWidth)"
    )


def test_it_plays_and_the_cursor_follows_the_sound(chromium, techno) -> None:
    page, place = techno
    duration = page.taggrams[0].clip.duration_s
    with opened(chromium, place) as tab:
        assert cursors(tab) == [0, 0, 0]
        tab.evaluate(  # a busy machine would be too late to click
            """() => { const audio = document.getElementById('audio');
                audio.addEventListener('timeupdate', () => {
                    if (audio.currentTime > 1.2) audio.pause(); }); }"""
        )
        tab.click("#play")
        until(tab, "document.getElementById('play').textContent === 'Pause'")
        until(tab, "document.getElementById('audio').paused")
        painted(tab)
        heard = now(tab)
        assert heard > 1.2
        assert tab.inner_text("#play") == "Play"
        assert cursors(tab) == pytest.approx([heard / duration] * 3, abs=0.002)
        assert tab.inner_text("#status").startswith("0:0")
        assert "techno" in tab.inner_text("#status")


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("fraction", [0.02, 0.5, 0.93])
@pytest.mark.parametrize("plot", ["#wave-plot", "section.panel >> nth=1 >> .plot"])
def test_a_click_seeks(chromium, techno, width: int, fraction: float, plot: str) -> None:
    page, place = techno
    with opened(chromium, place, width=width) as tab:
        tab.locator(plot).scroll_into_view_if_needed()
        box = tab.locator(plot).bounding_box()
        tab.mouse.click(box["x"] + fraction * box["width"], box["y"] + box["height"] - 8)
        expected = fraction * page.taggrams[0].clip.duration_s
        assert now(tab) == pytest.approx(expected, abs=0.1)
        assert cursors(tab) == pytest.approx([fraction] * 3, abs=0.01)


def test_the_bars_are_the_row_of_the_taggram_at_that_time(chromium, techno) -> None:
    page, place = techno
    with opened(chromium, place) as tab:
        tab.select_option("#count", "0")
        for time in (0, 0.97, 0.98, 7.3, 16.0, 29.5):
            go(tab, time)
            for taggram in page.taggrams:
                row = taggram.scores[np.searchsorted(taggram.times, time, side="right") - 1]
                expected = dict(zip(taggram.tags, row, strict=True))
                shown = bars(tab, taggram.model)
                assert len(shown) == 50
                for tag, value, text, drawn in shown:
                    assert value == float(str(expected[tag]))
                    assert drawn == pytest.approx(float(expected[tag]), abs=1e-6)
                    assert text == f"{expected[tag]:.2f}"
        order = [tag for tag, *_ in bars(tab, "MTT_musicnn")]
        assert order == list(page.taggrams[0].rank(top_k=50).names)


def test_where_no_patch_reaches_there_is_no_score(chromium, techno) -> None:
    page, place = techno
    taggram = page.taggrams[0]
    end = taggram.times[-1] + taggram.patch_s
    with opened(chromium, place) as tab:
        go(tab, end - 0.05)
        assert bars(tab, "MTT_musicnn")[0][2] == f"{max(taggram.scores[-1]):.2f}"
        go(tab, (end + taggram.clip.duration_s) / 2)
        assert {text for _, _, text, _ in bars(tab, "MTT_musicnn")} == {"–"}


def test_the_picture_has_the_colours_of_the_scores(chromium, techno) -> None:
    page, place = techno
    taggram = page.taggrams[0]
    loudest = max(float(each.scores.max()) for each in page.taggrams)  # one scale for all models
    top = max(0.05, np.ceil(loudest * 20) / 20)
    strongest = taggram.tags.index(taggram.rank(top_k=1).names[0])
    with opened(chromium, place) as tab:
        panel = "section.panel[aria-label='Taggram by MTT_musicnn']"
        (scale,) = pixels(tab, f"{panel} .scale canvas", 256, 0)
        drawn = pixels(tab, f"{panel} .plot canvas", 256, 0.05)
        for row in (3, 11, 25):
            at = (taggram.times[row] + 0.5 * taggram.hop_s) / taggram.clip.duration_s
            level = round(255 * float(taggram.scores[row, strongest]) / top)
            np.testing.assert_allclose(drawn[0][int(256 * at)], scale[level], atol=4)


def pixels(tab, selector: str, columns: int, height: float) -> np.ndarray:
    """Return one line of a canvas, at a height, in some columns."""
    painted(tab)
    found = tab.evaluate(
        """([selector, columns, height]) => {
            const canvas = document.querySelector(selector);
            const copy = new OffscreenCanvas(columns, 1).getContext('2d');
            copy.imageSmoothingEnabled = false;
            const line = Math.floor(height * canvas.height);
            copy.drawImage(canvas, 0, line, canvas.width, 1, 0, 0, columns, 1);
            return Array.from(copy.getImageData(0, 0, columns, 1).data);
        }""",
        [selector, columns, height],
    )
    return np.array(found).reshape(1, columns, 4)


@pytest.mark.parametrize("width", [360, 1440])
def test_models_stand_below_each_other_and_can_be_chosen(chromium, techno, width: int) -> None:
    _, place = techno
    with opened(chromium, place, width=width) as tab:
        upper, lower = (tab.locator("section.panel").nth(each) for each in (0, 1))
        one, other = upper.bounding_box(), lower.bounding_box()
        assert one["y"] + one["height"] <= other["y"]
        assert (one["x"], one["width"]) == (other["x"], other["width"])
        tab.get_by_label("2 MSD_musicnn").uncheck()
        assert lower.is_hidden()
        tab.keyboard.press("2")
        assert lower.is_visible()


LEAVES = """() => {
    const shown = (element) => element.checkVisibility() && element.getClientRects().length;
    const own = (element) => ['BUTTON', 'INPUT', 'SELECT', 'CANVAS', 'SUMMARY', 'METER']
        .includes(element.tagName) || element.classList.contains('meter')
        || Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.data.trim());
    return Array.from(document.querySelectorAll('body *'))
        .filter((element) => shown(element) && own(element))
        .filter((element) => !element.closest('button *, select *'))
        .map((element) => {
            const box = element.getBoundingClientRect();
            const all = Array.from(document.querySelectorAll('body *'));
            const at = all.indexOf(element);
            return { what: `${element.tagName} ${element.id} ${element.className} `
                + element.textContent.trim().slice(0, 30),
                at, within: at + element.querySelectorAll('*').length,
                left: box.left, right: box.right,
                top: box.top + scrollY, bottom: box.bottom + scrollY,
                cut: element.matches('button') && element.scrollWidth > element.clientWidth + 1 };
        });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 768, 1100, 1440, 2560])
def test_nothing_overlaps(chromium, techno, width: int, scheme: str, tmp_path: Path) -> None:
    page, _ = techno
    long_name = "a very long name of a recording " * 5 + "x" * 90
    renamed = ListeningPage(NamedRecording(TECHNO, long_name), page.envelope, page.taggrams)
    with opened(chromium, renamed.save(tmp_path / "p.html"), width=width, scheme=scheme) as tab:
        for details in tab.locator("summary").all():
            details.click()
        tab.evaluate("scrollTo(0, 0)")
        leaves = tab.evaluate(LEAVES)
        assert len(leaves) > 60
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        for leaf in leaves:
            assert leaf["left"] >= 0, leaf
            assert leaf["right"] <= width, leaf
            assert not leaf["cut"], leaf
        for one, other in combinations(leaves, 2):
            apart = (
                one["right"] <= other["left"] + 0.5
                or other["right"] <= one["left"] + 0.5
                or one["bottom"] <= other["top"] + 0.5
                or other["bottom"] <= one["top"] + 0.5
            )
            within = one["within"] >= other["at"]  # what comes later may be a part
            assert apart or within, (one, other)


class NamedRecording(Recording):
    """A recording under another name."""

    def __init__(self, audio, name: str) -> None:
        super().__init__(audio)
        self.name = name

    @property
    def title(self) -> str:
        return self.name


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_does_harm(chromium, techno, name: str, tmp_path: Path) -> None:
    page, _ = techno
    hostile = shutil.copy(HARPSICHORD, tmp_path / name)
    evil = tuple(
        replace(taggram, tags=(*taggram.tags[:-2], name, "=1+1"), model=name)
        for taggram in page.taggrams
    )
    saved = ListeningPage(Recording(hostile), page.envelope, evil).save(tmp_path / f"{name}.html")
    with opened(chromium, saved) as tab:
        tab.select_option("#count", "0")
        go(tab, 3)
        assert tab.inner_text("#title") == name
        assert tab.title() == f"{name} – musicnn-zoo"
        assert tab.locator("section.panel h2").first.inner_text() == name
        assert tab.locator(".tag", has_text=name).count() == 2
        tab.locator("summary").first.click()
        assert tab.locator("img, script[src], iframe").count() == 0
        with tab.expect_download() as download:
            tab.locator("section.panel").first.get_by_role("button", name="as CSV").click()
        with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        assert [row[0] for row in rows] == [name if name[0] != "=" else f"./{name}"] * len(rows)
        assert not any(cell.startswith("=") for row in (head, *rows) for cell in row)
        assert Path(download.value.suggested_filename).name == download.value.suggested_filename


def test_titles_of_the_file_do_no_harm(chromium, techno, tmp_path: Path) -> None:
    page, _ = techno
    title = "</script><img src=x onerror=alert(1)> — “Título”"
    path = encode(tmp_path / "titled.mp3", chirps(4), 44100, "mp3")
    write_title(path, title)
    saved = ListeningPage(Recording(path), page.envelope, page.taggrams).save(tmp_path / "p.html")
    with opened(chromium, saved) as tab:
        assert tab.inner_text("#title") == title
        assert tab.inner_text("#facts").startswith("titled.mp3 · ")


def write_title(path: Path, title: str) -> None:
    text = b"\x03" + title.encode()
    frame = b"TIT2" + len(text).to_bytes(4, "big") + b"\0\0" + text
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + size + frame + path.read_bytes())


def test_downloads_are_what_the_library_writes(chromium, techno, tmp_path: Path) -> None:
    page, place = techno
    with opened(chromium, place) as tab:
        for taggram in page.taggrams:
            own = replace(taggram, clip=replace(taggram.clip, source=TECHNO.name))
            with Writer(tmp_path / "expected.csv") as writer:
                writer.write(own)
            expected = {"CSV": (tmp_path / "expected.csv").read_text(), "JSON": own.to_dict()}
            for form, content in expected.items():
                with tab.expect_download() as download:
                    tab.get_by_label(f"Download the scores of {taggram.model} as {form}").click()
                ending = form.lower()
                name = download.value.suggested_filename
                assert name == f"techno_loop.{taggram.model}.{ending}"
                text = Path(download.value.path()).read_text(encoding="utf-8")
                assert (json.loads(text) if form == "JSON" else text) == content


def test_the_keyboard_does_everything(chromium, techno) -> None:
    _, place = techno
    with opened(chromium, place) as tab:
        for key, expected in (
            ("ArrowRight", 5), ("ArrowRight", 10), ("Shift+ArrowLeft", 9), ("ArrowLeft", 4),
            ("Home", 0), ("ArrowLeft", 0), ("End", 32),
        ):  # fmt: skip
            tab.keyboard.press(key)
            assert now(tab) == pytest.approx(expected, abs=0.05), key
        go(tab, 16)
        tab.keyboard.press("t")
        assert re.match(r"0:16\.0\. MTT_musicnn: techno 0\.\d\d, ", tab.inner_text("#status"))
        tab.keyboard.press("+")
        assert cursors(tab) == pytest.approx([0.5] * 3, abs=0.01)
        tab.keyboard.press("ArrowLeft")
        assert cursors(tab) == pytest.approx([0.5 - 5 / 16] * 3, abs=0.01)
        tab.keyboard.press("0")
        assert cursors(tab) == pytest.approx([11 / 32] * 3, abs=0.01)
        tab.keyboard.press("m")
        assert tab.evaluate("document.getElementById('audio').muted")
        tab.keyboard.press("Space")
        until(tab, "!document.getElementById('audio').paused")
        tab.focus("#theme")
        tab.keyboard.press("Space")  # on a button, it is the button's
        assert not tab.evaluate("document.getElementById('audio').paused")
        tab.keyboard.press("k")
        assert tab.evaluate("document.getElementById('audio').paused")


def test_the_view_follows_the_sound_when_zoomed(chromium, techno) -> None:
    _, place = techno
    with opened(chromium, place) as tab:
        for _ in range(3):
            tab.keyboard.press("+")
        before = tab.evaluate("document.querySelector('.cursor').style.visibility")
        assert before == "visible"
        go(tab, 3.4)
        tab.keyboard.press("Space")
        until(tab, "document.getElementById('audio').currentTime > 4.5")
        tab.keyboard.press("Space")
        assert all(0 < fraction < 0.6 for fraction in cursors(tab))


def test_the_outline_goes_where_it_says(chromium, techno) -> None:
    page, place = techno
    with opened(chromium, place) as tab:
        tab.get_by_text("Tags over time, as text").click()
        rows = tab.locator("#outline-body table").first.locator("tr")
        rows.nth(8).wait_for()
        assert rows.count() == len(page.taggrams[0])
        assert (
            rows.nth(8)
            .inner_text()
            .split("\t")[1]
            .startswith(page.taggrams[0].tags[int(page.taggrams[0].scores[8].argmax())])
        )
        rows.nth(8).get_by_role("button").click()
        assert now(tab) == pytest.approx(page.taggrams[0].times[8], abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_checker_of_accessibility_has_nothing_to_say(chromium, techno, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(chromium, techno[1], scheme=scheme, bypass_csp=True) as tab:
        tab.get_by_text("Tags over time, as text").click()
        found = Axe().run(tab)
        assert found.violations_count == 0, found.generate_report()


def test_colours_follow_the_system_and_the_button(chromium, techno) -> None:
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    with opened(chromium, techno[1], scheme="dark") as tab:
        assert tab.evaluate(paper) == "rgb(16, 21, 27)"
        tab.get_by_role("button", name="Use light colours").click()
        assert tab.evaluate(paper) == "rgb(255, 255, 255)"


def test_a_link_leads_to_the_sound(chromium, techno, tmp_path: Path) -> None:
    page, _ = techno
    name = "50% off #1? & é 🎸.ogg"
    (tmp_path / "music").mkdir()
    (tmp_path / "pages").mkdir()
    path = Path(shutil.copy(TECHNO, tmp_path / "music" / name))
    linked = ListeningPage(Recording(path), page.envelope, page.taggrams)
    place = linked.save(tmp_path / "pages" / "p.html", link=True)
    assert place.stat().st_size < 100_000
    with opened(chromium, place) as tab:
        go(tab, 12.5)
        assert bars(tab, "MTT_musicnn")[0][0] == "techno"
    path.unlink()
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto(place.as_uri())
    tab.wait_for_selector("#problem:visible")
    assert "it was moved" in tab.inner_text("#problem")
    context.close()


def test_a_damaged_recording_is_said_to_be(chromium, techno, tmp_path: Path) -> None:
    page, _ = techno
    shown = [
        replace(taggram, clip=replace(taggram.clip, damaged=True, lost_s=2.25))
        for taggram in page.taggrams
    ]
    saved = replace(page, taggrams=tuple(shown)).save(tmp_path / "damaged.html")
    with opened(chromium, saved) as tab:
        assert tab.inner_text("#facts") == "0:32.0 · damaged: 2.3 s lost"


def test_what_was_converted_plays_and_seeks(chromium, techno, tmp_path: Path) -> None:
    page, _ = techno
    path = encode(tmp_path / "x.m4a", chirps(8, 44_100, 1), 44_100, "alac")
    saved = ListeningPage(Recording(path), page.envelope, page.taggrams).save(tmp_path / "p.html")
    with opened(chromium, saved) as tab:
        assert "heard as Opus" in tab.inner_text("#facts")
        assert tab.evaluate("document.getElementById('audio').duration") == pytest.approx(
            8, abs=0.1
        )
        go(tab, 6.5)
        tab.keyboard.press("Space")
        until(tab, "document.getElementById('audio').currentTime > 6.8")


def test_a_served_page_plays_and_seeks(chromium, techno, tmp_path: Path) -> None:
    page, _ = techno
    path = shutil.copy(TECHNO, tmp_path / HOSTILE[0])
    served = ListeningPage(Recording(path), page.envelope, page.taggrams)
    with (
        serving_pages([path], lambda _: served) as server,
        opened(chromium, f"{server.url}page/0", allowed=(server.url,)) as tab,
    ):
        go(tab, 27.25)
        tab.keyboard.press("Space")
        until(tab, "document.getElementById('audio').currentTime > 27.6")
        tab.keyboard.press("Space")
        go(tab, 3)
        assert bars(tab, "MTT_musicnn")[0][0] == "techno"


def test_an_hour_fits(chromium, tmp_path: Path) -> None:
    """Its times on a machine at rest: python -m benchmarks.listening."""
    place = hour_page().save(tmp_path / "hour.html", link=True)
    assert place.stat().st_size < 15e6
    with opened(chromium, place) as tab:
        box = tab.locator("section.panel .plot").bounding_box()
        tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + 5)
        assert tab.locator("#clock").inner_text().endswith("/ 60:00.0")
        tab.select_option("#count", "0")
        assert len(bars(tab, "a_model")) == 50


def hour_page() -> ListeningPage:
    generator = np.random.default_rng(0)
    rows = 3686
    taggram = Taggram(
        scores=generator.random((rows, 50), dtype=np.float32),
        tags=tuple(f"tag {index}" for index in range(50)),
        times=np.arange(rows) * 0.976,
        patch_s=2.992,
        hop_s=0.976,
        model="a_model",
        clip=Clip(str(TECHNO), 3600.0),
    )
    outline = generator.integers(0, 128, 45_000, dtype=np.int8)
    return ListeningPage(Recording(TECHNO), Envelope(-outline, outline, 0.08), (taggram,))


@pytest.mark.parametrize("width", [360, 1440])
def test_slider_waveform_and_taggrams_share_their_extent(chromium, techno, width: int) -> None:
    _, place = techno
    with opened(chromium, place, width=width) as tab:
        plots = tab.locator(".plot")
        boxes = [plots.nth(index).bounding_box() for index in range(plots.count())]
        boxes.append(tab.locator("#wave-axis").bounding_box())
        assert len(boxes) == 4
        for box in boxes[1:]:
            assert box["x"] == pytest.approx(boxes[0]["x"], abs=1)
            assert box["width"] == pytest.approx(boxes[0]["width"], abs=1)
        seek = tab.locator("#seek").bounding_box()
        assert seek["x"] + 8 == pytest.approx(boxes[0]["x"], abs=1)
        assert seek["width"] - 16 == pytest.approx(boxes[0]["width"], abs=1)
        drawn = pixels(tab, "#wave-axis", 1200, 0.6)
        assert len({tuple(pixel) for pixel in drawn[0].tolist()}) > 1


def test_the_list_is_searched_and_leads_to_pages_and_back(chromium, techno, tmp_path) -> None:
    page, _ = techno
    tags = page.taggrams[0].rank(top_k=5)
    names = ["Émile.html", "techno one.html"]
    listed = [
        Listed(quote(names[0]), "Émile", [("piano", 0.5)], "m"),
        Listed(quote(names[1]), "One", tags, "m"),
    ]
    (tmp_path / "index.html").write_text(list_page(listed), encoding="utf-8")
    page.save(tmp_path / names[0], navigation=navigation("index.html", None, listed[1]))
    page.save(tmp_path / names[1], navigation=navigation("index.html", listed[0], None))
    with opened(chromium, tmp_path / names[0]) as tab:
        tab.get_by_role("link", name="One →").click()
        tab.wait_for_selector("#play:enabled")
        assert tab.get_by_role("region", name="Tags of the whole recording").is_visible()
        tab.get_by_role("link", name="← Émile").click()
        tab.wait_for_selector("#play:enabled")
        tab.get_by_role("link", name="All recordings").click()
        shown = tab.locator("li:visible")
        assert shown.count() == 2
        tab.get_by_label("Search").fill("EMILE pia")
        assert shown.all_inner_texts() == ["Émile piano 0.50"]
        tab.get_by_label("Search").fill("nothing")
        assert (shown.count(), tab.locator("#shown").inner_text()) == (0, "0 of 2")
        tab.get_by_label("Search").fill("")
        tab.get_by_role("button", name="techno").click()
        assert (shown.count(), tab.locator("#shown").inner_text()) == (1, "1 of 2")
        shown.locator("a").click()
        tab.wait_for_selector("#play:enabled")
        tab.go_back()
        assert shown.count() == 1


def test_silent_rows_have_no_part_in_the_order_of_tags(chromium, techno, tmp_path) -> None:
    page, _ = techno
    (taggram, *_) = page.taggrams
    silent = np.arange(len(taggram)) % 2 == 1
    scores = taggram.scores.copy()
    scores[silent, taggram.tags.index("opera")] = 1
    taggram = replace(taggram, scores=scores, silent=silent)
    place = replace(page, taggrams=(taggram,)).save(tmp_path / "silent.html")
    with opened(chromium, place) as tab:
        shown = tab.locator(".panel .tag:visible").all_inner_texts()
        assert shown == list(taggram.rank(top_k=10).names)
