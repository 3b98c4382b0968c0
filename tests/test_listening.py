"""Pages and their parts, without a browser."""

import base64
import hashlib
import html
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from helpers_audio import HARPSICHORD, STRINGS, TECHNO, chirps, cut_in_half, encode
from hypothesis import given
from hypothesis import strategies as st

from musicnn_zoo import (
    ArgumentError,
    AudioError,
    ListeningPage,
    OutputError,
    Tagger,
    listening_page,
)
from musicnn_zoo.listening.listing import Listed, list_page, navigation
from musicnn_zoo.listening.page import listening_pages
from musicnn_zoo.listening.recording import Recording, opus_of
from musicnn_zoo.sound.envelope import find_envelope
from musicnn_zoo.sound.read import load_audio


@pytest.fixture(scope="module")
def tagger():
    return Tagger("MTT_vgg")


@pytest.fixture(scope="module")
def page(tagger):
    return listening_page(TECHNO, models=tagger)


def data_of(text: str) -> dict:
    (found,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL
    )
    return json.loads(found)


def sound_of(text: str) -> bytes:
    (found,) = re.findall(
        r'<script type="text/plain" id="sound">(.*?)</script>', text, flags=re.DOTALL
    )
    return base64.b64decode(found, validate=True)


# Envelope


@given(
    signal=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=300),
    cuts=st.lists(st.integers(0, 300), max_size=4),
    most=st.integers(1, 40),
)
def test_an_envelope_is_that_of_the_whole_signal_however_it_comes(signal, cuts, most) -> None:
    whole = np.array(signal, np.float32)
    blocks = np.split(whole, sorted(cut for cut in cuts if cut <= len(whole)))
    found = find_envelope(blocks, 100, finest_s=0.03, most=most)
    assert len(found) <= most
    step = round(found.stretch_s * 100)
    assert step % 3 == 0
    assert len(found) == -(-len(whole) // step)
    for at, (low, high) in enumerate(zip(found.lowest, found.highest, strict=True)):
        part = whole[at * step : (at + 1) * step]
        assert low == np.rint(127 * part.min())
        assert high == np.rint(127 * part.max())


def test_the_envelope_of_an_hour_is_small() -> None:
    second = np.sin(np.arange(16_000, dtype=np.float32))
    found = find_envelope((second for _ in range(3600)), 16_000)
    assert 30_000 < len(found) <= 60_000
    assert found.stretch_s * len(found) == pytest.approx(3600, abs=found.stretch_s)
    assert set(found.highest) == {127}


def test_what_is_too_loud_stays_in_the_picture() -> None:
    found = find_envelope([np.array([3, -3], np.float32)], 1)
    assert (found.highest[0], found.lowest[1]) == (127, -127)


# Recording

KINDS = {
    "a.mp3": ("mp3", "audio/mpeg"),
    "b.m4a": ("aac", "audio/mp4"),
    "c.m4a": ("alac", None),
    "d.opus": ("libopus", "audio/ogg"),
    "e.webm": ("libopus", "audio/webm"),
    "f.flac": ("flac", "audio/flac"),
    "g.wav": ("pcm_s16le", "audio/wav"),
    "h.wma": ("wmav2", None),
    "i.aiff": ("pcm_s16be", None),
    "j.mp4": ("aac", None),
}


@pytest.mark.platform
@pytest.mark.parametrize("name", KINDS)
def test_what_browsers_play_is_embedded_as_it_is(name: str, tmp_path: Path) -> None:
    codec, kind = KINDS[name]
    rate = 48_000 if codec == "libopus" else 44_100
    path = encode(tmp_path / name, chirps(3, rate), rate, codec, video=name == "j.mp4")
    recording = Recording(path)
    media = recording.media()
    assert recording.kind == kind
    assert media.converted == (kind is None)
    if kind is not None:
        assert (media.kind, media.content) == (kind, path.read_bytes())
        return
    assert media.kind == "audio/webm"
    heard, original = (load_audio(each).samples for each in (io.BytesIO(media.content), path))
    shortest = min(len(heard), len(original))  # and none begins later than the other
    assert shortest > 2.9 * 16_000
    assert np.corrcoef(heard[:shortest], original[:shortest])[0, 1] > 0.99


@pytest.mark.platform
def test_a_large_lossless_file_becomes_small(tmp_path: Path) -> None:
    path = tmp_path / "large.wav"
    soundfile.write(path, chirps(40).T, 44_100)
    media = Recording(path).media()
    assert (media.kind, media.converted) == ("audio/webm", True)
    with av.open(io.BytesIO(media.content)) as container:
        stream = container.streams.audio[0]
        assert stream.channels == 2
        assert stream.codec_context.codec.canonical_name == "opus"
        assert container.bit_rate == pytest.approx(96_000, rel=0.3)
        assert container.duration / av.time_base == pytest.approx(40, abs=0.1)


def test_an_array_is_embedded(tmp_path: Path) -> None:
    signal = chirps(2)
    media = Recording(signal, sample_rate=44_100).media()
    heard, rate = soundfile.read(io.BytesIO(media.content))
    assert rate == 44_100
    np.testing.assert_allclose(heard, signal.T, atol=1e-4)


@pytest.mark.platform
def test_titles_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        file.title, file.artist = "Prelude", "Bach"
        file.write(np.zeros(1600))
    assert Recording(path).title == "Bach – Prelude"
    assert Recording(STRINGS).title == STRINGS.name
    assert Recording("gone.wav").title == "gone.wav"


def test_who_waits_for_a_long_conversion_gets_signs_of_life() -> None:
    *signs, content = opus_of(str(TECHNO), bit_rate=64_000, source="techno")
    assert len(signs) >= 2
    assert not any(signs)
    assert load_audio(io.BytesIO(content)).duration_s == pytest.approx(32, abs=0.1)


def test_damaged_recordings_are_converted_as_far_as_they_go(tmp_path: Path) -> None:
    path = cut_in_half(encode(tmp_path / "x.mp3", chirps(6), 44_100, "mp3"))
    heard = load_audio(io.BytesIO(Recording(path).as_opus().content))
    assert heard.duration_s == pytest.approx(3, abs=0.2)
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"no sound at all" * 100)
    with pytest.raises(AudioError, match=r"noise\.wav: cannot be converted for a browser"):
        Recording(noise).media()
    with pytest.raises(AudioError, match=r"gone\.wav: cannot be read \(No such file"):
        Recording(tmp_path / "gone.wav").media()


# Pages


@pytest.mark.platform
def test_a_page_holds_the_taggram_to_the_last_bit(page: ListeningPage) -> None:
    data = data_of(page.html())
    (taggram,), (written,) = page.taggrams, data["taggrams"]
    scores = np.frombuffer(base64.b64decode(written["scores"]), "<f4").reshape(-1, 50)
    np.testing.assert_array_equal(scores, taggram.scores)
    assert written["times"] == taggram.times.tolist()
    assert written["facts"]["model"] == "MTT_vgg"
    assert data["duration_s"] == pytest.approx(32, abs=0.01)
    assert taggram.hop_s == pytest.approx(1, abs=0.03)
    peaks = np.frombuffer(base64.b64decode(data["envelope"]["highest"]), np.int8)
    samples = load_audio(TECHNO).samples
    assert peaks.max() == np.rint(127 * min(1, samples.max()))


def test_a_page_holds_the_sound(page: ListeningPage) -> None:
    text = page.html()
    assert sound_of(text) == TECHNO.read_bytes()
    assert data_of(text)["sound"] == {"kind": "audio/ogg", "converted": False}


def test_a_page_tells_nothing_of_where_the_file_lies(page: ListeningPage) -> None:
    text = page.html()
    assert str(TECHNO.parent) not in text
    assert TECHNO.parent.name + "/" + TECHNO.name not in text


def test_nothing_in_a_page_can_be_loaded_from_elsewhere(page: ListeningPage) -> None:
    text = page.html()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert set(rules["media-src"].split()) == {"'self'", "file:", "blob:"}
    assert "unsafe" not in policy
    assert "http:" not in text
    assert "https:" not in text
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["data:,"]


def test_without_scripts_the_tags_are_there(page: ListeningPage) -> None:
    whole = r'<section aria-label="Tags of the whole recording">(.*?)</section>'
    (summary,) = re.findall(whole, page.html(), flags=re.DOTALL)
    assert f"MTT_vgg: techno {page.taggrams[0].rank()[0].score:.2f}, " in summary


def test_saving_replaces_pages_and_nothing_else(page: ListeningPage, tmp_path: Path) -> None:
    place = page.save(tmp_path / "p.html")
    first = place.read_bytes()
    assert page.save(str(place)) == place
    assert place.read_bytes() == first
    assert list(tmp_path.iterdir()) == [place]
    other = tmp_path / "index.html"
    other.write_text("<html>mine</html>")
    with pytest.raises(ArgumentError, match="exists and is not a listening page"):
        page.save(other)
    assert other.read_text() == "<html>mine</html>"
    with pytest.raises(ArgumentError, match=r"must end in \.html; received '.*p\.txt'"):
        page.save(tmp_path / "p.txt")
    with pytest.raises(ArgumentError, match="there is no folder"):
        page.save(tmp_path / "gone" / "p.html")


def test_a_full_disk_leaves_the_old_page(
    page: ListeningPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = page.save(tmp_path / "p.html")
    first = place.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("musicnn_zoo.files.flush_to_disk", full)
    with pytest.raises(OutputError, match=r"p\.html: the page cannot be written \(No space left"):
        page.save(place)
    assert place.read_bytes() == first
    assert list(tmp_path.iterdir()) == [place]


def test_a_link_is_relative_and_safe(page: ListeningPage, tmp_path: Path) -> None:
    audio = tmp_path / "music" / "a #1?%.ogg"
    linked = ListeningPage(Recording(audio), page.envelope, page.taggrams)
    (tmp_path / "pages").mkdir()
    text = linked.save(tmp_path / "pages" / "p.html", link=True).read_text()
    assert data_of(text)["sound"] == {"url": "../music/a%20%231%3F%25.ogg"}
    assert sound_of(text) == b""
    unlinkable = ListeningPage(
        Recording(np.zeros(10), sample_rate=10), page.envelope, page.taggrams
    )
    with pytest.raises(ArgumentError, match="only a file can be linked"):
        unlinkable.save(tmp_path / "p.html", link=True)


def test_a_notebook_shows_it(page: ListeningPage) -> None:
    (inner,) = re.findall(r'^<iframe srcdoc="([^"]*)"', page._repr_html_())
    assert html.unescape(inner) == page.html()
    assert repr(page) == f"<ListeningPage of {TECHNO}, 32.0 s: MTT_vgg>"


def test_file_objects_and_arrays_make_the_same_page(tagger: Tagger, page: ListeningPage) -> None:
    with HARPSICHORD.open("rb") as file:
        from_file = listening_page(file, models=[tagger], hop_s=None)
    from_path = listening_page(HARPSICHORD, models=tagger, hop_s=None)
    assert data_of(from_file.html()) == data_of(from_path.html())
    assert sound_of(from_file.html()) == HARPSICHORD.read_bytes()
    signal, rate = soundfile.read(HARPSICHORD, dtype="float32", always_2d=True)
    from_array = listening_page(signal.T, sample_rate=rate, models=tagger, hop_s=None)
    np.testing.assert_allclose(
        from_array.taggrams[0].scores, from_path.taggrams[0].scores, atol=1e-5
    )
    np.testing.assert_array_equal(from_array.envelope.highest, from_path.envelope.highest)
    assert from_array.recording.name == "array"


def test_many_files_give_the_same_pages(
    tagger: Tagger, page: ListeningPage, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"nothing")
    paths = [str(TECHNO), str(broken), str(HARPSICHORD)]
    results = list(listening_pages(paths, [tagger, tagger]))
    assert [result.source for result in results] == paths
    assert isinstance(results[1].error, AudioError)
    assert results[2].value.recording.name == HARPSICHORD.name
    first = results[0].unwrap()
    assert len(first.taggrams) == 2
    np.testing.assert_allclose(first.taggrams[1].scores, page.taggrams[0].scores, atol=1e-5)


def test_a_damaged_recording_is_refused_or_shown_as_such(tagger: Tagger, tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, chirps(8).T, 44_100)
    cut_in_half(path)
    with pytest.raises(AudioError, match=r"cut\.flac: cut off, 4\.\d s of the 8\.0 s"):
        listening_page(path, models=tagger)
    (refused,) = listening_pages([str(path)], [tagger])
    assert isinstance(refused.error, AudioError)
    (used,) = listening_pages([str(path)], [tagger], damaged="use")
    for page in (listening_page(path, models=tagger, damaged="use"), used.unwrap()):
        text = page.html()
        facts = data_of(text)["taggrams"][0]["facts"]
        assert facts["damaged"]
        assert facts["duration_s"] + facts["lost_s"] == pytest.approx(8, abs=0.01)
        assert re.search(r"<h2>The whole.*<li>damaged: 3\.\d s lost</li>", text, flags=re.DOTALL)


def test_a_list_has_tags_to_search_and_is_safe_whatever_they_are_called() -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    text = list_page([Listed("a%20b.html", evil, [(evil, 0.5)], "MTT_vgg"), Listed("c.html", "c")])
    assert "2 found. Tags of MTT_vgg." in text
    assert "<img src=x" not in text
    assert text.count("</script>") == 1
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt; 0.50</button>" in text
    assert '<a href="a%20b.html"' in text
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_a_page_leads_back_on_and_to_the_list(page: ListeningPage) -> None:
    ways = navigation("index.html", None, Listed("next%20one.html", "<b>"))
    text = page.html(navigation=ways)
    assert '<a rel="up" href="index.html" dir="auto">All recordings</a>' in text
    assert '<a rel="next" href="next%20one.html" dir="auto">&lt;b&gt; →</a>' in text
    assert 'rel="prev"' not in text
    assert "<nav" not in page.html()


def test_no_models_and_no_audio_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="models must name at least one model; received none"):
        listening_page(TECHNO, models=[])
    with pytest.raises(AudioError, match="there is no such file"):
        listening_page(tmp_path / "gone.wav")


def test_nothing_heavy_is_loaded_for_the_name() -> None:
    code = (
        "import sys, musicnn_zoo\nmusicnn_zoo.ListeningPage\n"
        "assert not {'tensorflow', 'keras', 'av', 'soundfile', 'librosa'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
