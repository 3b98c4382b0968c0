"""The page on training: its recipe is that of the code.

That its code runs and its commands exist is checked in tests/test_docs_blocks.py.
"""

import re

from conftest import ROOT

from musicnn_zoo.training import FROM_SCRATCH

PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


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
