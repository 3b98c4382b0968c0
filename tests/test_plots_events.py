"""What the picture of events shows, read off its artists."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from helpers_pictures import HOSTILE, ODD, check_readable, check_saved

from musicnn_zoo import ArgumentError, AudioError
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.tagging.results import Clip, Event, Events

RATE = 16000


def tone(seconds, frequency=1000.0, rate=RATE):
    times = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * times)).astype(np.float32)


def events_of(*events, duration_s=4.0, source=None, spectrogram=None):
    found = tuple(Event(*event) for event in events)
    return Events(found, "a_model", Clip(source, duration_s), spectrogram)


def spans(collection):
    """(start, end, row) of each bar of a lane."""
    boxes = [path.get_extents() for path in collection.get_paths()]
    return [(box.x0, box.x1, (box.y0 + box.y1) / 2) for box in boxes]


FOUND = events_of(("drums", 0.0, 1.5, 0.6), ("voice", 0.5, 3.0, 0.8), ("drums", 2.0, 2.25, 0.7))


def test_a_lane_for_each_tag_with_a_bar_for_each_event_longest_at_the_top() -> None:
    figure = check_readable(FOUND.plot(audio=tone(4), sample_rate=RATE))
    upper, lower = figure.axes[:2]
    assert [label.get_text() for label in lower.get_yticklabels()] == ["voice", "drums"]
    assert lower.yaxis_inverted()
    found = [span for lane in lower.collections for span in spans(lane)]
    np.testing.assert_allclose(found, [(0.5, 3.0, 0), (0.0, 1.5, 1), (2.0, 2.25, 1)], atol=1e-9)
    assert upper.get_xlim() == lower.get_xlim() == (0, 4)
    assert lower.get_xlabel() == "time (minutes:seconds)"


def test_the_spectrogram_is_the_models_with_kilohertz_where_its_bands_are() -> None:
    figure = FOUND.plot(audio=tone(4), sample_rate=RATE)
    upper = figure.axes[0]
    (image,) = upper.images
    values = np.asarray(image.get_array())
    assert values.shape == (96, 251)
    mel = librosa.feature.melspectrogram(
        y=tone(4), sr=RATE, n_fft=512, hop_length=256, n_mels=96, pad_mode="constant"
    )
    np.testing.assert_allclose(values, np.log10(10000 * mel + 1), atol=2e-3)
    left, right, bottom, top = image.get_extent()
    assert (left, right) == pytest.approx((-0.008, 250.5 * 0.016))
    ticks = dict(
        zip((t.get_text() for t in upper.get_yticklabels()), upper.get_yticks(), strict=True)
    )
    assert list(ticks) == ["0.25", "0.5", "1", "2", "4", "8"]
    assert ticks["1"] == pytest.approx(values[:, 100].argmax(), abs=0.6)
    assert (bottom, top) == (-0.5, 95.5)


def test_decibels_are_drawn_of_the_loudest_80() -> None:
    spectrogram = LogMelInput(compression="decibel", mel_scale="htk", mel_norm=None)
    figure = check_readable(
        events_of(spectrogram=spectrogram).plot(audio=tone(4), sample_rate=RATE)
    )
    (image,) = figure.axes[0].images
    highest = float(np.asarray(image.get_array()).max())
    assert (image.norm.vmin, image.norm.vmax) == pytest.approx((highest - 80, highest))
    assert figure.axes[2].get_ylabel() == "dB"


def test_a_long_recording_is_pooled_to_what_a_picture_shows() -> None:
    audio = np.tile(tone(1, rate=8000), 120)
    figure = check_readable(events_of(duration_s=120.0).plot(audio=audio, sample_rate=8000))
    (image,) = figure.axes[0].images
    assert np.asarray(image.get_array()).shape == (96, 1072)  # 7 frames a column
    assert image.get_extent()[1] == pytest.approx(120, abs=0.2)


def test_without_events_it_says_so() -> None:
    figure = check_readable(events_of().plot(audio=tone(4), sample_rate=RATE))
    (text,) = figure.axes[1].texts
    assert text.get_text() == "no tag reached the threshold"


def test_of_many_tags_those_that_last_longest_are_drawn() -> None:
    found = [(f"tag {index}", 0.0, 0.1 * (index + 1), 0.9) for index in range(30)]
    figure = check_readable(events_of(*found).plot(audio=tone(4), sample_rate=RATE))
    names = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert names == [f"tag {index}" for index in range(29, 17, -1)]
    assert figure.get_supxlabel() == "the 12 that last longest of 30 tags"


def test_the_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(4), RATE, subtype="FLOAT")
    again = events_of(source=str(path)).plot()
    given = events_of().plot(audio=tone(4), sample_rate=RATE)
    for one, other in zip(again.axes[0].images, given.axes[0].images, strict=True):
        np.testing.assert_array_equal(one.get_array(), other.get_array())


def test_odd_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    events = events_of(*[(name, 0.0, 1.0, 0.5) for name in ODD], source=HOSTILE)
    figure = check_readable(events.plot(audio=tone(4), sample_rate=RATE))
    names = {label.get_text() for label in figure.axes[1].get_yticklabels()}
    assert {"_hidden", "$x^2$ and $y", "<b>&amp;", r"emoji \U0001f3b8", r"a\nb\x1b[2J"} <= names
    check_saved(lambda path: events.plot(path, audio=tone(4), sample_rate=RATE), tmp_path)


def test_audio_that_cannot_be_the_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="these events are of an array: pass it again as audio"):
        FOUND.plot()
    with pytest.raises(ArgumentError, match=r"array: is 3\.00 s long, .* of a clip of 4\.00 s"):
        FOUND.plot(audio=tone(3), sample_rate=RATE)
    with pytest.raises(ArgumentError, match="an array needs its sample rate"):
        FOUND.plot(audio=tone(4))
    with pytest.raises(AudioError, match=r"gone\.wav"):
        events_of(source=str(tmp_path / "gone.wav")).plot()
    with pytest.raises(ArgumentError, match="a picture must end in"):
        FOUND.plot(tmp_path / "p.gif", audio=tone(4), sample_rate=RATE)
