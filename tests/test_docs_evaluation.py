"""The page on evaluation: its code runs, its output is real, its commands exist."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT

from musicnn_zoo.cli.evaluate import evaluate
from musicnn_zoo.datasets.opening import LAYOUTS
from musicnn_zoo.info import model_info

PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def figures(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def words(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\d+(?:\.\d+)?", "0", text)).strip()


def test_the_code_runs_and_prints_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    scope: dict[str, object] = {}
    for code in blocks("python"):
        exec(code, scope)
    printed, expected = capsys.readouterr().out, "".join(blocks("text"))
    assert words(printed) == words(expected)
    assert figures(printed) == pytest.approx(figures(expected), rel=0.02, abs=0.1)
    assert Path("evaluation.png").read_bytes()[1:4] == b"PNG"


def test_the_commands_exist_with_their_options() -> None:
    commands = re.findall(r"musicnn-zoo evaluate ([^`\n]*)", PAGE)
    assert len(commands) >= 16
    known = {option for parameter in evaluate.params for option in parameter.opts}
    for command in commands:
        arguments = shlex.split(command)
        assert {each for each in arguments if each.startswith("--")} <= known, command
        if "--layout" in arguments:
            assert arguments[arguments.index("--layout") + 1] in LAYOUTS


def test_published_figures_are_those_that_the_models_state() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| [\w ]+ \|\s*([\d.]*)\s*\|\s*([\d.]*)\s*\| `musicnn-zoo evaluate (\w+) ",
        PAGE, flags=re.MULTILINE,
    )  # fmt: skip
    assert len(rows) == 13
    for name, roc_auc, pr_auc, evaluated in rows:
        metrics = model_info(name).metrics if roc_auc else {}
        stated = [f"{metrics[each]:.2f}" for each in ("roc_auc", "pr_auc")] if metrics else ["", ""]
        assert (evaluated, stated) == (name, [roc_auc, pr_auc])


def test_the_help_says_what_the_page_says() -> None:
    shown = CliRunner().invoke(evaluate, ["--help"]).output
    for option in set(re.findall(r"`(--[a-z-]+)", PAGE)):
        assert option in shown, option
