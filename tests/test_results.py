import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.tagging.results import (
    Clip,
    Embedding,
    Event,
    Events,
    Features,
    Taggram,
    Tags,
    TagScore,
)

NAMES = ("rock", "pop", "jazz", "folk", "techno", "ambient", "harp")
CLIP = Clip("song.mp3", 12.3456789, dropped_s=0.4321)

unit = st.floats(0, 1, width=32)
score_matrices = arrays(np.float32, st.tuples(st.integers(1, 6), st.just(7)), elements=unit)


def taggram_of(scores, names=NAMES, clip=CLIP):
    scores = np.atleast_2d(np.asarray(scores, np.float32))
    return Taggram(
        scores, names[: scores.shape[1]], np.arange(len(scores)) * 1.5, 3, 1.5, "M", clip
    )


def tags_of(**scores):
    return Tags(tuple(TagScore(tag, score) for tag, score in scores.items()), "M", CLIP)


def events_of(*events, source="song.mp3"):
    return Events(tuple(Event(*event) for event in events), "M", Clip(source, 12.3))


FOUND = events_of(("rock", 0.0, 62.8, 0.5), ("a\x1b[2J<b>", 1.5, 3.0, float(np.float32(0.1))))


def embedding_of(values, pooling="mean", times=(0.0, 1.5)):
    values = np.asarray(values, np.float32)
    return Embedding(values, np.array(times), "penultimate", pooling, 3, 1.5, "M", CLIP)


@given(score_matrices, st.integers(1, 10))
def test_the_best_come_first(scores, top_k):
    tags = taggram_of(scores).rank(top_k=top_k)
    means = dict(zip(NAMES, scores.mean(axis=0), strict=True))
    assert len(tags) == min(top_k, 7)
    assert list(tags) == [(tag, means[tag]) for tag in tags.names]
    ranked = [score for _, score in tags]
    assert ranked == sorted(means.values(), reverse=True)[:top_k]


@given(score_matrices, unit)
def test_a_threshold_alone_keeps_all_at_or_above_it(scores, threshold):
    tags = taggram_of(scores).rank(threshold=threshold)
    means = scores.mean(axis=0)
    assert set(tags.names) == {name for name, m in zip(NAMES, means, strict=True) if m >= threshold}


@given(score_matrices, unit, st.integers(1, 10))
def test_with_both_rules_both_hold(scores, threshold, top_k):
    taggram = taggram_of(scores)
    both = taggram.rank(threshold=threshold, top_k=top_k)
    assert list(both) == list(taggram.rank(threshold=threshold))[:top_k]


def test_without_a_rule_the_five_best_are_kept():
    tags = taggram_of([0.7, 0.1, 0.6, 0.2, 0.5, 0.3, 0.4]).rank()
    assert tags.names == ("rock", "jazz", "techno", "harp", "ambient")


def test_ties_keep_the_order_of_the_model():
    tags = taggram_of([[0.5, 0.25, 0.5, 0.25, 0.5, 0.25, 0.5]]).rank(top_k=7)
    assert tags.names == ("rock", "jazz", "techno", "harp", "pop", "folk", "ambient")


def test_the_threshold_itself_is_kept():
    assert taggram_of([0.5, 0.25]).rank(threshold=0.5).names == ("rock",)


def test_no_tag_may_reach_the_threshold():
    assert len(taggram_of([0.5, 0.25]).rank(threshold=1)) == 0


@pytest.mark.parametrize("top_k", [0, -1, -100])
def test_a_top_k_below_one_is_refused(top_k):
    with pytest.raises(ArgumentError, match=f"top_k must be at least 1; received {top_k}"):
        taggram_of([0.5]).rank(top_k=top_k)


@pytest.mark.parametrize("threshold", [-0.001, 1.001, 50, float("nan"), float("inf")])
def test_a_threshold_that_is_no_score_is_refused(threshold):
    with pytest.raises(ArgumentError, match=f"between 0 and 1; received {threshold}"):
        taggram_of([0.5]).rank(threshold=threshold)


@pytest.mark.parametrize("threshold", [0, 1])
def test_the_limits_are_thresholds(threshold):
    assert taggram_of([1, 0]).rank(threshold=threshold).names[0] == "rock"


def test_tags_are_a_sequence_of_named_pairs():
    tags = tags_of(rock=0.5, pop=0.25)
    assert isinstance(tags, Sequence)
    assert len(tags) == 2
    assert tags[0] == ("rock", 0.5)
    assert (tags[-1].tag, tags[-1].score) == ("pop", 0.25)
    assert tags[:1] == (("rock", 0.5),)
    assert dict(tags) == {"rock": 0.5, "pop": 0.25}
    assert ("pop", 0.25) in tags
    assert tags.index(("pop", 0.25)) == 1
    assert [tag for tag, _ in reversed(tags)] == ["pop", "rock"]
    with pytest.raises(IndexError):
        tags[2]


@given(score_matrices)
def test_tags_in_json_give_back_the_same_float32(scores):
    tags = taggram_of(scores).rank(top_k=7)
    again = json.loads(tags.to_json())
    assert again["tags"].keys() == dict(tags).keys()
    for tag, score in tags:
        assert np.float32(again["tags"][tag]) == np.float32(score)


@given(score_matrices)
def test_a_taggram_in_json_gives_back_the_same_float32(scores):
    taggram = taggram_of(scores)
    again = json.loads(taggram.to_json())
    np.testing.assert_array_equal(np.array(again["scores"], np.float32), scores)
    np.testing.assert_array_equal(again["times"], taggram.times)
    assert tuple(again["tags"]) == taggram.tags


@given(arrays(np.float32, st.integers(1, 9), elements=st.floats(-1e6, 1e6, width=32)))
def test_an_embedding_in_json_gives_back_the_same_float32(values):
    again = json.loads(embedding_of(values).to_json())
    np.testing.assert_array_equal(np.array(again["values"], np.float32), values)


def test_json_numbers_are_short():
    assert '"rock": 0.1}' in tags_of(rock=float(np.float32(0.1))).to_json()


def test_dicts_say_what_was_done_to_the_clip():
    expected = {"source": "song.mp3", "duration_s": 12.346, "repeated": False, "dropped_s": 0.432,
                "damaged": False, "lost_s": 0.0, "silent": 0.0}  # fmt: skip
    for result in (tags_of(rock=0.5), taggram_of([0.5]), embedding_of([1])):
        assert expected.items() <= result.to_dict().items()
        assert result.to_dict()["model"] == "M"
        assert json.loads(result.to_json()) == result.to_dict()


def test_the_dict_of_an_embedding_says_what_it_is():
    as_dict = embedding_of([1, 2], pooling="max").to_dict()
    assert (as_dict["layer"], as_dict["pooling"]) == ("penultimate", "max")
    assert (as_dict["patch_s"], as_dict["hop_s"], as_dict["times"]) == (3, 1.5, [0, 1.5])


@pytest.mark.platform
def test_tags_become_a_series():
    series = tags_of(rock=0.5, pop=0.25).to_pandas()
    assert series.name == "song.mp3"
    assert series.to_dict() == {"rock": 0.5, "pop": 0.25}


@pytest.mark.platform
def test_a_taggram_becomes_a_frame():
    taggram = taggram_of([[0.1, 0.2], [0.3, 0.4]])
    frame = taggram.to_pandas()
    assert list(frame.columns) == ["rock", "pop"]
    assert frame.index.name == "time_s"
    assert list(frame.index) == [0, 1.5]
    np.testing.assert_array_equal(frame.to_numpy(), taggram.scores)


def test_a_pooled_embedding_becomes_a_row_of_its_source():
    frame = embedding_of([1, 2, 3]).to_pandas()
    assert list(frame.index) == ["song.mp3"]
    np.testing.assert_array_equal(frame.to_numpy(), [[1, 2, 3]])


@pytest.mark.platform
def test_an_embedding_of_patches_becomes_a_row_a_patch():
    frame = embedding_of([[1, 2], [3, 4]], pooling=None).to_pandas()
    assert list(frame.index) == [0, 1.5]
    np.testing.assert_array_equal(frame.to_numpy(), [[1, 2], [3, 4]])


class _Cells(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


@given(st.text(alphabet="<>&\"'ab/ ", min_size=1), st.text(alphabet="<>&\"'ab/ ", min_size=1))
def test_html_is_escaped(tag, source):
    clip = Clip(source, 1.0)
    parts = {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    for result in (
        Tags((TagScore(tag, 0.5),), "<M>", clip),
        Taggram(np.ones((1, 1), np.float32), (tag,), np.zeros(1), 3, 3, "<M>", clip),
        Events((Event(tag, 0, 1, 0.5),), "<M>", clip),
    ):
        cells = _Cells(result._repr_html_())
        assert set(cells.tags) == parts
        assert f"{source}, 1.0 s (<M>)" in cells.texts
        assert any(tag in text for text in cells.texts)


def test_html_has_a_row_a_tag():
    assert tags_of(rock=0.5, pop=0.25)._repr_html_().count("<tr>") == 3


def test_tags_print_as_a_table():
    assert str(tags_of(rock=0.5, techno=0.1239)) == (
        "song.mp3, 12.3 s (M)\n  rock    0.500\n  techno  0.124"
    )
    assert repr(tags_of(rock=0.5)) == str(tags_of(rock=0.5))


def test_no_tags_print_as_a_heading():
    assert str(tags_of()) == "song.mp3, 12.3 s (M)\n  no tags"


def test_a_taggram_prints_the_three_strongest_of_each_patch():
    taggram = taggram_of([[0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.7, 0.6]])
    assert str(taggram).splitlines() == [
        "song.mp3, 12.3 s (M)",
        "   0:00.0  folk 0.40, jazz 0.30, pop 0.20",
        "   0:01.5  rock 0.90, pop 0.80, jazz 0.70",
    ]


def test_reprs_tell_size_and_model():
    taggram = taggram_of([[0.1, 0.2], [0.3, 0.4]])
    assert repr(taggram) == (
        "<Taggram of song.mp3, 12.3 s: 2 patches of 3.000 s every 1.500 s × 2 tags, M>"
    )
    assert len(taggram) == 2
    assert "mean over 2 patches, shape (3,)" in repr(embedding_of([1, 2, 3]))
    assert "one a patch, shape (2, 1)" in repr(embedding_of([[1], [2]], pooling=None))


def test_an_array_and_a_repeated_clip_are_described():
    assert Clip(None, 1.04, repeated=True).describe() == "array, 1.0 s, repeated to fill one patch"
    assert Clip("a.wav", 60.0).describe() == "a.wav, 60.0 s"


def test_an_embedding_is_an_array_to_numpy():
    embedding = embedding_of([1, 2, 3])
    assert np.asarray(embedding).dtype == np.float32
    np.testing.assert_array_equal(np.asarray(embedding), [1, 2, 3])
    assert np.asarray(embedding, dtype=np.float64).dtype == np.float64
    assert np.linalg.norm(embedding) == pytest.approx(14**0.5)


def test_a_copy_of_an_embedding_is_a_copy():
    embedding = embedding_of([1, 2, 3])
    copied = np.array(embedding)
    copied[0] = 9
    assert embedding.values[0] == 1


def test_features_are_a_mapping():
    arrays_by_layer = {"b": np.ones((2, 3), np.float32), "a": np.zeros((2, 1), np.float32)}
    features = Features(arrays_by_layer, np.array([0, 1.5]), 3, 1.5, "M", CLIP)
    assert isinstance(features, Mapping)
    assert list(features) == ["b", "a"]
    assert len(features) == 2
    assert features["b"] is arrays_by_layer["b"]
    assert "c" not in features
    assert repr(features) == "<Features of song.mp3, 12.3 s: M, b (2, 3), a (2, 1)>"


def test_a_taggram_without_rows_has_no_tags_and_no_events() -> None:
    empty = Taggram(
        np.empty((0, 2), np.float32), ("a", "b"), np.empty(0), 3.0, 3.0, "m", Clip(None, 0.5)
    )
    assert list(empty.rank()) == []
    assert len(empty.events()) == 0


def test_events_are_a_sequence_of_named_tuples():
    assert isinstance(FOUND, Sequence)
    assert len(FOUND) == 2
    assert FOUND[0] == ("rock", 0.0, 62.8, 0.5)
    assert (FOUND[-1].start_s, FOUND[-1].end_s) == (1.5, 3.0)
    assert [event.tag for event in FOUND] == [event.tag for event in FOUND[:]]
    assert ("rock", 0.0, 62.8, 0.5) in FOUND


def test_events_are_equal_if_all_they_hold_is():
    assert events_of(("rock", 0, 1, 0.5)) == events_of(("rock", 0, 1, 0.5))
    assert events_of(("rock", 0, 1, 0.5)) != events_of(("rock", 0, 1, 0.6))
    assert events_of(source="a") != events_of(source="b")
    assert len({events_of(), events_of()}) == 1


def test_events_become_plain_data():
    as_dict = FOUND.to_dict()
    assert json.loads(FOUND.to_json()) == as_dict
    assert (as_dict["source"], as_dict["model"], as_dict["duration_s"]) == ("song.mp3", "M", 12.3)
    assert as_dict["events"][0] == {"tag": "rock", "start_s": 0.0, "end_s": 62.8, "score": 0.5}
    assert '"score": 0.1}' in FOUND.to_json()
    frame = FOUND.to_pandas()
    assert list(frame.columns) == ["tag", "start_s", "end_s", "score"]
    assert frame.iloc[0].to_list() == ["rock", 0.0, 62.8, 0.5]
    assert list(events_of().to_pandas().columns) == ["tag", "start_s", "end_s", "score"]


def test_events_print_as_a_table():
    assert str(FOUND) == (
        "song.mp3, 12.3 s (M)\n"
        "   0:00.0 –  1:02.8  rock         0.500\n"
        "   0:01.5 –  0:03.0  a\\x1b[2J<b>  0.100"
    )
    assert repr(FOUND) == str(FOUND)
    assert str(events_of()) == "song.mp3, 12.3 s (M)\n  no events"
    assert FOUND._repr_html_().count("<tr>") == 3


def test_a_tag_sends_no_command_to_the_terminal():
    names = ("\x1b[2J", "a\nb")
    tags = Tags(tuple(TagScore(name, 0.5) for name in names), "M", CLIP)
    assert len(str(tags).splitlines()) == 3
    taggram = taggram_of([0.7, 0.5], names=names)
    for text in (str(tags), str(taggram)):
        assert r"\x1b[2J" in text
        assert "\x1b" not in text


def test_events_know_what_the_model_looks_at():
    seen = LogMelInput(n_mels=128)
    taggram = Taggram(
        np.ones((2, 1), np.float32), ("a",), np.arange(2.0), 3, 1, "M", CLIP, spectrogram=seen
    )
    found = taggram.events()
    assert (found.spectrogram, found.model, found.clip) == (seen, "M", CLIP)
    assert found[0] == ("a", 0.0, 4.0, 1.0)
