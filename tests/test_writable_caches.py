"""An installation and a home that are read-only: libraries get places to write in."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import CLIPS, ROOT

from musicnn_zoo.machine import installation

UNWRITABLE = "/dev/null/home"  # no user can write below what is no folder, root neither

pytestmark = pytest.mark.skipif(not Path("/dev/null").exists(), reason="no /dev/null here")


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Make nothing writable but temporary folders."""
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(installation, "_is_writable", lambda _: False)
    monkeypatch.setattr(installation.tempfile, "tempdir", str(tmp_path))
    installation.temporary_folder.cache_clear()
    yield tmp_path
    installation.temporary_folder.cache_clear()


def test_what_can_be_written_nowhere_goes_into_a_folder_of_ones_own(nowhere) -> None:
    installation.provide_writable_caches()
    (folder,) = nowhere.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder / "numba")
    assert os.environ["MPLCONFIGDIR"] == str(folder / "matplotlib")


def test_numba_that_is_imported_already_is_told(nowhere, monkeypatch) -> None:
    numba = SimpleNamespace(config=SimpleNamespace(CACHE_DIR=""))
    monkeypatch.setitem(sys.modules, "numba", numba)
    installation.provide_writable_caches()
    assert numba.config.CACHE_DIR == os.environ["NUMBA_CACHE_DIR"] != ""


def test_what_the_user_says_is_left(nowhere, monkeypatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/mine")
    monkeypatch.setenv("MPLCONFIGDIR", "/mine")
    installation.provide_writable_caches()
    assert os.environ["NUMBA_CACHE_DIR"] == os.environ["MPLCONFIGDIR"] == "/mine"
    assert list(nowhere.iterdir()) == []


def test_nothing_is_made_where_libraries_can_write(nowhere, monkeypatch) -> None:
    monkeypatch.setattr(installation, "_is_writable", lambda _: True)
    installation.provide_writable_caches()
    assert list(nowhere.iterdir()) == []
    assert "NUMBA_CACHE_DIR" not in os.environ


def test_what_is_writable(tmp_path) -> None:
    assert installation._is_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []  # looking makes nothing
    assert not installation._is_writable(Path(UNWRITABLE, "cache"))
    assert not installation._is_writable(None)


@pytest.mark.slow
def test_the_command_works_where_nothing_but_temporary_folders_can_be_written(tmp_path) -> None:
    """On TensorFlow, whose Kapre imports librosa, whose compiler wants to keep what it makes."""
    read_only = """
import sys
from pathlib import Path
from musicnn_zoo.machine import installation
of_its_own = installation._is_writable
installation._is_writable = lambda place: "site-packages" not in str(place) and of_its_own(place)
def no_place(locator, *_): raise OSError("read-only")
from numba.core import caching
caching.InTreeCacheLocator.ensure_cache_path = no_place
from musicnn_zoo.cli import main
main()
"""
    homes = {"HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MUSICNN_ZOO_CACHE", "HF_HOME"}
    unset = {"NUMBA_CACHE_DIR", "MPLCONFIGDIR", "KERAS_HOME"}
    kept = {name: text for name, text in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", read_only, "tag", CLIPS / "techno_loop.ogg", "--engine=tensorflow"],
        capture_output=True, text=True, timeout=300, cwd=ROOT,
        env=kept | dict.fromkeys(homes, UNWRITABLE) | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "techno" in done.stdout
    assert done.stderr == ""
    assert not [place for place in tmp_path.iterdir() if "musicnn" in place.name]
