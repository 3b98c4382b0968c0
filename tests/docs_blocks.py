"""Runs the code blocks of a page as its reader would, in order, in one folder.

``python`` blocks share their names; of ``sh`` blocks each line is a command; a ``text`` block is
what the block before it prints. Comments before a block say otherwise:

``<!-- slow -->``
    This block and all after it take long.
``<!-- not run: REASON -->``
    It cannot run here; its commands and names must exist nevertheless.
``<!-- exit code N: REASON -->``
    Its last command ends with that code.
``<!-- not compared: REASON -->``, ``<!-- numbers not compared: REASON -->``
    Before ``text``: it, or its numbers, cannot be the same everywhere.

In a ``text`` block, numbers with decimals need only be near, a line ``…`` stands for any lines, and
``~`` for the home of whoever reads.
"""

import ast
import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

import musicnn_zoo
from musicnn_zoo.cli import cli

FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!-- ([^>]*?)(?:: ([^>]*?))? -->\s*\Z")
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    code: str
    slow: bool
    notes: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def not_run(self) -> bool:
        return "not run" in self.notes


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found, end, slow = [], 0, False
    for fence in FENCE.finditer(text):
        before = text[end : fence.start()]
        slow = slow or "<!-- slow -->" in before
        notes = {}
        while comment := COMMENT.search(before):
            notes[comment[1]] = comment[2] or ""
            before = before[: comment.start()]
        line = text.count("\n", 0, fence.start()) + 2
        code = re.sub(rf"^{fence[1]}", "", fence[3], flags=re.MULTILINE)
        found.append(Block(page, line, fence[2].strip(), code, slow, notes))
        end = fence.end()
    return found


def commands_of(code: str) -> list[list[str]]:
    """Words of each line that is a command, and of each part of a pipe."""
    lines = code.replace("\\\n", " ").splitlines()
    return [
        shlex.split(part, comments=True)
        for line in lines
        for part in line.split(" | ")
        if line.strip() and not line.startswith("#")
    ]


def check_command(words: list[str]) -> None:
    """See that a command and its options are there, and that it takes their values."""
    name, *arguments = words
    try:
        command = cli.get_command(click.Context(cli), name)
        if command is None:
            raise AssertionError(f"there is no command musicnn-zoo {name}")
        context = command.make_context(name, arguments)
    except click.exceptions.Exit:
        return
    except click.ClickException as error:
        raise AssertionError(f"musicnn-zoo {shlex.join(words)}: {error.format_message()}") from None
    context.close()


def check_names(code: str) -> None:
    """See that Python code can be read, and that what it takes from the package is there."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "musicnn_zoo":
                assert hasattr(musicnn_zoo, node.attr), f"musicnn_zoo.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("musicnn_zoo"):
            module = __import__(node.module, fromlist=["*"])
            for name in node.names:
                assert hasattr(module, name.name), f"{node.module}.{name.name}"


class PageRun:
    """One pass over the blocks of a page, in the folder that is the current one."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {"__name__": "__main__"}
        self.printed: str | None = None

    def run(self, block: Block) -> None:
        if block.language == "text":
            if self.printed is not None and "not compared" not in block.notes:
                printed = self.printed.replace(str(Path.home()), "~")
                numbers = "numbers not compared" not in block.notes
                wrong = difference(block.code, printed, numbers=numbers)
                assert not wrong, f"{block.place}: {wrong}; printed was\n{printed}"
            self.printed = None
        elif block.not_run:
            self.printed = None
        elif block.language == "python":
            self.printed = self._python(block)
        elif block.language == "sh":
            self.printed = "".join(self._commands(block))

    def _python(self, block: Block) -> str:
        lines_up_to_it = "\n" * (block.line - 1)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(lines_up_to_it + block.code, str(block.page), "exec"), self.scope)
        return out.getvalue()

    def _commands(self, block: Block) -> Iterator[str]:
        *others, last = commands_of(block.code)
        (code,) = [int(note.split()[-1]) for note in block.notes if "exit code" in note] or [0]
        for words in others:
            yield self._command(words, block, 0)
        yield self._command(last, block, code)

    def _command(self, words: list[str], block: Block, code: int) -> str:
        home = str(Path.home())
        program, *arguments = [re.sub(r"^~(?=/|$)", home, word) for word in words]
        if program == "musicnn-zoo":
            result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
            printed, ended = result.output, result.exit_code
        elif program == "python":
            done = subprocess.run(
                [sys.executable, *arguments], check=False, text=True, encoding="utf-8",
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            printed, ended = done.stdout, done.returncode
        else:
            raise AssertionError(f"{block.place}: {program} is not run here; say so before it")
        assert ended == code, f"{block.place}: {shlex.join(words)} ended with {ended}:\n{printed}"
        return printed


def difference(expected: str, printed: str, *, numbers: bool = True) -> str | None:
    """Say in what way a text is not what was printed."""
    stated_ones: list[str] = []

    def pattern(line: str) -> str:
        if line.strip() == "…":
            return r".*?"
        parts = []
        for word in line.split():
            stated_ones.extend(NUMBER.findall(word))
            literals = map(re.escape, NUMBER.split(word))
            parts.append(r"(\d+(?:\.\d+)?)".join(literals))
        return r"\s+".join(parts)

    lines = [pattern(line) for line in expected.splitlines() if line.strip()]
    found = re.fullmatch(r"\s*" + r"\s+".join(lines) + r"\s*", printed, re.DOTALL)
    if found is None:
        return "the words are others"
    for stated, real in zip(stated_ones, found.groups(), strict=True):
        if numbers and not _near(stated, real):
            return f"{stated} stands for {real}"
    return None


def _near(stated: str, real: str) -> bool:
    if "." not in stated:
        return stated == real
    unit = 10.0 ** -len(stated.partition(".")[2])
    allowed = max(0.02 * abs(float(stated)), 2 * unit)
    return abs(float(stated) - float(real)) <= allowed * (1 + 1e-9)
