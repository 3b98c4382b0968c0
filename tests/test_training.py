import csv
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file
from tones import write_tones

from musicnn_zoo import (
    Augmentation,
    TagThresholds,
    TrainingError,
    block,
    build_model,
    evaluate_model,
    finetune_model,
    load_model,
    save_pretrained,
    store_thresholds,
    train_model,
    with_thresholds,
)
from musicnn_zoo.datasets import (
    Dataset,
    DatasetError,
    DatasetWarning,
    from_folder,
    from_table,
    split,
)
from musicnn_zoo.errors import ArgumentError, AudioError, OutputError, WeightsError
from musicnn_zoo.networks.config import patch_grid
from musicnn_zoo.training import (
    FINETUNE,
    FROM_SCRATCH,
    Phase,
    Recipe,
    evaluation_batches,
    open_clips,
)

QUICK = Recipe((Phase(epochs=3, learning_rate=3e-3),), batch_size=4)
VARIED = Augmentation(gain_db=(-6, 6), freq_mask=8, time_mask=8, mixup=0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def classes(folder) -> Dataset:
    return split(from_folder(folder), (0.5, 0.25, 0.25))


@pytest.fixture(scope="module")
def tags(folder, tmp_path_factory) -> Dataset:
    """The same clips with several tags each."""
    table = tmp_path_factory.mktemp("table") / "tones.csv"
    of_class = {"low": "low;dark", "middle": "", "top": "bright"}
    rows = [f"{path},{of_class[path.parent.name]};tone" for path in sorted(folder.glob("*/*.wav"))]
    table.write_text("path,tags\n" + "\n".join(rows))
    return split(from_table(table), (0.5, 0.25, 0.25))


def small(tags, *, activation="softmax", seed=0, dropout=0.5, **changes):
    """A model of a few thousand parameters on patches of a second."""
    keras.utils.set_random_seed(seed)
    config = build_model(
        frontend=block("rectangular", filters=(6,), pools=((4, 8),)),
        backend=block("temporal_pooling", units=16, dropout=dropout),
        patch=61,
        **changes,
    ).zoo_config
    return build_model(replace(config, activation=activation), tags=tags, name="small")


def weights_of(model) -> dict[str, np.ndarray]:
    return {weight.path: np.array(weight) for weight in model.weights}


def assert_same(one, other, *, tolerance=1e-6) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=0, atol=tolerance, err_msg=name)


def state_of(output: Path) -> dict[str, np.ndarray]:
    return load_file(output / "training" / "checkpoint.safetensors")


def assert_same_state(one: Path, other: Path) -> None:
    """Compare all that the next epoch depends on: weights, statistics, seeds, Adam's memory."""
    states = [state_of(output) for output in (one, other)]
    assert_same(*states)
    assert len(states[0]) > 20


def rows_of(output: Path) -> list[dict[str, str]]:
    with (output / "training" / "log.csv").open() as file:
        return list(csv.DictReader(file))


def train_and_kill(*arguments, after, **options) -> None:
    """Train, and end the run when so many epochs are done."""

    class Killed(Exception):  # noqa: N818
        pass

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == after:
                raise Killed

    with pytest.raises(Killed):
        train_model(*arguments, callbacks=[Kill()], **options)


@pytest.fixture(scope="module")
def finished(classes, tmp_path_factory):
    """A run of three epochs with :data:`QUICK`; copy its folder before changing it."""
    output = tmp_path_factory.mktemp("finished") / "out"
    return train_model(small(classes.tags), classes, output, recipe=QUICK)


@pytest.mark.platform
def test_it_learns_and_leaves_a_model(classes, tmp_path) -> None:
    recipe = replace(QUICK, phases=(Phase(epochs=25, learning_rate=1e-2),))
    training = train_model(small(classes.tags), classes, tmp_path / "out", recipe=recipe)
    losses = [row["val_loss"] for row in training.history]
    assert training.best_loss == min(losses) == losses[training.best_epoch - 1]
    assert training.best_loss < 0.5 * losses[0]
    loaded = load_model(tmp_path / "out")
    assert_same(weights_of(training.model), weights_of(loaded), tolerance=0)
    assert evaluate_model(loaded, classes, bootstrap=0).figures.accuracy > 0.6
    assert training.history[0].keys() == {
        "epoch", "trainable", "learning_rate", "accuracy", "loss", "val_accuracy", "val_loss",
    }  # fmt: skip
    assert [float(row["val_loss"]) for row in rows_of(tmp_path / "out")] == losses
    logs = list((tmp_path / "out" / "training" / "tensorboard").glob("*/events*"))
    assert bool(logs) == (importlib.util.find_spec("tensorboard") is not None)
    assert "trained for 25 epochs on 12 clips with 3 tags" in str(training)


def test_the_best_weights_give_the_best_loss(classes, tmp_path) -> None:
    """The loss in the log is that of the weights that were kept, by Keras's own evaluation."""
    recipe = replace(QUICK, phases=(Phase(epochs=4, learning_rate=0.05),), l2=0.0)
    training = train_model(small(classes.tags), classes, tmp_path / "out", recipe=recipe)
    model = load_model(tmp_path / "out")
    clips = open_clips(classes.subset("validation"))
    model.compile(loss="categorical_crossentropy")
    batches = evaluation_batches(clips, patch_grid(model.zoo_config))
    assert model.evaluate(batches, verbose=0) == pytest.approx(training.best_loss, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("augmentation", [Augmentation(), VARIED], ids=["plain", "augmented"])
def test_going_on_equals_not_stopping(tags, tmp_path, augmentation) -> None:
    def run(output, epochs):
        return train_model(
            small(tags.tags, activation="sigmoid"), tags, tmp_path / output,
            recipe=QUICK.with_phases(epochs=epochs), augmentation=augmentation,
        )  # fmt: skip

    whole = run("whole", 4)
    assert whole.resumed_at == 0
    run("parts", 2)
    resumed = run("parts", 4)
    assert resumed.resumed_at == 2
    assert_same(weights_of(whole.model), weights_of(resumed.model))
    assert len(rows_of(tmp_path / "parts")) == 4
    assert_same_state(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_another_seed_trains_otherwise(tags, tmp_path) -> None:
    runs = [
        train_model(
            small(tags.tags, activation="sigmoid"), tags, tmp_path / str(seed), recipe=QUICK,
            seed=seed,
        )
        for seed in (0, 1)
    ]  # fmt: skip
    one, other = (weights_of(run.model)["logits/kernel"] for run in runs)
    assert np.abs(one - other).max() > 1e-4


def test_killed_between_phases_and_within_one_it_goes_on(classes, tmp_path) -> None:
    """Also if the folder has weights of an epoch that the checkpoint does not know."""
    head, rest = Phase("head", epochs=2, batchnorm="frozen"), Phase("all", 1e-3, epochs=2)
    recipe = replace(QUICK, phases=(head, rest))
    whole = train_model(small(classes.tags), classes, tmp_path / "whole", recipe=recipe)
    for after in (2, 3):
        train_and_kill(small(classes.tags), classes, tmp_path / "parts", recipe=recipe, after=after)
        save_pretrained(small(classes.tags, seed=7), tmp_path / "parts")
    resumed = train_model(small(classes.tags), classes, tmp_path / "parts", recipe=recipe)
    assert resumed.resumed_at == 3
    assert [row["trainable"] for row in resumed.history] == ["head", "head", "all", "all"]
    assert_same(weights_of(whole.model), weights_of(resumed.model))
    assert_same_state(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_is_not_run_again(finished, classes) -> None:
    again = train_model(small(classes.tags, seed=5), classes, finished.output, recipe=QUICK)
    assert again.resumed_at == len(finished.history) == 3
    assert_same(weights_of(finished.model), weights_of(again.model), tolerance=0)


def test_a_finished_run_has_its_best_weights_in_the_folder(finished, classes, tmp_path) -> None:
    output = shutil.copytree(finished.output, tmp_path / "out")
    best = weights_of(finished.model)
    save_pretrained(small(classes.tags, seed=7), output)
    train_model(small(classes.tags), classes, output, recipe=QUICK)
    assert_same(best, weights_of(load_model(output)), tolerance=0)
    (output / "model.safetensors").write_bytes(b"damaged")
    train_model(small(classes.tags), classes, output, recipe=QUICK)
    assert_same(best, weights_of(load_model(output)), tolerance=0)


def test_frozen_batchnorm_and_all_before_the_head_stay_as_they_are(classes, tmp_path) -> None:
    model = finetune_model("MTT_vgg", tags=classes.tags, activation="softmax")
    before = weights_of(model)
    recipe = replace(FINETUNE, phases=(replace(FINETUNE.phases[0], epochs=2),), batch_size=6)
    train_model(model, classes, tmp_path / "out", recipe=recipe)
    after = weights_of(load_model(tmp_path / "out"))
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"logits/kernel", "logits/bias"}
    assert sum("moving" in name for name in before) > 6
    provenance = load_model(tmp_path / "out").provenance
    assert provenance.trained_on == f"{classes.name} (12 clips)"
    assert (provenance.license, provenance.metrics) == ("ISC", {})
    assert "MTT_vgg" in provenance.source
    assert (tmp_path / "out" / "LICENSE").read_text() == provenance.notice


@pytest.mark.slow
def test_the_learning_rate_is_halved_and_the_phase_ends(classes, tmp_path) -> None:
    # At this rate nothing gets better after the first epochs.
    phase = Phase(learning_rate=1e-12, epochs=30, halve_after=2, stop_after=5)
    recipe = replace(QUICK, phases=(phase, replace(phase, trainable="head")), l2=0.0)
    model = small(classes.tags)
    training = train_model(model, classes, tmp_path / "out", recipe=recipe)
    by_phase = {
        part: [row for row in training.history if row["trainable"] == part]
        for part in ("all", "head")
    }
    for rows in by_phase.values():
        rates = np.array([row["learning_rate"] for row in rows]) / 1e-12
        assert set(np.round(rates, 6)) <= {1, 0.5, 0.25, 0.125}
        losses = [row["val_loss"] for row in rows]
        stale = halved = 0
        best, expected, rate = np.inf, [], 1.0
        for number, loss in enumerate(losses):
            expected.append(rate)
            if rows is by_phase["head"] and number == 0:
                best = min(row["val_loss"] for row in by_phase["all"])
            if loss < best:
                best, stale, halved = loss, 0, 0
                continue
            stale, halved = stale + 1, halved + 1
            if halved == 2:
                rate, halved = rate / 2, 0
        np.testing.assert_allclose(rates, expected, rtol=1e-5)
        assert stale == 5
        assert len(rows) < 30


@pytest.mark.slow
def test_l2_pulls_the_kernels_that_are_trained(classes, tmp_path) -> None:
    norms = {}
    for l2 in (0.0, 1.0):
        recipe = replace(QUICK, l2=l2, phases=(Phase("head", 1e-2, epochs=6),))
        model = small(classes.tags)
        frozen = weights_of(model)["frontend_conv1/kernel"]
        train_model(model, classes, tmp_path / str(l2), recipe=recipe)
        with_last = weights_of(model)
        np.testing.assert_array_equal(with_last["frontend_conv1/kernel"], frozen)
        norms[l2] = np.square(with_last["logits/kernel"]).sum()
    assert norms[1.0] < 0.7 * norms[0.0]


@pytest.mark.slow
def test_the_loss_has_the_l2_of_the_recipe(classes, tmp_path) -> None:
    """At a learning rate of next to nothing two runs differ in the loss by the L2 alone."""
    losses = []
    model = small(classes.tags)
    start = model.get_weights()
    for l2 in (0.0, 0.25):
        model.set_weights(start)
        recipe = replace(QUICK, l2=l2, phases=(Phase(learning_rate=1e-12, epochs=1),))
        training = train_model(model, classes, tmp_path / str(l2), recipe=recipe)
        losses.append(training.history[0]["val_loss"])
    kernels = [
        weight.numpy() for weight in model.trainable_weights if weight.path.endswith("/kernel")
    ]
    expected = 0.25 * sum(np.square(kernel).sum() for kernel in kernels)
    # The moving statistics of BatchNorm are the same in both; only the L2 is not.
    assert losses[1] - losses[0] == pytest.approx(expected, rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_mixed_precision_leaves_weights_in_float32(classes, tmp_path, precision) -> None:
    model = small(classes.tags)
    policies = [layer.dtype_policy.name for layer in model.layers]
    seen = []
    conv = model.get_layer("frontend_conv1")
    plain_call = conv.call

    def call(x, *args, **kwargs):
        seen.append(keras.backend.standardize_dtype(x.dtype))
        return plain_call(x, *args, **kwargs)

    conv.call = call
    recipe = QUICK.with_phases(epochs=1, learning_rate=1e-12)
    half = train_model(model, classes, tmp_path / "half", recipe=recipe, precision=precision)
    assert precision in seen
    assert [layer.dtype_policy.name for layer in model.layers] == policies
    assert {keras.backend.standardize_dtype(w.dtype) for w in model.weights} == {"float32"}
    whole = train_model(small(classes.tags), classes, tmp_path / "whole", recipe=recipe)
    assert half.best_loss == pytest.approx(whole.best_loss, rel=0.03)
    assert half.best_loss != whole.best_loss


@pytest.mark.slow
def test_balance_weighs_classes_and_tags(classes, tags, tmp_path) -> None:
    uneven = classes.subset(
        [i for i, path in enumerate(classes.paths) if "low" in path or i % 2 == 0]
    )
    recipe = replace(QUICK, phases=(Phase(learning_rate=1e-12, epochs=1),), l2=0.0)
    for dataset, activation in ((uneven, "softmax"), (tags, "sigmoid")):
        losses = [
            train_model(
                small(dataset.tags, activation=activation), dataset,
                tmp_path / f"{activation}{balance}", recipe=replace(recipe, balance=balance),
            ).best_loss
            for balance in (False, True)
        ]  # fmt: skip
        assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def test_standardized_input_takes_its_statistics_from_the_data(classes, tmp_path) -> None:
    from musicnn_zoo import LogMelInput

    model = small(classes.tags, input=LogMelInput(normalization="standardize"))
    train_model(model, classes, tmp_path / "out", recipe=QUICK.with_phases(epochs=1))
    clips = open_clips(classes.subset("train"))
    windows = np.concatenate(
        [x for x, _ in evaluation_batches(clips, patch_grid(model.zoo_config)).as_numpy_iterator()]
    )
    normalized = np.asarray(
        model.get_layer("input_normalization")(model.get_layer("logmel")(windows))
    )
    assert abs(normalized.mean()) < 0.2
    assert 0.8 < normalized.std() < 1.2
    loaded = load_model(tmp_path / "out")
    np.testing.assert_allclose(model(windows), loaded(windows), rtol=1e-6)


def test_thresholds_stay_as_long_as_the_weights(tags, tmp_path) -> None:
    def train():
        model = with_thresholds(
            small(tags.tags, activation="sigmoid"), TagThresholds((0.5,) * len(tags.tags), "before")
        )
        return train_model(model, tags, tmp_path / "out", recipe=QUICK.with_phases(epochs=1))

    assert train().model.thresholds is None
    assert load_model(tmp_path / "out").thresholds is None
    found = evaluate_model(
        tmp_path / "out", tags, split="validation", bootstrap=0, engine=keras.backend.backend()
    )
    stored = store_thresholds(tmp_path / "out", found)
    card = (tmp_path / "out" / "README.md").read_text()
    assert train().resumed_at == 1
    assert load_model(tmp_path / "out").thresholds == stored
    assert (tmp_path / "out" / "README.md").read_text() == card


def test_broken_files_are_left_out_and_told(folder, tmp_path) -> None:
    copy = tmp_path / "tones"
    shutil.copytree(folder, copy)
    dataset = split(from_folder(copy), (0.5, 0.25, 0.25))
    broken = dataset.subset("train").paths[0]
    Path(broken).write_text("no audio")
    with pytest.warns(DatasetWarning, match=r"1 of \d+ files cannot be decoded: .*\.wav"):
        training = train_model(
            small(dataset.tags), dataset, tmp_path / "out", recipe=QUICK.with_phases(epochs=1)
        )
    assert training.dataset.report["broken_files"] == (broken,)
    assert len(training.dataset) + 1 == sum(
        size for part, size in dataset.split_sizes.items() if part != "test"
    )


def test_a_file_that_changes_ends_the_run_with_its_name(folder, tmp_path) -> None:
    copy = tmp_path / "tones"
    shutil.copytree(folder, copy)
    dataset = split(from_folder(copy), (0.5, 0.25, 0.25))

    class Spoil(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            for path in dataset.subset("train").paths:
                Path(path).write_text("no audio any more")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clips, "__kwdefaults__", open_clips.__kwdefaults__ | {"memory_bytes": 0})
        with pytest.raises(AudioError, match=r"\.wav: not audio"):
            train_model(
                small(dataset.tags), dataset, tmp_path / "out",
                recipe=QUICK.with_phases(epochs=50), callbacks=[Spoil()],
            )  # fmt: skip
    assert load_model(tmp_path / "out").tags == dataset.tags


def test_a_loss_that_is_no_number_ends_the_run(classes, tmp_path) -> None:
    recipe = QUICK.with_phases(learning_rate=1e30)
    with pytest.raises(TrainingError, match="lower learning rate"):
        train_model(small(classes.tags), classes, tmp_path / "out", recipe=recipe)


def test_other_settings_are_refused_and_named(finished, classes) -> None:
    settings = json.loads((finished.output / "training" / "settings.json").read_text())
    assert settings["recipe"]["batch_size"] == 4
    for changes, named in (
        ({"seed": 1}, "seed"),
        ({"recipe": replace(QUICK, batch_size=5)}, r"recipe\.batch_size"),
        ({"augmentation": VARIED}, r"augmentation\.freq_mask"),
    ):
        with pytest.raises(ArgumentError, match=rf"other settings \(.*{named}"):
            train_model(
                small(classes.tags), classes, finished.output, **{"recipe": QUICK, **changes}
            )
    others = split(classes, (0.5, 0.25, 0.25), seed=1)
    with pytest.raises(ArgumentError, match=r"data\.digest"):
        train_model(small(classes.tags), others, finished.output, recipe=QUICK)


def test_overwriting_begins_anew(finished, classes, tmp_path) -> None:
    output = shutil.copytree(finished.output, tmp_path / "out")
    recipe = QUICK.with_phases(epochs=1)
    anew = train_model(small(classes.tags), classes, output, recipe=recipe, seed=1, overwrite=True)
    assert (anew.resumed_at, len(anew.history)) == (0, 1)
    assert anew.history[0]["loss"] != finished.history[0]["loss"]


def test_what_cannot_be_trained_is_refused(classes, tags, tmp_path) -> None:
    def attempt(model, dataset, **options):
        train_model(model, dataset, tmp_path / "none", recipe=QUICK, **options)

    with pytest.raises(DatasetError, match="several tags or none"):
        attempt(small(tags.tags), tags)
    with pytest.raises(DatasetError, match="only one of them has 'other'"):
        attempt(small([*classes.tags[:2], "other"]), classes)
    with pytest.raises(DatasetError, match="no tracks for validation"):
        attempt(small(classes.tags), classes.subset("train"))
    with pytest.raises(ArgumentError, match="gives logits"):
        attempt(small(classes.tags, activation=None), classes)
    with pytest.raises(ArgumentError, match="precision must be one of"):
        attempt(small(classes.tags), classes, precision="int8")
    with pytest.raises(ArgumentError, match="gpu:7"):
        attempt(small(classes.tags), classes, device="gpu:7")
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        train_model(small(classes.tags), classes, tmp_path / "file", recipe=QUICK)


def test_tags_in_another_order_are_those_of_the_model(finished, classes, tmp_path) -> None:
    turned = classes.with_tags(classes.tags[::-1])
    training = train_model(small(classes.tags), turned, tmp_path / "out", recipe=QUICK)
    assert_same(weights_of(finished.model), weights_of(training.model))


def test_a_damaged_checkpoint_says_what_to_do(finished, classes, tmp_path) -> None:
    output = shutil.copytree(finished.output, tmp_path / "out")
    path = output / "training" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"damaged .* begin again"):
        train_model(small(classes.tags), classes, output, recipe=QUICK)


def test_the_recipe_of_musicnn() -> None:
    (phase,) = FROM_SCRATCH.phases
    assert (FROM_SCRATCH.batch_size, FROM_SCRATCH.l2) == (32, 1e-5)
    assert (phase.learning_rate, phase.halve_after, phase.batchnorm) == (1e-3, 75, "trainable")


@pytest.mark.slow
def test_killed_at_any_moment_it_gives_the_weights_of_a_run_undisturbed(folder, tmp_path) -> None:
    """The promise of the command line: ``kill -9``, start again, same weights."""
    random = np.random.default_rng(0)

    def start(output):
        return subprocess.Popen(
            [
                sys.executable, "-m", "musicnn_zoo", "finetune", folder, "--model", "MTT_vgg",
                "--output", tmp_path / output, "--head-epochs", "3", "--epochs", "3",
                "--batch-size", "4", "--validation", "0.25", "--test", "0.25", "--deterministic",
                "--freq-mask", "8", "--mixup", "0.2", "--multi-label",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    whole = start("whole")
    assert "after epoch" in whole.communicate()[1]
    assert whole.returncode == 0
    for epochs in (1, 2, 1):
        killed = start("parts")
        for line in killed.stderr:
            epochs -= line.startswith("epoch ")
            if epochs == 0:
                break
        time.sleep(random.uniform(0, 2))
        killed.kill()
        killed.communicate()
    resumed = start("parts")
    message = resumed.communicate()[1]
    assert resumed.returncode == 0, message
    assert "of them in an earlier run" in message
    one, other = (weights_of(load_model(tmp_path / name)) for name in ("whole", "parts"))
    assert_same(one, other)
    assert_same_state(tmp_path / "whole", tmp_path / "parts")
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")


@pytest.mark.slow
def test_two_devices_train_as_one(folder, tmp_path) -> None:
    """Mirrored on two logical CPUs: the same losses, weights and gradients, summed by Adam.

    BatchNorm is frozen, as it sees but the half of a batch. The weights alone would not tell
    gradients of the wrong scale, which Adam evens out; its means of them do.
    """
    code = f"""
import sys
import tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import numpy as np
from test_training import Phase, Recipe, small
from musicnn_zoo.datasets import from_folder, split
from musicnn_zoo import load_model, train_model
dataset = split(from_folder({str(folder)!r}), (0.5, 0.25, 0.25))
recipe = Recipe((Phase(epochs=2, learning_rate=1e-3, batchnorm="frozen"),), batch_size=4, l2=0.01)
for device in ("cpu:0", "cpu:0,cpu:1"):
    output = Path({str(tmp_path)!r}) / str(device.count(","))
    for epochs in (2, 3):
        model = small(dataset.tags, dropout=0.0)
        training = train_model(
            model, dataset, output, recipe=recipe.with_phases(epochs=epochs), device=device
        )
        assert training.resumed_at == (epochs == 3) * 2
        assert all(map(np.array_equal, load_model(output).get_weights(), model.get_weights()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = tmp_path / "0", tmp_path / "1"
    for one, two in zip(*map(rows_of, outputs), strict=True):
        for name in ("loss", "val_loss"):
            assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-5)
    one, two = map(state_of, outputs)
    assert one.keys() == two.keys()
    for name, values in one.items():
        scale = np.abs(values).max(initial=0)
        np.testing.assert_allclose(two[name], values, rtol=0, atol=1e-4 * scale, err_msg=name)
