"""Train models: audio as batches of patches, recipes, and the loop that can be resumed.

:func:`musicnn_zoo.train_model` does all of it; the pieces are for ``model.fit`` in plain Keras.
"""

from __future__ import annotations

from musicnn_zoo.training.batches import Clips, evaluation_batches, open_clips, training_batches
from musicnn_zoo.training.recipes import FINETUNE, FROM_SCRATCH, Phase, Recipe, make_deterministic

__all__ = [
    "FINETUNE",
    "FROM_SCRATCH",
    "Clips",
    "Phase",
    "Recipe",
    "evaluation_batches",
    "make_deterministic",
    "open_clips",
    "training_batches",
]
