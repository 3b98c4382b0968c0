"""Draw the pictures of the documentation, from the clips that are shipped.

    python docs/pictures.py [NAME…]

NAME is tags, taggram, events, filters, living_filters or embedding_map; without one, all are drawn.
They go to ``docs/pictures``; those that are large there get fewer colours.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import soundfile
from PIL import Image

import musicnn_zoo

DOCS = Path(__file__).parent
CLIPS = DOCS.parent / "examples" / "audio"
HARPSICHORD = CLIPS / "bach_prelude_harpsichord.ogg"
STRINGS = CLIPS / "bach_chorale_strings.ogg"

EXCERPT_S, EVERY_S = 3.5, 2.0
MOST_BYTES, COLOURS = 150_000, 256


def draw_tags(path: Path) -> None:
    """Draw the ten best tags of a clip as bars."""
    musicnn_zoo.tag(HARPSICHORD, top_k=10).plot(path)


def draw_taggram(path: Path) -> None:
    """Draw the scores of a clip over time."""
    musicnn_zoo.taggram(STRINGS, hop_s=0.5).plot(path)


def draw_events(path: Path) -> None:
    """Draw events of a clip under its log-mel."""
    musicnn_zoo.events(STRINGS, hop_s=0.5, threshold=0.3, min_length_s=1).plot(path)


def draw_filters(path: Path) -> None:
    """Draw the filters of the default model."""
    musicnn_zoo.learned_filters().plot(path)


def draw_living_filters(path: Path) -> None:
    """Draw the 204 timbral filters of 38 bands of two models; those that are dead stay grey."""
    import numpy as np
    from matplotlib.figure import Figure

    from musicnn_zoo.runtimes.pruning import prune

    layer, columns = "frontend_timbral_38", 34
    figure = Figure(figsize=(9, 7.4), layout="constrained")
    for axes, name in zip(figure.subplots(2), ("MTT_musicnn", "MSD_musicnn"), strict=True):
        model = musicnn_zoo.load_model(name)
        kernels = model.get_layer(layer).get_weights()[0][:, :, 0]
        living = prune(model, keep=model.endpoints).living[layer]
        order = np.argsort(~living, kind="stable")
        frames, bands, count = kernels.shape
        shape = (count // columns * (bands + 2), columns * (frames + 2))
        filters, dead = np.ma.masked_all(shape), np.ma.masked_all(shape)
        for place, number in enumerate(order):
            row, column = divmod(place, columns)
            top, left = row * (bands + 2), column * (frames + 2)
            here = slice(top, top + bands), slice(left, left + frames)
            if living[number]:
                kernel = kernels[..., number].T
                filters[here] = kernel / np.abs(kernel).max()
            else:
                dead[here] = 0.2
        options = {"aspect": "auto", "interpolation": "none"}
        axes.imshow(filters, cmap="RdBu_r", vmin=-1, vmax=1, **options)
        axes.imshow(dead, cmap="Greys", vmin=0, vmax=1, **options)
        axes.set_title(f"{name}: {living.sum()} of {count} filters of 7 frames × 38 bands live")
        axes.set_axis_off()
    figure.savefig(path, dpi=110)


def draw_embedding_map(path: Path) -> None:
    """Map excerpts of the clips, one folder for each clip."""
    with tempfile.TemporaryDirectory() as folder:
        for clip in sorted(CLIPS.glob("*.ogg")):
            samples, rate = soundfile.read(clip)
            below = Path(folder) / clip.stem.replace("_", " ")
            below.mkdir()
            length, step = round(EXCERPT_S * rate), round(EVERY_S * rate)
            for number, start in enumerate(range(0, len(samples) - length, step)):
                excerpt = samples[start : start + length]
                if abs(excerpt).max() > 0.01:
                    soundfile.write(below / f"{number:02}.wav", excerpt, rate)
        musicnn_zoo.map_embeddings(folder, method="pca").plot(path)


PICTURES: dict[str, Callable[[Path], None]] = {
    "tags": draw_tags,
    "taggram": draw_taggram,
    "events": draw_events,
    "filters": draw_filters,
    "living_filters": draw_living_filters,
    "embedding_map": draw_embedding_map,
}


def draw(name: str, folder: Path = DOCS / "pictures") -> Path:
    """Draw one picture; return where it is."""
    path = folder / f"{name}.png"
    PICTURES[name](path)
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if path.stat().st_size > MOST_BYTES:
        picture = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    return path


if __name__ == "__main__":
    for chosen in sys.argv[1:] or PICTURES:
        if chosen not in PICTURES:
            raise SystemExit(f"there is no picture {chosen!r}; there are {', '.join(PICTURES)}")
        draw(chosen)
