import re
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from hub_server import HubServer, patch_hub

from musicnn_zoo.cli import cli

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_has_the_table_of_the_presets() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "model_table.py"))
    assert script["with_table"](README) == README


def test_readme_python_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    scope: dict[str, object] = {}
    exec(code, scope)
    assert "techno" in capsys.readouterr().out
    assert scope["vector"].shape == (200,)


def test_the_code_of_the_page_on_libraries_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "libraries.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    CliRunner().invoke(cli, ["tag", "examples/audio", "--output", "tags.parquet"])
    scope: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(code, scope)
    names = [Path(name).stem for name in scope["strings"].index]
    assert names == ["bach_chorale_strings", "bach_prelude_harpsichord"]
    printed = capsys.readouterr().out
    assert "examples/audio/techno_loop.ogg ('techno'," in printed
    assert "0.0 s: " in printed


def test_the_code_of_the_page_on_weights_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    checkpoint, *blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert 'weights="best_model.pth"' in checkpoint  # runs in tests/test_sota_parity.py
    scope: dict[str, object] = {}
    with HubServer() as server:
        patch_hub(monkeypatch, server, tmp_path / "cache", token=server.token)
        for code in blocks:
            exec(code, scope)
        assert set(server.files("me/my_vgg")) >= {"model.safetensors", "README.md"}
    assert "techno" in capsys.readouterr().out
    assert scope["newest"].provenance == scope["provenance"]


def test_the_commands_of_the_page_on_weights_exist() -> None:
    page = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    commands = re.findall(r"^musicnn-zoo (\w+) (.*)$", page, flags=re.MULTILINE)
    assert len(commands) >= 3
    for command, arguments in commands:
        options = re.findall(r"--[a-z-]+", arguments)
        known = CliRunner().invoke(cli, [command, "--help"]).output
        assert all(option in known for option in options), (command, options)


def test_readme_cites_what_the_models_state() -> None:
    from musicnn_zoo import model_info

    squeezed = re.sub(r"\s+", " ", README)
    assert re.sub(r"\s+", " ", model_info("MTT_musicnn").citation) in squeezed
