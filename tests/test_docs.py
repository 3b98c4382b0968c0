"""What stands in the README and on generated pages is what the package says."""

import re
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT

from musicnn_zoo import list_models, model_info
from musicnn_zoo.cli import cli

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def model_pages() -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        return runpy.run_path(str(ROOT / "docs" / "model_cards.py"))["pages"]()


def test_readme_has_the_table_of_the_presets() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "model_table.py"))
    assert script["with_table"](README) == README


def test_readme_shows_what_its_first_line_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line installs the package, too; its last command is what is run here."""
    (command,) = re.findall(r"venv/bin/musicnn-zoo (tag .*)\n```\n\n```text", README)
    (shown,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(ROOT)
    ran = CliRunner().invoke(cli, command.split())
    assert (ran.exit_code, ran.stdout) == (0, shown)


def test_readme_cites_what_the_models_state() -> None:
    squeezed = re.sub(r"\s+", " ", README)
    assert re.sub(r"\s+", " ", model_info("MTT_musicnn").citation) in squeezed


def test_the_cards_are_what_the_script_makes(model_pages: dict[str, str]) -> None:
    folder = ROOT / "docs" / "models"
    committed = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    assert committed == model_pages, "run python docs/model_cards.py"


@pytest.mark.parametrize("name", list_models())
def test_a_card_says_what_there_is_to_know(name: str, model_pages: dict[str, str]) -> None:
    card, info = model_pages[f"{name}.md"], model_info(name)
    assert f'model="{name}"' in card
    assert "path/to" not in card
    for tag in info.tags:
        assert f"`{tag}`" in card
    for figure in info.metrics.values():
        assert f"| {figure:.2f} |" in card
    assert f"{info.parameters:,} trainable" in card
    assert f"\n{info.license}\n" in card
    assert info.citation in card
    assert f"[`{name}`]({name}.md)" in model_pages["index.md"]


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]*)", README):
        assert Path(ROOT, target).exists(), target
