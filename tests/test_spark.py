"""Tagging inside Spark's mapInPandas, as docs/cluster.md has it; in PySpark's local mode."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import CLIPS, ROOT
from test_library import make_clips

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, which is not here")
    sql = pytest.importorskip("pyspark.sql", reason="PySpark is not installed")
    folder = tmp_path_factory.mktemp("spark")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)  # what Java takes for the place of relative paths
    patch.setenv("PYSPARK_PYTHON", sys.executable)
    session = (
        sql.SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.warehouse.dir", str(folder))
        .config("spark.driver.memory", "1g")
        .getOrCreate()
    )
    yield session
    session.stop()
    patch.undo()


def code_of_the_page():
    """The blocks of the page's section on Spark that are not run as blocks of the page."""
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    section = page.partition("## Spark\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_page_tags_files_in_spark(spark):
    music = Path("music").absolute()
    make_clips(music, [3.0] * 6)
    (music / "broken.wav").write_bytes(b"RIFF")
    shutil.copy(CLIPS / "techno_loop.ogg", music)
    names = {"spark": spark}
    for code in code_of_the_page():
        exec(code, names)
    rows = {row.path.rpartition("/")[2]: row for row in spark.read.parquet("tags").collect()}
    assert len(rows) == 8
    assert rows["techno_loop.ogg"].tags[0] == "techno"
    assert abs(sum(rows["techno_loop.ogg"].scores)) > 0.1
    assert rows["techno_loop.ogg"].reason is None
    assert rows["broken.wav"].tags is None
    assert "not audio" in rows["broken.wav"].reason
