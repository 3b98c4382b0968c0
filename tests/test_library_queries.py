"""Conditions on tags, and what tags mean in the user's words."""

import contextlib
import json
import math
import sqlite3
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicnn_zoo.errors import ArgumentError, UnknownNameError
from musicnn_zoo.library.descriptors import describe, descriptors, names_for, to_acousticbrainz
from musicnn_zoo.library.queries import Names, parse_condition
from musicnn_zoo.zoo.catalogue import JAMENDO_TAGS, MSD_TAGS, MTT_TAGS, VOCABULARIES

pytestmark = pytest.mark.light

TAGS = ("piano", "slow", "vocals", "no vocals", "80s", "Hip-Hop")
NAMES = Names({tag: f't."{tag}"' for tag in TAGS})


def holds(query, row):
    """Whether SQLite says that a row fulfils a condition."""
    condition = parse_condition(query, NAMES)
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.create_function("fold", 1, str.casefold)
        columns = ", ".join(f'? AS "{tag}"' for tag in TAGS)
        (found,) = connection.execute(
            f"SELECT count(*) FROM (SELECT {columns}) t, (SELECT ? AS title, ? AS artist, "
            f"? AS path, '' AS album, '' AS genre) f, (SELECT ? AS duration_s) s "
            f"WHERE {condition.sql}",
            (
                *(row.get(tag, 0.0) for tag in TAGS), row.get("title", ""), row.get("artist", ""),
                row.get("path", ""), row.get("duration", 0.0), *condition.values,
            ),
        ).fetchone()  # fmt: skip
    return bool(found)


@pytest.mark.parametrize(
    ("query", "row", "expected"),
    [
        ("piano > 0.4 and slow > 0.2 and not vocals > 0.3", {"piano": 0.5, "slow": 0.3}, True),
        ("piano > 0.4 and not vocals > 0.3", {"piano": 0.5, "vocals": 0.4}, False),
        ("piano or slow and vocals", {"piano": 0.5}, True),
        ("(piano or slow) and vocals", {"piano": 0.5}, False),
        ("not piano and slow", {"slow": 0.5}, True),
        ("not (piano and slow)", {"piano": 0.6, "slow": 0.6}, False),
        ("PIANO AND Slow", {"piano": 0.5, "slow": 0.5}, True),
        ("no_vocals > .2 and 'no vocals' < 1", {"no vocals": 0.3}, True),
        ("80s >= 0.25 and hip-hop <= 1e-1", {"80s": 0.25}, True),
        ("0.2 < piano < 0.5", {"piano": 0.3}, True),
        ("0.2 < piano < 0.5", {"piano": 0.6}, False),
        ("piano > slow", {"piano": 0.3, "slow": 0.2}, True),
        ("duration < 3:30", {"duration": 209.0}, True),
        ("duration < 3:30", {"duration": 211.0}, False),
        ("1:15:00 < duration < 1:15:02", {"duration": 4501.0}, True),
        (f"duration < {'9' * 400}:30", {"duration": 4501.0}, True),
        ("no vocals > .2 and vocals < .1", {"no vocals": 0.3}, True),
        ("not no vocals > 0.2 or slow", {"no vocals": 0.3}, False),
        ("path ~ '\udce9'", {"path": r"caf\udce9.mp3"}, True),
        ("artist = 'J. S. BACH'", {"artist": "J. S. Bach"}, True),
        ("artist != bach", {"artist": "Bach"}, False),
        ("title ~ 'élan'", {"title": "L'ÉLAN vital"}, True),
        ("title = piano", {"title": "Piano"}, True),
        ('not title ~ "x\'; DROP TABLE"', {}, True),
        ("path ~ jazz and piano > 0", {"path": "/Jazz/a.mp3", "piano": 0.1}, True),
    ],
)
def test_a_condition_says_what_it_reads_like(query, row, expected):
    assert holds(query, row) is expected


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "expected at its end"),
        ("piano >", "a number expected at its end"),
        ("piano > 0.4 slow", "or quotation marks around words, at 'slow', character 13"),
        ("artist = pink floyd", "'and' or 'or' expected, or quotation marks around words, at 'flo"),
        ("(piano", r"'\)' expected at its end"),
        ("piano > 0.4)", r"expected at '\)'"),
        ("0.4", "a comparison such as 'piano > 0.4' expected"),
        ("and", "a tag, a field or a number expected at 'and'"),
        ("piano > 'x", "a quotation mark that is not closed"),
        ("piano; slow", "cannot read '; slow'; conditions are such as 'piano > 0.4 and not"),
        ("artist > 3", "compare artist with a text in quotation marks"),
        ("piano ~ 3", "'~' goes with title"),
        ("__import__('os')", "unknown tag '__import__'"),
        ("not " * 60 + "piano", "at most 40 deep"),
        ("piano or " * 300 + "piano", "at most 2000 characters"),
        (7, "a query must be a text; received 7"),
    ],
)
def test_what_cannot_be_read_is_said(query, said):
    with pytest.raises(ArgumentError, match=said):
        parse_condition(query, NAMES)


@pytest.mark.parametrize("query", ["pino > 0.4", "'no vocls' > 0.2", "'no vocls'", "slow > hiphpo"])
def test_misspelt_tags_are_suggested(query):
    with pytest.raises(UnknownNameError, match=r"did you mean .*(piano|no vocals|Hip-Hop)"):
        parse_condition(query, NAMES)


def test_tags_of_any_script_are_named_in_any_unicode_form():
    names = Names({unicodedata.normalize("NFD", "Électro"): "t.e", "日本 語": "t.j"})
    for form in ("NFC", "NFD"):
        condition = parse_condition(unicodedata.normalize(form, "électro > 0.1 or 日本_語"), names)
        assert condition.sql == "((t.e > ?) OR (t.j >= ?))"


def test_what_another_model_has_is_said():
    names = Names({"piano": "t.piano"}, {"happy": "MSD_musicnn"}.get)
    with pytest.raises(ArgumentError, match="no tag 'happy', but MSD_musicnn has: ask it with"):
        parse_condition("happy > 0.2", names)


def test_the_tag_that_is_wanted_is_the_first_that_shall_be_high():
    assert parse_condition("not vocals > 0.3 and slow < 1 and 0.2 < piano", NAMES).wanted == "piano"
    assert parse_condition("not (not slow)", NAMES).wanted == "slow"
    assert parse_condition("duration < 100", NAMES).wanted is None


_leaves = st.tuples(
    st.sampled_from(["piano", "slow", "vocals"]), st.sampled_from(["<", "<=", ">", ">="]),
    st.floats(0, 1).map(lambda number: round(number, 3)),
)  # fmt: skip
_trees = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)
    ),
    max_leaves=8,
)


def _written(tree):
    if tree[0] == "not":
        return f"not ({_written(tree[1])})"
    if tree[0] in ("and", "or"):
        return f"({_written(tree[1])}) {tree[0]} ({_written(tree[2])})"
    return f"{tree[0]} {tree[1]} {tree[2]}"


@settings(max_examples=150)
@given(_trees, st.tuples(*[st.floats(0, 1)] * 3))
def test_conditions_are_those_of_python(tree, scores):
    row = dict(zip(("piano", "slow", "vocals"), scores, strict=True))
    text = _written(tree)
    assert holds(text, row) is bool(eval(text, {}, row))


@settings(max_examples=200)
@given(st.text(st.characters(), max_size=60) | st.lists(st.sampled_from(
    ["piano", "and", "or", "not", "(", ")", ">", "0.3", "'", '"', "title", "~", "=", "x", "3:30"]
), max_size=12).map(" ".join))  # fmt: skip
def test_any_text_is_a_condition_or_is_refused(text):
    with contextlib.suppress(ArgumentError):
        holds(text, {})


# Descriptors


def test_every_tag_is_in_one_group_or_is_listed_as_ungrouped():
    table = descriptors()
    listed = [tag for group in table.groups.values() for tags in group.values() for tag in tags]
    listed += table.ungrouped
    assert len(listed) == len(set(listed))
    assert set(listed) == {tag for tags in VOCABULARIES.values() for tag in tags}
    assert list(table.groups) == ["genre", "mood", "instrument", "voice", "era", "character"]
    labels = [label for group in table.groups.values() for label in group]
    assert len(labels) == len(set(labels))
    assert {tag for tags in table.words.values() for tag in tags} <= set(listed)


@pytest.mark.parametrize("tags", [MTT_TAGS, MSD_TAGS, JAMENDO_TAGS], ids=VOCABULARIES)
def test_tags_mean_themselves_and_words_mean_several(tags):
    names = names_for(tags)
    assert all(names[tag] == (tag,) for tag in tags)
    assert len(names["calm"]) >= 2
    assert set(names["calm"]) <= set(tags)
    if tags is JAMENDO_TAGS:
        assert names["hip hop"] == names["hiphop"] == ("genre---hiphop",)
    if tags is MTT_TAGS:
        assert names["female vocals"] == ("female", "woman", "female vocal", "female voice")


def test_a_group_abstains_where_scores_are_flat_or_low():
    flat = dict.fromkeys(MTT_TAGS, 0.3)
    assert all(said.value is None for said in describe(flat).values())
    assert describe(flat | {"piano": 0.38})["instrument"].value == "piano"
    assert describe(flat | {"piano": 0.6, "guitar": 0.59})["instrument"].value == "piano"
    low = dict.fromkeys(MTT_TAGS, 0.01)
    assert describe(low | {"piano": 0.19})["instrument"].value is None
    assert describe(low | {"woman": 0.4})["voice"].value == "female vocals"
    assert "era" not in describe(flat)
    assert set(describe(dict.fromkeys(MSD_TAGS, 0.0))) >= {"era", "mood"}


def test_the_shape_is_that_of_acousticbrainz():
    scores = dict.fromkeys(MTT_TAGS, 0.1) | {"techno": 0.8}
    made = to_acousticbrainz(scores, model="m", weights="w", version="1")
    genre = json.loads(json.dumps(made))["highlevel"]["genre"]
    assert set(genre) == {"all", "probability", "value", "version"}
    assert (genre["value"], genre["probability"]) == ("techno", 0.8)
    assert math.isclose(genre["all"]["rock"], 0.1)
    assert made["highlevel"]["instrument"]["value"] is None
    assert np.isfinite(list(genre["all"].values())).all()
