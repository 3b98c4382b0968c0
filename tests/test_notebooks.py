"""The notebooks in examples/: they run, at a small size, and are kept without outputs."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from docs_blocks import check_names

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SMALL = {"clips_made": 32, "seconds": 2, "head_epochs": 2, "epochs": 1}
"""In place of what a notebook's cell of parameters says."""
SECONDS_A_CELL = 600


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def code_of(cell: dict[str, Any]) -> str:
    lines = "".join(cell["source"]).splitlines()
    return "\n".join(line for line in lines if not line.startswith("%"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = read(path)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    first, *cells = notebook["cells"]
    assert first["cell_type"] == "markdown"
    assert first["source"][0].startswith("# ")
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_takes_from_the_package_is_there(path: Path) -> None:
    for cell in read(path)["cells"]:
        if cell["cell_type"] == "code":
            check_names(code_of(cell))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    for cell in read(path)["cells"]:
        if cell["cell_type"] == "markdown":
            for part in "".join(cell["source"]).split("](")[1:]:
                target = part.partition(")")[0].partition("#")[0]
                assert (path.parent / target).exists(), target


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "folder"),
    [*((path, ROOT) for path in NOTEBOOKS), (NOTEBOOKS[-1], NOTEBOOKS[-1].parent)],
    ids=lambda path: path.stem,
)
def test_a_notebook_runs(
    path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            names = [line.partition(" = ")[0] for line in cell.source.splitlines()]
            cell.source = "\n".join(f"{name} = {SMALL[name]}" for name in names)
    client = nbclient.NotebookClient(
        notebook, timeout=SECONDS_A_CELL, kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    client.execute()
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert pictures
