"""Evaluate a model folder: thresholds from the validation split, figures from the test split.

    python examples/evaluate.py MODEL DATA --plot figures.png

MODEL is a folder that training or ``save_pretrained`` wrote, DATA a table of paths and tags with a
column ``split``. What is printed goes to ``figures.csv``, too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from musicnn_zoo import evaluate_model, store_thresholds, tag
from musicnn_zoo.datasets import open_dataset
from musicnn_zoo.evaluation.evaluate import save_evaluation
from musicnn_zoo.evaluation.results import Evaluation


def main() -> None:
    """Store thresholds, test with them, draw, and tag one file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--plot", type=Path, default=Path("figures.png"))
    options = parser.parse_args()
    dataset = open_dataset(options.data)

    thresholds = None
    validation = evaluate_model(options.model, dataset, split="validation", bootstrap=0)
    if isinstance(validation.figures, Evaluation):  # classes, one a track, need no thresholds
        stored = store_thresholds(options.model, validation)
        print(f"thresholds stored: {stored.describe()}\n")
        thresholds = "calibrated"

    found = evaluate_model(options.model, dataset, split="test", thresholds=thresholds)
    print(found)
    found.plot(options.plot)
    save_evaluation(found, options.plot.with_suffix(".csv"))

    print("\none of the test files:")
    print(tag(found.paths[0], model=options.model, threshold=thresholds, top_k=5))


if __name__ == "__main__":
    main()
