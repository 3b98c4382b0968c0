"""Every code block of every page, and of the README, runs or says why it cannot."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import soundfile
from conftest import CLIPS, ROOT
from docs_blocks import (
    Block,
    PageRun,
    blocks_of,
    check_command,
    check_names,
    commands_of,
    difference,
)
from hub_server import HubServer, patch_hub

from musicnn_zoo.cli import cli
from musicnn_zoo.zoo.catalogue import MTT_TAGS

PAGES = {
    path.relative_to(ROOT).as_posix(): blocks_of(path)
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
WITH_CODE = [
    name
    for name, blocks in PAGES.items()
    if any(block.language in ("python", "sh") and not block.not_run for block in blocks)
]
SLOW = [name for name in WITH_CODE if any(block.slow for block in PAGES[name])]
QUICK = [name for name in WITH_CODE if any(not block.slow for block in PAGES[name])]
NOT_RUN = [block for blocks in PAGES.values() for block in blocks if block.not_run]

LANGUAGES = {
    "python", "sh", "bash", "yaml", "text", "mermaid", "bibtex", "js", "json", "csv", "toml",
    "{toctree}", "{eval-rst}",
}  # fmt: skip
PIECE_S = 3
ALBUMS = {
    "bach_chorale_strings": ("Bach", "baroque", ("classical", "strings")),
    "bach_prelude_harpsichord": ("Bach", "baroque", ("classical", "harpsichord")),
    "techno_loop": ("Tapes", "techno", ("techno", "electronic")),
}
"""Album, genre and tags of the example clips, by which a reader's files are made."""
OTHER_OPTIONS = {
    "--logdir", "--topN", "--length", "--overlap", "--save", "--dist", "--check", "--keep-going",
    "--cpus", "--head", "--address", "--hypothesis-profile",
}  # fmt: skip
"""Of TensorBoard, the original musicnn, pytest, ruff, Sphinx, Docker, Ray and hypothesis."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# === What a reader has before he begins ===


@pytest.fixture(scope="module")
def belongings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a song, a folder of music and a folder of classes."""
    home = tmp_path_factory.mktemp("home")
    genres, tracks = ["path,tags,split"], ["path,tags,split"]
    for clip, (album, genre, tags) in ALBUMS.items():
        (home / "Music" / album).mkdir(parents=True, exist_ok=True)
        shutil.copy(CLIPS / f"{clip}.ogg", home / "Music" / album)
        samples, rate = soundfile.read(CLIPS / f"{clip}.ogg")
        soundfile.write(home / "song.mp3", samples, rate)
        (home / "my_genres" / genre).mkdir(parents=True, exist_ok=True)
        for number in range(8):
            piece = samples[number * PIECE_S * rate : (number + 1) * PIECE_S * rate]
            path = f"my_genres/{genre}/{clip}_{number}.flac"
            soundfile.write(home / path, piece, rate)
            split = "validation" if number < 3 else "test"
            genres.append(f"{path},{genre},{split}")
            tracks.append(f"{path},{';'.join({*tags, *MTT_TAGS[number::8]})},{split}")
    for table, rows in {"my_test_set": genres, "my_tracks": tracks}.items():
        (home / f"{table}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return home


@pytest.fixture
def at_home(belongings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh copy of it, in which the page is read."""
    home = tmp_path / "home"
    shutil.copytree(belongings, home)
    (home / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("MUSICNN_ZOO_LIBRARY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    return home


def add_a_file_that_is_no_audio(home: Path) -> None:
    (home / "Music" / "notes.mp3").write_text("not audio", encoding="utf-8")


def write_the_rules(home: Path) -> None:
    (rules,) = [block for block in PAGES["docs/write_back.md"] if block.language == "toml"]
    (home / "rules.toml").write_text(rules.code, encoding="utf-8")


BEFORE: dict[str, Callable[[Path], None]] = {
    "docs/libraries.md": add_a_file_that_is_no_audio,
    "docs/recipes.md": add_a_file_that_is_no_audio,
    "docs/write_back.md": write_the_rules,
}


# === What must be true when he has read a page ===


def check_the_vector(run: PageRun) -> None:
    assert run.scope["vector"].shape == (200,)


def check_the_published_model(run: PageRun) -> None:
    assert run.scope["newest"].provenance == run.scope["provenance"]


def check_the_picture(run: PageRun) -> None:
    assert Path("evaluation.png").read_bytes()[1:4] == b"PNG"


def check_what_the_folder_holds(run: PageRun) -> None:
    section = text_of("docs/training.md").partition("## What the output folder holds")[2]
    section = section.partition("\n## ")[0]
    of_commands = {"training/test.json"}
    names = set(re.findall(r"`([\w./]+\.\w+|training/tensorboard)`", section)) - of_commands
    assert len(names) == 10
    for name in names:
        assert Path("scratch", name).exists(), name
    assert run.scope["training"].history[-1]["epoch"] == 2


AFTER: dict[str, Callable[[PageRun], None]] = {
    "README.md": check_the_vector,
    "docs/weights.md": check_the_published_model,
    "docs/evaluation.md": check_the_picture,
}
AFTER_ALL = {"docs/training.md": check_what_the_folder_holds}


# === Reading ===


def read(name: str, blocks: list[Block], monkeypatch: pytest.MonkeyPatch, home: Path) -> PageRun:
    BEFORE.get(name, lambda home: None)(home)
    run = PageRun()
    with HubServer() as server:
        if any("hf://" in block.code or "_to_hub" in block.code for block in blocks):
            patch_hub(monkeypatch, server, home / "hub", token=server.token)
        for block in blocks:
            run.run(block)
    AFTER.get(name, lambda run: None)(run)
    return run


@pytest.mark.parametrize("name", QUICK)
def test_the_quick_blocks_run(name: str, at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(name, [block for block in PAGES[name] if not block.slow], monkeypatch, at_home)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_all_blocks_run(name: str, at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = read(name, PAGES[name], monkeypatch, at_home)
    AFTER_ALL.get(name, lambda run: None)(run)


# === What does not run ===


@pytest.mark.parametrize("block", NOT_RUN, ids=lambda block: block.place)
def test_what_is_not_run_exists(block: Block) -> None:
    assert block.notes["not run"], "a reason"
    if block.language == "python":
        check_names(block.code)
    elif block.language == "sh":
        for program, *arguments in commands_of(block.code):
            if program == "musicnn-zoo":
                check_command(arguments)


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_of_a_known_language(name: str) -> None:
    assert {block.language for block in PAGES[name]} <= LANGUAGES
    assert text_of(name).count("```") == 2 * len(PAGES[name])


@pytest.mark.parametrize("name", PAGES)
def test_commands_in_the_text_exist(name: str) -> None:
    for command in re.findall(r"`musicnn-zoo ([a-z]+ [^`]+)`", text_of(name)):
        check_command(shlex.split(command))


def test_options_in_the_text_exist() -> None:
    known = set(OTHER_OPTIONS)
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
    declared = re.compile(r'(?:add_argument|option)\(\s*(?:"-\w", )?"(--[a-z0-9-]+)')
    for folder in ("benchmarks", "examples", "weights", "beetsplug"):
        for script in (ROOT / folder).glob("*.py"):
            known |= set(declared.findall(script.read_text("utf-8")))
    for name in PAGES:
        text = re.sub(r"```.*?```|<!--.*?-->", "", text_of(name), flags=re.DOTALL)
        options = set(re.findall(r"`[^`\n]*?(?<![\w-])(--[a-z][a-z0-9-]*)[^`\n]*`", text))
        assert options <= known, (name, options - known)


# === The comparison of texts ===


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("techno  0.755", "  techno 0.756\n"),
        ("3 done", "3 done"),
        ("a\n…\nz 1.0", "a\nb 7\nc\nz 1.0"),
        ("\n1 × 2.50 s", "1 × 2.49 s"),
    ],
)
def test_texts_that_are_the_same(expected: str, printed: str) -> None:
    assert difference(expected, printed) is None


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("techno  0.755", "techno 0.735"),
        ("3 done", "4 done"),
        ("3 done", "3 done, 1 failed"),
        ("a\n…\nz", "a b"),
        ("techno 0.755", "electro 0.755"),
    ],
)
def test_texts_that_differ(expected: str, printed: str) -> None:
    assert difference(expected, printed)
