"""Random changes of the training data, inside the graph of the model that is trained.

>>> from musicnn_zoo import build_model
>>> from musicnn_zoo.augmentation import Augmentation, augment
>>> model = build_model("vgg", tags=["calm", "wild"])
>>> trained = augment(model, Augmentation(gain_db=(-6, 6), freq_mask=12, mixup=0.2), seed=0)
>>> trained.compile("adam", "binary_crossentropy")

``trained.fit`` then trains ``model``, which itself has no augmentation in it.

All random numbers come from seed generators whose states are in ``trained.variables``. Restore
these and ``trained.optimizer.variables``, and training goes on exactly where it stopped.
"""

from __future__ import annotations

from musicnn_zoo.augmentation.model import (
    NO_AUGMENTATION,
    Augmentation,
    AugmentedModel,
    Gain,
    Mixup,
    Noise,
    SpecAugment,
    TimeShift,
    augment,
)

__all__ = [
    "NO_AUGMENTATION",
    "Augmentation",
    "AugmentedModel",
    "Gain",
    "Mixup",
    "Noise",
    "SpecAugment",
    "TimeShift",
    "augment",
]
