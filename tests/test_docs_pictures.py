import runpy

import pytest
from conftest import ROOT
from PIL import Image

script = runpy.run_path(str(ROOT / "docs" / "pictures.py"))


@pytest.mark.parametrize("name", script["PICTURES"])
def test_a_picture_is_there_and_small(name: str) -> None:
    content = (ROOT / "docs" / "pictures" / f"{name}.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < 150_000


@pytest.mark.parametrize("name", ["tags", pytest.param("events", marks=pytest.mark.slow)])
def test_a_picture_is_drawn_again(name: str, tmp_path) -> None:
    with (
        Image.open(script["draw"](name, tmp_path)) as drawn,
        Image.open(ROOT / "docs" / "pictures" / f"{name}.png") as kept,
    ):
        assert drawn.size == kept.size
