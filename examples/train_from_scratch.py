"""Train an architecture of the zoo from scratch, with augmentation.

    python examples/train_from_scratch.py DATA --architecture musicnn --output my_model

DATA is a folder whose subfolders are the classes (and in these one for each artist, album or
recording, if there are several files of it), or a table of paths and tags. Started again with
the same options, a run that was ended goes on where it was. ``musicnn-zoo train`` is the same as a
command, with more options.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import keras

from musicnn_zoo import Augmentation, build_model, list_models, train_model
from musicnn_zoo.datasets import from_folder, from_table, split
from musicnn_zoo.networks.architectures import get_architecture
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.training import FROM_SCRATCH


def main() -> None:
    """Train, and show how the loss went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    architectures = list_models(pretrained=False)
    parser.add_argument("--architecture", default="musicnn", choices=architectures, metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path("my_model"))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)

    if options.data.is_dir():
        dataset = from_folder(options.data, group_by="subfolder")
    else:
        dataset = from_table(options.data)
    if dataset.splits is None:
        dataset = split(dataset, (0.7, 0.1, 0.2))
    print(dataset)
    config = get_architecture(options.architecture)
    if dataset.single_label:
        config = replace(config, activation="softmax")
    model = build_model(config, tags=dataset.tags, name=f"my_{options.architecture}")
    print(f"{model.name}: {model.count_params():,} parameters")

    augmentation = Augmentation(time_shift_s=0.5, gain_db=(-6, 6))
    if isinstance(config.input, LogMelInput):
        augmentation = replace(augmentation, freq_mask=8, time_mask=10)
    recipe = replace(FROM_SCRATCH, batch_size=options.batch_size)
    training = train_model(
        model,
        dataset,
        options.output,
        recipe=recipe.with_phases(epochs=options.epochs, halve_after=20, stop_after=60),
        augmentation=augmentation,
        seed=options.seed,
    )
    for row in training.history:
        print(f"epoch {row['epoch']}: loss {row['loss']:.3f}, validation {row['val_loss']:.3f}")
    print(training)


if __name__ == "__main__":
    main()
