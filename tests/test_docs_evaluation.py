"""The page on evaluation: its figures are those that the models state.

That its code runs and its commands exist is checked in tests/test_docs_blocks.py.
"""

import re

from click.testing import CliRunner
from conftest import ROOT

from musicnn_zoo.cli.learning import evaluate
from musicnn_zoo.zoo.load import model_info

PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")


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
