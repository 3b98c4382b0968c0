import re
import runpy

import pytest
from conftest import ROOT

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


def test_readme_cites_what_the_models_state() -> None:
    from musicnn_zoo import model_info

    squeezed = re.sub(r"\s+", " ", README)
    assert re.sub(r"\s+", " ", model_info("MTT_musicnn").citation) in squeezed
