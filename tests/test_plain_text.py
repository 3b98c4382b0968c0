import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicnn_zoo.text import aligned, clock, count, printable, shortened, statements


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0:00.0"),
        (9.94, "0:09.9"),
        (59.94, "0:59.9"),
        (59.96, "1:00.0"),
        (62.8, "1:02.8"),
        (3725, "62:05.0"),
    ],
)
def test_clock(seconds, written):
    assert clock(seconds) == written


@given(st.floats(0, 1e5))
def test_a_clock_is_right_to_a_twentieth_of_a_second(seconds):
    minutes, rest = re.fullmatch(r"(\d+):(\d\d\.\d)", clock(seconds)).groups()
    assert float(rest) < 60
    assert int(minutes) * 60 + float(rest) == pytest.approx(seconds, abs=0.0500001)


@given(st.text(st.characters(codec=None)))
def test_what_is_printable_is_that_and_says_the_same(text):
    shown = printable(text)
    assert shown.isprintable()
    assert (shown == text) == text.isprintable()


@given(st.text(st.characters(codec="ascii", exclude_characters="\\")))
def test_what_is_escaped_can_be_read_back(text):
    assert printable(text).encode("ascii").decode("unicode_escape") == text


def test_bytes_of_a_file_name_that_are_no_characters_are_escaped() -> None:
    assert printable(b"caf\xe9.ogg".decode("utf-8", "surrogateescape")) == r"caf\udce9.ogg"


names = st.text(st.characters(codec="utf-8"), min_size=1)


@given(names, st.integers(4, 60))
def test_what_is_shortened_fits_and_keeps_both_ends(name, width):
    short = shortened(name, width)
    assert len(short) == min(len(name), width)
    if len(name) > width:
        first, last = short.split("…") if short.count("…") == 1 else (short[0], short[-1])
        assert name.startswith(first)
        assert name.endswith(last)


@given(st.lists(st.tuples(names, st.integers().map(str)), min_size=1, max_size=5))
def test_columns_are_aligned(rows):
    lines = aligned(("name", "figure"), rows)
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[-1] for line in lines] == ["figure", *(figure for _, figure in rows)]
    assert all(line.isprintable() for line in lines)


def test_statements_fit_a_terminal() -> None:
    lines = statements({"tracks": "many words " * 20, "score": "one\nline"})
    assert lines[0].startswith("tracks: many words")
    assert lines[1].startswith("  many") or lines[1].startswith("  words")
    assert max(map(len, lines)) <= 80
    assert lines[-1] == r"score: one\nline"


def test_count() -> None:
    assert [count(number, "track") for number in (0, 1, 5329)] == [
        "0 tracks", "1 track", "5,329 tracks",
    ]  # fmt: skip
