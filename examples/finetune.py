"""Fine-tune a pretrained model in plain Keras.

    python examples/finetune.py DATA --output my_model

DATA is a folder whose subfolders are the classes (and in these one for each artist, album or
recording, if there are several files of it), or a table of paths and tags. The head is
trained first, then more of the model at a tenth of the learning rate. ``musicnn-zoo finetune`` does
the same in one command, and can be resumed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras

from musicnn_zoo import finetune_model, save_pretrained, tag
from musicnn_zoo.datasets import from_folder, from_table, split
from musicnn_zoo.networks.config import patch_grid
from musicnn_zoo.training import evaluation_batches, open_clips, training_batches
from musicnn_zoo.training.fit import set_trainable
from musicnn_zoo.training.recipes import TRAINABLE


def main() -> None:
    """Train in two stages, test, save, and tag one file with what was saved."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--model", default="MTT_musicnn")
    parser.add_argument("--output", type=Path, default=Path("my_model"))
    parser.add_argument("--trainable", default="all", choices=TRAINABLE, help="after the head")
    parser.add_argument("--head-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--head-learning-rate", type=float, default=1e-2)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)

    if options.data.is_dir():
        dataset = from_folder(options.data, group_by="subfolder")
    else:
        dataset = from_table(options.data)
    if dataset.splits is None:
        dataset = split(dataset, (0.7, 0.1, 0.2))
    print(dataset)
    if dataset.single_label:
        activation, loss, metric = "softmax", "categorical_crossentropy", "accuracy"
    else:
        activation, loss = "sigmoid", "binary_crossentropy"
        metric = keras.metrics.AUC(multi_label=True, num_labels=len(dataset.tags), name="roc_auc")
    model = finetune_model(options.model, tags=dataset.tags, activation=activation)

    grid = patch_grid(model.zoo_config)
    clips = open_clips(dataset, sample_rate=grid.sample_rate)
    train, validation, test = map(clips.subset, ("train", "validation", "test"))
    stages = (
        ("head", options.head_epochs, options.head_learning_rate),
        (options.trainable, options.epochs, options.learning_rate),
    )
    for trainable, epochs, learning_rate in stages:
        set_trainable(model, trainable)  # BatchNorm stays frozen
        model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=[metric])
        print(f"\n{trainable}: {len(model.trainable_weights)} weights are trained")
        model.fit(
            training_batches(train, grid, batch_size=options.batch_size),
            steps_per_epoch=-(-len(train) // options.batch_size),
            validation_data=evaluation_batches(validation, grid),
            epochs=epochs,
            shuffle=False,  # they are shuffled
            callbacks=[
                keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True),
                keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=5),
            ],
            verbose=2,
        )
    figures = model.evaluate(evaluation_batches(test, grid), verbose=0, return_dict=True)
    print("\ntest patches:", ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))

    save_pretrained(model, options.output)
    print(f"\n{options.output} says of")
    print(tag(test.dataset.paths[0], model=options.output, top_k=3))


if __name__ == "__main__":
    main()
