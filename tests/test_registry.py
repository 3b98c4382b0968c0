"""Keras loads models that hold our classes as soon as ``musicnn_zoo`` is imported."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_audio import TECHNO

import musicnn_zoo
from musicnn_zoo.cli import cli
from musicnn_zoo.networks.registry import MODULES

PACKAGE = Path(musicnn_zoo.__file__).parent


def registered_classes():
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(
                "register_keras_serializable" in ast.unparse(decorator)
                for decorator in node.decorator_list
            ):
                yield node.name, module


def test_all_registered_classes_are_listed():
    assert dict(registered_classes()) == MODULES


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model with own layers, back-end, augmentation and loss."""
    import keras

    from musicnn_zoo.augmentation.model import Gain
    from musicnn_zoo.training.fit import BalancedBinaryCrossentropy

    folder = tmp_path_factory.mktemp("saved")
    model = musicnn_zoo.build_model("musicnn", backend="autopool", tags=["a", "b"])
    model.save(folder / "model.keras")
    augmented = keras.Sequential([keras.Input((48128,)), Gain(-6.0, 6.0), model])
    augmented.compile("adam", BalancedBinaryCrossentropy([[0.5, 0.5], [0.5, 0.5]]))
    augmented.save(folder / "augmented.keras")
    return folder


@pytest.mark.platform
@pytest.mark.parametrize("first", ["musicnn_zoo", "keras"])
def test_a_light_import_is_enough(saved, first):
    second = {"musicnn_zoo": "keras", "keras": "musicnn_zoo"}[first]
    code = (
        f"import sys, {first}, {second}\n"
        "assert 'musicnn_zoo.networks.build' not in sys.modules\n"
        f"for name in ('model', 'augmented'):\n"
        f"    model = keras.saving.load_model(r'{saved}/' + name + '.keras')\n"
        "    print(type(model).__module__, type(model).__name__, model.output_shape)\n"
        f"print(musicnn_zoo.load_model(r'{saved}/model.keras').tags)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first_line, second_line, tags = done.stdout.splitlines()
    assert first_line == "musicnn_zoo.networks.build TaggingModel (None, 2)"
    assert second_line.endswith("Sequential (None, 2)")
    assert tags == "('a', 'b')"


@pytest.mark.parametrize(
    "before",
    ["import tensorflow", "import importlib.util; importlib.util.find_spec('keras')",
     "from musicnn_zoo.machine.installation import has_keras; has_keras()"],
)  # fmt: skip
def test_to_look_keras_up_is_not_to_import_it(saved, before):
    code = f"import musicnn_zoo\n{before}\nimport keras\n"
    code += f"keras.saving.load_model(r'{saved}/augmented.keras')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_keras_without_our_models_loads_none_of_them():
    code = (
        "import musicnn_zoo, sys\nimport keras\n"
        "print(sorted(name for name in sys.modules if name.startswith('musicnn_zoo.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "networks.logmel" not in done.stdout


def test_a_keras_file_is_a_model_for_all_calls(saved, tmp_path):
    place = saved / "model.keras"
    clip = TECHNO
    tags = musicnn_zoo.tag(clip, model=place)
    assert set(tags.keys()) == {"a", "b"}
    assert musicnn_zoo.Tagger(str(place)).tag(clip) == tags
    assert musicnn_zoo.model_info(place).tags == ("a", "b")
    printed = CliRunner().invoke(cli, ["tag", str(clip), "-m", str(place), "-k", "2"])
    assert (printed.exit_code, printed.stderr) == (0, "")
    with pytest.raises(musicnn_zoo.WeightsError, match=r"there is no such \.keras file"):
        musicnn_zoo.load_model(tmp_path / "gone.keras")
    (tmp_path / "broken.keras").write_bytes(b"no zip")
    with pytest.raises(musicnn_zoo.WeightsError, match="Keras cannot load it"):
        musicnn_zoo.load_model(tmp_path / "broken.keras")
    import keras

    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    with pytest.raises(musicnn_zoo.WeightsError, match=r"holds a Sequential of Keras"):
        musicnn_zoo.load_model(tmp_path / "other.keras")
