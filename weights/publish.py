"""Render the folder of every bundled model as it would stand on the Hugging Face Hub.

    python weights/publish.py FOLDER
    python weights/publish.py FOLDER --push USER

Each model becomes FOLDER/NAME with its weights, tags, configuration, model card and notice. With
--push they are uploaded to USER/NAME, by the token of ``HF_TOKEN`` or of ``hf auth login``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def render(folder: Path, user: str) -> dict[str, Path]:
    """Write the folders and return them by the name of their model."""
    from musicnn_zoo import load_model, save_pretrained
    from musicnn_zoo.zoo.catalogue import PRESETS

    return {
        name: save_pretrained(load_model(name), folder / name, repo=f"{user}/{name}")
        for name, preset in PRESETS.items()
        if preset.sources[0].kind == "bundled"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--push", metavar="USER", help="upload to this user or organization")
    arguments = parser.parse_args()
    for name, folder in render(arguments.folder, arguments.push or "musicnn-zoo").items():
        sys.stdout.write(f"{folder}\n")
        if arguments.push:
            from musicnn_zoo import load_model, push_to_hub

            address = push_to_hub(load_model(folder), f"{arguments.push}/{name}")
            sys.stdout.write(f"  {address}\n")


if __name__ == "__main__":
    main()
