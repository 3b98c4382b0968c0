"""Train a classifier of your own on a folder whose subfolders are the classes.

    python examples/classify_folder.py FOLDER

The files lie in ``FOLDER/CLASS/file.wav``. Those of one artist, album or recording belong into a
folder of their own, ``FOLDER/CLASS/ARTIST/file.wav``, which is not torn apart when a fifth of the
files is set aside for the test. Splits that are there (``FOLDER/train/CLASS/``,
``FOLDER/test/CLASS/``) are kept. The embeddings go to a cache: a second run takes seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import joblib
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from musicnn_zoo import Embedder, list_models
from musicnn_zoo.datasets import from_folder, split


def main() -> None:
    """Train, test, save, and classify one file with what was saved."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="MTT_musicnn", choices=list_models(), metavar="NAME")
    parser.add_argument("--cache", type=Path, default=Path("embeddings"))
    parser.add_argument("--output", type=Path, default=Path("classifier.joblib"))
    arguments = parser.parse_args()

    dataset = from_folder(arguments.folder, group_by="subfolder")
    if dataset.splits is None:
        dataset = split(dataset, (0.8, 0, 0.2))
    print(dataset)
    train, test = dataset.subset("train"), dataset.subset("test")
    classes = {part: [dataset.tags[row.argmax()] for row in part.labels] for part in (train, test)}

    classifier = make_pipeline(
        Embedder(arguments.model, cache=arguments.cache),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=1000),
    )
    classifier.fit(train.paths, classes[train])

    found = classifier.predict(test.paths)
    print(f"\naccuracy on {len(test)} test files: {accuracy_score(classes[test], found):.1%}")
    print("confusion, a row for each true class:\n")
    width = max(map(len, dataset.tags))
    for tag, row in zip(
        dataset.tags, confusion_matrix(classes[test], found, labels=dataset.tags), strict=True
    ):
        print(f"{tag:>{width}}", *(f"{count:4}" for count in row))

    joblib.dump(classifier, arguments.output)
    saved = joblib.load(arguments.output)
    new = test.paths[0]
    probabilities = saved.predict_proba([new])[0]
    print(f"\n{arguments.output} takes {new} for:")
    for probability, tag in sorted(zip(probabilities, saved.classes_, strict=True), reverse=True):
        print(f"{probability:6.1%} {tag}")


if __name__ == "__main__":
    main()
