"""The page on training: its code runs, its commands and their options exist, its recipe is true."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from musicnn_zoo.cli import cli
from musicnn_zoo.cli.learning import finetune, train
from musicnn_zoo.training import FROM_SCRATCH

PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def shell_lines(program: str) -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(program)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the data of the page are, made by its own commands."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "examples").symlink_to(ROOT / "examples")
    for _, *arguments in shell_lines("python examples/make_synthetic.py")[:2]:
        subprocess.run([sys.executable, *arguments], cwd=folder, check=True)
    return folder


@pytest.mark.slow
def test_the_code_runs_and_prints_what_the_page_says(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)
    scope: dict[str, object] = {}
    for code in blocks("python"):
        exec(code, scope)
    printed = capsys.readouterr().out
    for expected in blocks("text")[:2]:  # of what the blocks of Python print
        assert expected in printed
    assert scope["training"].history[-1]["epoch"] == 2
    for output in ("my_model", "scratch"):
        assert (made / output / "model.safetensors").exists()


@pytest.mark.slow
def test_the_folder_holds_what_the_page_says(made: Path) -> None:
    if not (made / "scratch").exists():
        pytest.skip("the code of the page has not run")
    section = PAGE.partition("## What the output folder holds")[2].partition("\n## ")[0]
    of_commands = {"thresholds.json", "training/test.json"}
    names = set(re.findall(r"`([\w./]+\.\w+|training/tensorboard)`", section)) - of_commands
    assert len(names) == 8
    for name in names:
        assert (made / "scratch" / name).exists(), name


def test_the_commands_exist_with_their_options() -> None:
    lines = shell_lines("musicnn-zoo")
    assert len(lines) >= 2
    for _, command, *arguments in lines:
        known = {option for each in cli.commands[command].params for option in each.opts}
        assert {each for each in arguments if each.startswith("--")} <= known, command


def test_options_named_in_the_text_are_those_of_some_command_or_example() -> None:
    known = {"--logdir"}  # of TensorBoard
    for command in (train, finetune):
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
    for example in (ROOT / "examples").glob("*.py"):
        known |= set(
            re.findall(r'add_argument\("(--[a-z0-9-]+)', example.read_text(encoding="utf-8"))
        )
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", PAGE)) <= known


def test_the_examples_of_the_page_are_there_and_take_its_options() -> None:
    lines = shell_lines("python examples/")
    assert len(lines) >= 7
    for _, example, *arguments in lines:
        code = (ROOT / example).read_text(encoding="utf-8")
        for option in (each for each in arguments if each.startswith("--")):
            assert f'"{option}"' in code, (example, option)


def test_the_recipe_is_that_of_the_code() -> None:
    (phase,) = FROM_SCRATCH.phases
    section = PAGE.partition("## From scratch")[2].partition("\n### ")[0]
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", section, flags=re.MULTILINE))
    assert rows["optimizer"] == f"Adam, {phase.learning_rate:.0e}".replace("e-0", "e-")
    assert rows["patches a step"] == str(FROM_SCRATCH.batch_size)
    assert rows["L2 on all kernels"] == f"{FROM_SCRATCH.l2:.0e}".replace("e-0", "e-")
    assert f"after {phase.halve_after} epochs" in rows["learning rate halved"]
    assert rows["epochs"] == str(phase.epochs)


def test_the_picture_is_there_and_small() -> None:
    (name,) = re.findall(r"!\[[^]]*\]\((pictures/[\w.]+)\)", PAGE)
    picture = (ROOT / "docs" / name).read_bytes()
    assert picture[1:4] == b"PNG"
    assert len(picture) < 100_000
