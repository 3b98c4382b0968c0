"""Compute the golden tensors in ``tests/golden`` from the shipped clips.

    python tests/make_golden.py

Run it only when the outputs are meant to change, and only while the parity tests, which
compare with the original musicnn, pass.
"""

from pathlib import Path

import numpy as np

import musicnn_zoo

CLIPS = Path(__file__).parent.parent / "examples" / "audio"


def main() -> None:
    for name in ("MTT_musicnn", "MSD_musicnn", "MTT_vgg", "MSD_vgg"):
        tagger = musicnn_zoo.Tagger(name, device="cpu")
        tensors = {}
        for clip in sorted(CLIPS.glob("*.ogg")):
            tensors[f"{clip.stem}.taggram"] = tagger.taggram(clip).scores
            tensors[f"{clip.stem}.embedding"] = tagger.embed(clip).values
        np.savez_compressed(Path(__file__).parent / "golden" / f"{name}.npz", **tensors)


if __name__ == "__main__":
    main()
