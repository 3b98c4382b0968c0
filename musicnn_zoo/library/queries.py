"""Conditions on tags and titles, such as ``piano > 0.4 and slow > 0.2 and not vocals > 0.3``.

A condition is read word by word and becomes a condition in SQL, in which all numbers and texts are
parameters and all names are those of columns that exist. Nothing is evaluated by Python.

    condition   = both ("or" both)*
    both        = part ("and" part)*
    part        = "not" part | "(" condition ")" | comparison
    comparison  = value (("<" | "<=" | ">" | ">=" | "=" | "==" | "!=" | "~") value)*

A value is a number, a length such as ``3:30`` or ``1:15:00``, the name of a tag, a word for several
tags (see :mod:`musicnn_zoo.library.descriptors`), or a field: ``duration`` in seconds, ``title``,
``artist``, ``album``, ``genre``, ``path``. A name with spaces is quoted, or written with
underscores. A tag by itself means that its score is at least 0.5. Texts are compared with ``=``,
``!=`` and ``~`` (contains), in which neither capitals nor the Unicode form of accents count.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from musicnn_zoo.errors import ArgumentError, UnknownNameError, shown
from musicnn_zoo.text import folded, path_to_text

Name = Callable[[str], str]

FIELDS = {"duration": "s.duration_s"}
TEXT_FIELDS = {name: f"f.{name}" for name in ("title", "artist", "album", "genre", "path")}
PRESENT_SCORE = 0.5
"""A tag by itself is there from this score on."""
_LONGEST = 2000
_DEEPEST = 40
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<length>\d+(?::[0-5]\d){1,2})(?![\w.:])
    | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    | (?P<text>"[^"]*"|'[^']*')
    | (?P<name>\w+(?:[\w/&.'-]*\w)?)
    | (?P<sign><=|>=|==|!=|[<>=~()])
    | (?P<end>$)
    )""",
    re.VERBOSE,
)
_OPERATORS = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "=": "=", "==": "=", "!=": "<>"}
_WORDS = ("and", "or", "not")


class Token(NamedTuple):
    """A word of a condition, and where it begins."""

    kind: str
    text: str
    at: int


class Value(NamedTuple):
    """One side of a comparison, in SQL."""

    kind: str
    """number, text, or field of text."""
    sql: str
    values: tuple[float | str, ...] = ()
    name: str = ""
    """Of a tag."""


class Condition(NamedTuple):
    """A condition in SQL.

    Parameters
    ----------
    sql : str
    values : tuple of float or str
        The parameters.
    tags : tuple of str
        The tags and words in it, as they are called there.
    wanted : str or None
        The first of these that is asked to be high.
    """

    sql: str
    values: tuple[float | str, ...]
    tags: tuple[str, ...]
    wanted: str | None


class Names:
    """The names that a condition may use, by what they mean in SQL.

    Parameters
    ----------
    tags : mapping of str to str
        Tags, and words for several, with their SQL. Capitals and underscores do not count.
    elsewhere : callable, optional
        Says which model has a tag that is not among them.
    """

    def __init__(
        self, tags: Mapping[str, str], elsewhere: Callable[[str], str | None] = lambda _: None
    ) -> None:
        self._exact = dict(tags)
        self._elsewhere = elsewhere
        self._plain: dict[str, str] = {}
        for name in tags:
            self._plain.setdefault(plain(name), name)

    def __contains__(self, name: str) -> bool:
        return name in self._exact or plain(name) in self._plain

    def tag(self, name: str, others: Collection[str] = (*FIELDS, *TEXT_FIELDS)) -> str:
        """Return the name of a tag or a word as it is spelled; ``others`` could be meant, too."""
        if name in self._exact:
            return name
        if plain(name) in self._plain:
            return self._plain[plain(name)]
        model = self._elsewhere(name)
        if model is not None:
            raise ArgumentError(
                f"the model that is asked has no tag {name!r}, but {model} has: ask it with "
                f"--model {model}, after 'musicnn-zoo index --model {model}'"
            )
        raise UnknownNameError("tag", name, [*self._exact, *others])

    def sql(self, name: str) -> str:
        """Return what a tag or a word is in SQL."""
        return self._exact[self.tag(name)]

    def sql_of_tag(self, name: str) -> str:
        """Return what a tag or a word is in SQL, where no field can be meant."""
        return self._exact[self.tag(name, ())]


def plain(name: str) -> str:
    """Return a name without what does not count: capitals, and what stands between words."""
    return re.sub(r"[\s_-]+", " ", folded(name)).strip()


def parse_condition(text: str, names: Names) -> Condition:
    """Read a condition.

    Raises
    ------
    ArgumentError
        If it cannot be read; the message says where.
    UnknownNameError
        If there is no such tag; the nearest ones are suggested.
    """
    if not isinstance(text, str):
        raise ArgumentError(f"a query must be a text; received {shown(text)}")
    if len(text) > _LONGEST:
        raise ArgumentError(f"a query has at most {_LONGEST} characters; received {len(text)}")
    reader = _Reader(unicodedata.normalize("NFC", text), names)
    sql, values = reader.condition(0)
    reader.expect_end()
    return Condition(sql, tuple(values), tuple(dict.fromkeys(reader.tags)), reader.wanted)


def _tokens(text: str) -> list[Token]:
    tokens = []
    at = 0
    while True:
        found = _TOKEN.match(text, at)
        if found is None:
            rest = text[at:].strip()
            what = "a quotation mark that is not closed" if rest[0] in "\"'" else f"{rest[:20]!r}"
            raise ArgumentError(
                f"query {text!r}: cannot read {what}; conditions are such as "
                "'piano > 0.4 and not slow > 0.2'"
            )
        kind = found.lastgroup or "end"
        tokens.append(Token(kind, found[kind], found.start(kind)))
        if kind == "end":
            return tokens
        at = found.end()


Sql = tuple[str, list[float | str]]


class _Reader:
    """Reads a condition from left to right."""

    def __init__(self, text: str, names: Names) -> None:
        self._text = text
        self._names = names
        self._tokens = _tokens(text)
        self._next = 0
        self._denied = False
        self.tags: list[str] = []
        self.wanted: str | None = None

    def condition(self, depth: int) -> Sql:
        """Read parts of which one must hold."""
        return self._joined("or", self._both, depth)

    def _both(self, depth: int) -> Sql:
        return self._joined("and", self._part, depth)

    def _joined(self, word: str, read: Callable[[int], Sql], depth: int) -> Sql:
        sql, values = read(depth)
        parts = [sql]
        while self._take_word(word):
            sql, more = read(depth)
            parts.append(sql)
            values = values + more
        return (parts[0] if len(parts) == 1 else f"({f' {word.upper()} '.join(parts)})"), values

    def _part(self, depth: int) -> Sql:
        if depth > _DEEPEST:
            raise ArgumentError(f"query: brackets and 'not' go at most {_DEEPEST} deep")
        if self._take_word("not"):
            self._denied = not self._denied
            sql, values = self._part(depth + 1)
            self._denied = not self._denied
            return f"NOT {sql}", values
        if self._take_sign("("):
            inner = self.condition(depth + 1)
            if not self._take_sign(")"):
                raise self._unexpected("')' expected")
            return inner
        return self._comparison()

    def _comparison(self) -> Sql:
        left = self._value()
        parts: list[str] = []
        values: list[float | str] = []
        while self._peek().kind == "sign" and self._peek().text not in "()":
            sign = self._take().text
            right = self._value()
            sql, used = self._compared(left, sign, right)
            parts.append(sql)
            values += used
            left = right
        if not parts:
            if left.kind == "text":
                self._names.tag(str(left.values[0]))  # says that there is none
            if not left.name or left.kind == "field":
                raise self._unexpected("a comparison such as 'piano > 0.4' expected")
            self._want(left.name)
            return f"({left.sql} >= ?)", [PRESENT_SCORE]
        return (parts[0] if len(parts) == 1 else f"({' AND '.join(parts)})"), values

    def _compared(self, left: Value, sign: str, right: Value) -> Sql:
        kinds = {left.kind, right.kind}
        if "field" in kinds:
            return self._texts_compared(left, sign, right)
        for value in (left, right):
            if value.kind == "text":
                self._names.tag(str(value.values[0]))  # says that there is none
        if sign == "~":
            raise ArgumentError(f"query {self._text!r}: '~' goes with {', '.join(TEXT_FIELDS)}")
        if sign in (">", ">=") and left.name:
            self._want(left.name)
        if sign in ("<", "<=") and right.name:
            self._want(right.name)
        return f"({left.sql} {_OPERATORS[sign]} {right.sql})", [*left.values, *right.values]

    def _texts_compared(self, left: Value, sign: str, right: Value) -> Sql:
        field, other = (left, right) if left.kind == "field" else (right, left)
        if other.kind != "text" or sign not in ("=", "==", "!=", "~"):
            raise ArgumentError(
                f"query {self._text!r}: compare {field.name or 'a text'} with a text in quotation "
                "marks by =, != or ~ (contains)"
            )
        text = folded(path_to_text(str(other.values[0])))
        if sign == "~":
            return f"(instr(fold({field.sql}), ?) > 0)", [text]
        return f"(fold({field.sql}) {_OPERATORS[sign]} ?)", [text]

    def _value(self) -> Value:
        token = self._take()
        if token.kind == "number":
            return Value("number", "?", (float(token.text),))
        if token.kind == "length":
            seconds = 0.0
            for part in token.text.split(":"):
                seconds = 60 * seconds + float(part)
            return Value("number", "?", (seconds,))
        if token.kind == "name" and token.text.lower() not in _WORDS:
            return self._named(self._several_words(token.text))
        if token.kind == "text":
            text = token.text[1:-1]
            return self._named(text) if text in self._names else Value("text", "?", (text,))
        raise self._unexpected("a tag, a field or a number expected", token)

    def _several_words(self, name: str) -> str:
        """Take the words that follow if they make the name of a tag, the most that do."""
        last = self._next
        while self._tokens[last].kind == "name" and self._tokens[last].text.lower() not in _WORDS:
            last += 1
        for end in range(last, self._next, -1):
            whole = " ".join([name, *(token.text for token in self._tokens[self._next : end])])
            if whole in self._names:
                self._next = end
                return whole
        return name

    def _named(self, name: str) -> Value:
        before = self._tokens[max(0, self._next - 2)]
        after_field = self._next > 2 and before.text in ("=", "==", "!=", "~")
        if after_field and self._tokens[self._next - 3].text.lower() in TEXT_FIELDS:
            return Value("text", "?", (name,))
        folded = name.lower()
        if folded in TEXT_FIELDS and name not in self._names:
            return Value("field", TEXT_FIELDS[folded], name=folded)
        if folded in FIELDS and name not in self._names:
            return Value("number", FIELDS[folded])
        tag = self._names.tag(name)
        self.tags.append(tag)
        return Value("number", self._names.sql(tag), name=tag)

    def _want(self, name: str) -> None:
        if not self._denied and self.wanted is None:
            self.wanted = name

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._peek()
        self._next += token.kind != "end"
        return token

    def _take_word(self, word: str) -> bool:
        token = self._peek()
        found = token.kind == "name" and token.text.lower() == word
        self._next += found
        return found

    def _take_sign(self, sign: str) -> bool:
        found = self._peek().kind == "sign" and self._peek().text == sign
        self._next += found
        return found

    def expect_end(self) -> None:
        """Refuse what is left."""
        if self._peek().kind == "name":
            raise self._unexpected("'and' or 'or' expected, or quotation marks around words,")
        if self._peek().kind != "end":
            raise self._unexpected("'and' or 'or' expected")

    def _unexpected(self, why: str, token: Token | None = None) -> ArgumentError:
        token = token or self._peek()
        what = repr(token.text) if token.text else "its end"
        return ArgumentError(f"query {self._text!r}: {why} at {what}, character {token.at + 1}")
