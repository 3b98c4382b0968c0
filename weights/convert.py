"""Convert the checkpoints that musicnn 0.1.0 ships into Keras weights files.

    pip download --no-deps musicnn==0.1.0
    python weights/convert.py musicnn-0.1.0-py3-none-any.whl

The wheel is known by its SHA-256. Every variable of a checkpoint except the optimizer's
goes to exactly one variable of the Keras model, and none of the model's is left over;
anything else is an error. Prints the SHA-256 of each file, for the table of presets.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
OPTIMIZER = re.compile(r"/Adam(_1)?$|^beta[12]_power$")

MUSICNN_LAYERS = {
    "batch_normalization": "input_bn",
    "conv2d": "frontend_timbral_38",
    "batch_normalization_1": "frontend_timbral_38_bn",
    "conv2d_1": "frontend_timbral_67",
    "batch_normalization_2": "frontend_timbral_67_bn",
    "conv2d_2": "frontend_temporal_128",
    "batch_normalization_3": "frontend_temporal_128_bn",
    "conv2d_3": "frontend_temporal_64",
    "batch_normalization_4": "frontend_temporal_64_bn",
    "conv2d_4": "frontend_temporal_32",
    "batch_normalization_5": "frontend_temporal_32_bn",
    "conv2d_5": "midend_conv1",
    "batch_normalization_6": "cnn1",
    "conv2d_6": "midend_conv2",
    "batch_normalization_7": "midend_conv2_bn",
    "conv2d_7": "midend_conv3",
    "batch_normalization_8": "midend_conv3_bn",
    "batch_normalization_9": "backend_bn",
    "dense": "backend_dense",
    "batch_normalization_10": "penultimate",
    "dense_1": "logits",
}
VGG_LAYERS = {
    "batch_normalization": "input_bn",
    **{f"{i}CNN": f"frontend_conv{i}" for i in range(1, 6)},
    **{f"batch_normalization_{i}": f"frontend_conv{i}_bn" for i in range(1, 6)},
    "dense": "logits",
}
LAYERS = {
    "MTT_musicnn": MUSICNN_LAYERS,
    "MSD_musicnn": MUSICNN_LAYERS,
    "MTT_vgg": VGG_LAYERS,
    "MSD_vgg": VGG_LAYERS,
}


def read_checkpoint(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Variables of a TF1 checkpoint by name, without those of the optimizer."""
    import tensorflow as tf

    reader = tf.compat.v1.train.NewCheckpointReader(f"{folder}/")
    names = [n for n in reader.get_variable_to_shape_map() if not OPTIMIZER.search(n)]
    return {name: reader.get_tensor(name) for name in names}


def convert(name: str, checkpoint: dict[str, NDArray[np.float32]], output: Path) -> Path:
    """Write the Keras weights file of one model and return its path."""
    from musicnn_zoo.networks.build import build_model
    from musicnn_zoo.zoo.catalogue import PRESETS

    preset = PRESETS[name]
    model = build_model(preset.config, tags=preset.tags, name=name)
    left = dict(checkpoint)
    for theirs, ours in LAYERS[name].items():
        for variable in model.get_layer(ours).variables:
            value = left.pop(f"{theirs}/{variable.name}")
            variable.assign(_fit(value, tuple(variable.shape), f"{name} {theirs} → {ours}"))
    if left:
        raise SystemExit(f"{name}: variables of the checkpoint that have no place: {sorted(left)}")
    placed = {variable.path for ours in LAYERS[name].values()
              for variable in model.get_layer(ours).variables}  # fmt: skip
    missed = {variable.path for variable in model.weights} - placed
    if missed:
        raise SystemExit(f"{name}: variables of the model that were not set: {sorted(missed)}")
    path = output / f"{name}.weights.h5"
    model.save_weights(path)
    drop_empty_groups(path)
    return path


def drop_empty_groups(path: Path) -> None:
    """Rewrite an HDF5 file without groups that hold nothing.

    Keras makes one for every layer without weights and does not miss it; so the bytes depend
    on the weights alone, and not on a renamed pooling layer.
    """
    import h5py

    scratch = path.with_suffix(".new")
    with h5py.File(path) as old, h5py.File(scratch, "w") as new:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                new.create_dataset(name, data=item[()])

        old.visititems(copy)
    scratch.replace(path)


def _fit(value: NDArray[np.float32], shape: tuple[int, ...], what: str) -> NDArray[np.float32]:
    if value.shape == shape:
        return value
    # The mid-end's Conv2D over (7, all channels) of one image is a Conv1D of width 7.
    if value.ndim == 4 and value.shape[2] == 1 and (*value.shape[:2], value.shape[3]) == shape:
        return value[:, :, 0, :]
    raise SystemExit(f"{what}: the checkpoint has shape {value.shape}, the model {shape}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path, help="musicnn-0.1.0-py3-none-any.whl")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    received = hashlib.sha256(arguments.wheel.read_bytes()).hexdigest()
    if received != WHEEL_SHA256:
        raise SystemExit(f"{arguments.wheel}: SHA-256 must be {WHEEL_SHA256}, received {received}")
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(arguments.wheel) as wheel:
        wheel.extractall(scratch)
        for name in LAYERS:
            path = convert(name, read_checkpoint(Path(scratch, "musicnn", name)), arguments.output)
            sys.stdout.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")


if __name__ == "__main__":
    main()
