import pkgutil
import subprocess
import sys

import pytest

import musicnn_zoo

pytestmark = pytest.mark.platform


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )


def test_importing_is_silent_and_loads_no_heavy_package() -> None:
    heavy = "tensorflow", "keras", "kapre", "librosa", "numpy", "soundfile", "soxr", "av", "click"
    done = run(
        f"import sys, musicnn_zoo\nprint([name for name in {heavy!r} if name in sys.modules])"
    )
    assert done.stdout == "[]\n"
    assert done.stderr == ""


def test_listing_and_describing_models_needs_no_tensorflow() -> None:
    done = run(
        "import sys, musicnn_zoo\n"
        "musicnn_zoo.list_models(); musicnn_zoo.model_info('MTT_musicnn')\n"
        "print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    assert done.stdout == "False False\n"


@pytest.mark.parametrize("name", musicnn_zoo.__all__)
def test_public_names_exist_and_are_documented(name: str) -> None:
    value = getattr(musicnn_zoo, name)
    assert name == "__version__" or value.__doc__


def test_no_function_is_hidden_by_a_module_of_its_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(musicnn_zoo.__path__)}
    assert {"cli", "hear", "zoo"} <= modules
    assert not modules & set(musicnn_zoo.__all__)


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tagg'"):
        _ = musicnn_zoo.tagg
