import errno
import json
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import (
    array_shapes,
    arrays,
    boolean_dtypes,
    floating_dtypes,
    integer_dtypes,
    unsigned_integer_dtypes,
)

from musicnn_zoo import ArgumentError
from musicnn_zoo.errors import OutputError, WeightsError
from musicnn_zoo.training.recipes import Progress, TrainingFolder

SETTINGS = {
    "model": {"name": "small", "tags": ["a", "b"]},
    "recipe": {"batch_size": 4, "phases": [{"epochs": 2, "trainable": "head"}, {"epochs": 3}]},
    "seed": 0,
}
PROGRESS = Progress(
    1, 3, 2, 0.25, 2, 1, 1, True,
    [{"epoch": 1, "trainable": "head", "loss": 1 / 3}, {"epoch": 2, "loss": 0.5, "val_auc": 0.1}],
)  # fmt: skip
ARRAYS = [np.arange(6, dtype="f4").reshape(2, 3), np.array(7), np.zeros(0, "f2")]


@pytest.fixture
def model_folder(tmp_path) -> Path:
    return tmp_path / "some" / "model"


def changed(**changes) -> dict:
    return json.loads(json.dumps(SETTINGS)) | changes


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def begin(model_folder: Path) -> None:
    """Leave what a run leaves."""
    with TrainingFolder(model_folder) as run:
        run.settle(SETTINGS)
        run.save(ARRAYS, PROGRESS)
        run.tensorboard.mkdir()
        (run.tensorboard / "events").write_text("x")
    (model_folder / "config.json").write_text("{}")


# --- progress


def test_progress_counts_what_the_recipe_asks_for() -> None:
    progress = Progress()
    assert [progress.note(loss) for loss in (3.0, 2.0, 2.0, 2.5)] == [True, True, False, False]
    assert (progress.epoch, progress.best, progress.best_epoch) == (4, 2.0, 2)
    assert (progress.since_best, progress.since_halved) == (2, 2)
    progress.since_halved = 0
    assert not progress.note(9.0)
    assert (progress.since_best, progress.since_halved) == (3, 1)
    progress.phase_done = True
    progress.begin_phase(1)
    assert (progress.phase, progress.phase_start, progress.phase_done) == (1, 5, False)
    assert (progress.since_best, progress.since_halved) == (0, 0)
    assert (progress.best, progress.best_epoch, progress.epoch) == (2.0, 2, 5)
    assert not progress.note(2.1)
    assert progress.note(1.9)
    assert (progress.best_epoch, progress.since_best, progress.since_halved) == (7, 0, 0)


# --- settings


def test_the_same_settings_go_on(model_folder) -> None:
    begin(model_folder)
    before = contents(model_folder)
    for _ in range(2):
        with TrainingFolder(model_folder) as run:
            run.settle(SETTINGS)
    assert contents(model_folder) == before


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"seed": 1}, ["seed"]),
        ({"more": 3}, ["more"]),
        ({"model": {"name": "small"}}, ["model.tags"]),
        ({"model": {"name": "big", "tags": ["a", "c"]}}, ["model.name", "model.tags[1]"]),
        ({"model": {"name": "small", "tags": ["a"]}}, ["model.tags"]),
        ({"model": None}, ["model"]),
        ({"recipe": {"batch_size": 4, "phases": [{"epochs": 2}, {"epochs": 3}]}},
         ["recipe.phases[0].trainable"]),
        ({"recipe": {"batch_size": 5, "phases": [{"epochs": 2, "trainable": "head"}]}},
         ["recipe.batch_size", "recipe.phases"]),
    ],
)  # fmt: skip
def test_other_settings_are_refused_by_name_and_nothing_is_lost(model_folder, other, named) -> None:
    begin(model_folder)
    before = contents(model_folder)
    with TrainingFolder(model_folder) as run, pytest.raises(ArgumentError) as caught:
        run.settle(changed(**other))
    message = str(caught.value)
    assert f"other settings ({', '.join(named)});" in message
    assert message.startswith(f"{model_folder} holds a run")
    assert "overwrite" in message
    assert contents(model_folder) == before


def test_a_setting_that_is_gone_is_another(model_folder) -> None:
    begin(model_folder)
    fewer = changed()
    del fewer["seed"]
    with TrainingFolder(model_folder) as run, pytest.raises(ArgumentError, match=r"\(seed\)"):
        run.settle(fewer)


def test_training_may_be_longer_or_shorter(model_folder) -> None:
    begin(model_folder)
    longer = changed()
    longer["recipe"]["phases"][0]["epochs"] = 9
    del longer["recipe"]["phases"][1]["epochs"]
    with TrainingFolder(model_folder) as run:
        run.settle(longer)
        assert run.load() is not None
    stored = json.loads((model_folder / "training" / "settings.json").read_text())
    assert stored == longer


def test_tuples_are_no_other_settings_than_lists(model_folder) -> None:
    begin(model_folder)
    with TrainingFolder(model_folder) as run:
        run.settle(changed(model={"tags": ("a", "b"), "name": "small"}))


def test_damaged_settings_say_what_to_do(model_folder) -> None:
    begin(model_folder)
    place = model_folder / "training" / "settings.json"
    for damaged in (b'{"seed', b"\xff\xfe", b""):
        place.write_bytes(damaged)
        message = r"settings\.json: cannot be read .*overwrite"
        with TrainingFolder(model_folder) as run, pytest.raises(OutputError, match=message):
            run.settle(SETTINGS)
    place.write_text("[]")
    with TrainingFolder(model_folder) as run, pytest.raises(ArgumentError, match="other settings"):
        run.settle(SETTINGS)
    with TrainingFolder(model_folder, overwrite=True) as run:
        run.settle(SETTINGS)


# --- checkpoints


def test_without_a_checkpoint_there_is_none(model_folder) -> None:
    with TrainingFolder(model_folder) as run:
        run.settle(SETTINGS)
        assert run.load() is None


kinds = st.one_of(
    boolean_dtypes(),
    integer_dtypes(endianness="="),
    unsigned_integer_dtypes(endianness="="),
    floating_dtypes(endianness="=", sizes=(16, 32, 64)),
)
any_arrays = kinds.flatmap(
    lambda kind: (
        arrays(kind, array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
        | arrays(kind, ())
    )
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(any_arrays, max_size=12))
def test_arrays_come_back_bit_by_bit(tmp_path, saved) -> None:
    with TrainingFolder(tmp_path) as run:
        run.save(saved, PROGRESS)
        loaded, progress = run.load()
    assert progress == PROGRESS
    assert [array.dtype for array in loaded] == [array.dtype for array in saved]
    assert [array.shape for array in loaded] == [array.shape for array in saved]
    assert [array.tobytes() for array in loaded] == [array.tobytes() for array in saved]


def test_every_type_that_a_variable_may_have_comes_back(model_folder) -> None:
    names = ["float16", "float32", "float64", "bool"]
    names += [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    saved = [np.array(one, name) for name in names for one in (1, [0, 1], np.eye(2))]
    saved.append(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    saved.append(np.arange(12)[::3])
    with TrainingFolder(model_folder) as run:
        run.save(saved, Progress())
        loaded, _ = run.load()
    for one, other in zip(loaded, saved, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)


def test_more_arrays_than_a_name_has_digits_for_one_place_stay_in_order(model_folder) -> None:
    saved = [np.array(number) for number in range(1100)]
    with TrainingFolder(model_folder) as run:
        run.save(saved, Progress())
        assert [int(array) for array in run.load()[0]] == list(range(1100))


losses = st.floats(allow_nan=False)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds(
        Progress, *[st.integers(0, 10**6)] * 3, st.none() | losses, *[st.integers(0, 99)] * 3,
        st.booleans(), st.lists(st.dictionaries(st.text(max_size=3), losses | st.text(max_size=3))),
    )
)  # fmt: skip
def test_progress_comes_back(tmp_path, progress) -> None:
    with TrainingFolder(tmp_path) as run:
        run.save([], progress)
        assert run.load() == ([], progress)


def test_a_checkpoint_can_be_replaced_after_it_was_read(model_folder) -> None:
    with TrainingFolder(model_folder) as run:
        run.save(ARRAYS, Progress())
        loaded, _ = run.load()
        loaded[0][:] = 5  # may be written to, and has nothing to do with the file
        run.save([array + 1 for array in ARRAYS], PROGRESS)
        np.testing.assert_array_equal(loaded[0], 5)
        again, progress = run.load()
        np.testing.assert_array_equal(again[0], ARRAYS[0] + 1)
        assert progress == PROGRESS


def test_the_log_is_a_table_of_all_epochs(model_folder) -> None:
    with TrainingFolder(model_folder) as run:
        run.save([], Progress())
        run.save([], PROGRESS)
    lines = (model_folder / "training" / "log.csv").read_text().splitlines()
    assert lines == [
        "epoch,trainable,loss,val_auc", "1,head,0.3333333333333333,", "2,,0.5,0.1",
    ]  # fmt: skip


def damage(model_folder: Path, content: bytes) -> None:
    (model_folder / "training" / "checkpoint.safetensors").write_bytes(content)


def test_a_torn_checkpoint_says_what_to_do(model_folder) -> None:
    begin(model_folder)
    place = model_folder / "training" / "checkpoint.safetensors"
    whole = place.read_bytes()
    with TrainingFolder(model_folder) as run:
        for size in [*range(0, len(whole), 37), len(whole) - 1]:
            damage(model_folder, whole[:size])
            with pytest.raises(WeightsError, match=r"checkpoint\.safetensors: damaged .* delete"):
                run.load()
        place.unlink()
        assert run.load() is None
        run.settle(SETTINGS)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_of_a_checkpoint_raises_anything_else(tmp_path, data) -> None:
    with TrainingFolder(tmp_path) as run:
        run.save(ARRAYS, PROGRESS)
        place = run.path / "checkpoint.safetensors"
        whole = place.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        noise = data.draw(st.binary(min_size=1, max_size=8))
        place.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
        with suppress(WeightsError):  # what only changes a number is not seen
            run.load()


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"progress": "{}"},
        {"progress": "[]", "shapes": "[]"},
        {"progress": json.dumps({**asdict(PROGRESS), "more": 1}), "shapes": "[]"},
        {"progress": "{}", "shapes": "3"},
        {"progress": "{}", "shapes": "[[2]]"},
        {"progress": "{}", "shapes": "[[3], [3]]"},
        {"progress": "{}", "shapes": '["x"]'},
    ],
)
def test_a_checkpoint_of_something_else_says_what_to_do(model_folder, metadata) -> None:
    from safetensors.numpy import save

    with TrainingFolder(model_folder) as run:
        damage(model_folder, save({"00000": np.zeros(3)}, metadata=metadata))
        with pytest.raises(WeightsError, match="damaged"):
            run.load()


@pytest.mark.parametrize("written", [0, 1])
def test_a_full_disk_leaves_the_checkpoint_before(model_folder, monkeypatch, written) -> None:
    from musicnn_zoo import files as durable

    begin(model_folder)
    before = contents(model_folder)

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with TrainingFolder(model_folder) as run:
        monkeypatch.setattr(durable, "flush_to_disk", full)
        with pytest.raises(OutputError, match=r"checkpoint.* cannot be written \(No space left"):
            run.save([np.ones(3)], Progress())
        with pytest.raises(OutputError, match=r"settings\.json: cannot be written"):
            run.settle(SETTINGS)
    assert contents(model_folder) == before


# --- one run at a time


def test_another_run_in_the_folder_is_refused(model_folder) -> None:
    begin(model_folder)
    before = contents(model_folder)
    with TrainingFolder(model_folder):
        for overwrite in (False, True):
            with pytest.raises(OutputError, match="another run is writing it"):
                TrainingFolder(model_folder, overwrite=overwrite)
    assert contents(model_folder) == before
    TrainingFolder(model_folder).close()


def test_another_process_is_refused_until_it_dies(model_folder) -> None:
    program = (
        "import sys, pathlib\n"
        "from musicnn_zoo.training.recipes import TrainingFolder\n"
        "run = TrainingFolder(pathlib.Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, model_folder], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(OutputError, match=f"{model_folder.name}: another run is writing it"):
            TrainingFolder(model_folder)
    finally:
        process.kill()
        process.communicate()
    with TrainingFolder(model_folder) as run:
        run.settle(SETTINGS)


def test_an_error_lets_others_in(model_folder) -> None:
    with pytest.raises(ZeroDivisionError), TrainingFolder(model_folder):
        raise ZeroDivisionError
    TrainingFolder(model_folder).close()


# --- what is there already


def test_overwriting_removes_what_the_run_before_left(model_folder) -> None:
    begin(model_folder)
    (model_folder / "training" / "log.csv.unfinished").write_text("")
    with TrainingFolder(model_folder, overwrite=True) as run:
        run.settle(changed(seed=1))
        assert run.load() is None
        assert not run.tensorboard.exists()
    assert set(contents(model_folder)) == {"config.json", "training/settings.json"}
    with TrainingFolder(model_folder) as run:
        run.settle(changed(seed=1))


def test_nothing_is_removed_before_the_new_run_is_known_to_begin(model_folder) -> None:
    begin(model_folder)
    before = contents(model_folder)
    TrainingFolder(model_folder, overwrite=True).close()
    assert contents(model_folder) == before


def test_what_is_left_after_half_a_removal_is_not_taken_for_another_run(
    model_folder, monkeypatch
) -> None:
    begin(model_folder)

    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refused)
    message = r"cannot be removed \(Permission denied\)"
    with (
        TrainingFolder(model_folder, overwrite=True) as run,
        pytest.raises(OutputError, match=message),
    ):
        run.settle(changed(seed=1))
    with TrainingFolder(model_folder) as run, pytest.raises(ArgumentError, match=r"\(seed\)"):
        run.settle(changed(seed=1))


def test_a_link_to_logs_elsewhere_is_removed_and_they_are_not(model_folder, tmp_path) -> None:
    begin(model_folder)
    logs = model_folder / "training" / "tensorboard"
    logs.rename(tmp_path / "logs")
    logs.symlink_to(tmp_path / "logs")
    with TrainingFolder(model_folder, overwrite=True) as run:
        run.settle(SETTINGS)
    assert not logs.exists()
    assert (tmp_path / "logs" / "events").exists()


@pytest.mark.parametrize("leftover", [False, True])
def test_a_model_that_was_not_trained_there_stays(model_folder, leftover) -> None:
    model_folder.mkdir(parents=True)
    (model_folder / "config.json").write_text("{}")
    if leftover:  # of a run that was to overwrite it, and never began
        TrainingFolder(model_folder, overwrite=True).close()
    with pytest.raises(ArgumentError, match=r"was not trained there.*overwrite"):
        TrainingFolder(model_folder)
    assert (model_folder / "training").exists() == leftover
    with TrainingFolder(model_folder, overwrite=True) as run:
        run.settle(SETTINGS)
    with TrainingFolder(model_folder) as run:
        run.settle(SETTINGS)


def test_other_files_in_the_folder_do_not_matter(model_folder) -> None:
    model_folder.mkdir(parents=True)
    (model_folder / "notes.txt").write_text("mine")
    with TrainingFolder(model_folder, overwrite=True) as run:
        run.settle(SETTINGS)
    assert (model_folder / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for place in (file, file / "below"):
        with pytest.raises(OutputError, match=rf"{place}: cannot be written \(.+\)"):
            TrainingFolder(place)
