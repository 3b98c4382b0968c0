"""Draw results as bars of time, this project being 1; each part has its own scale.

python -m benchmarks.chart RESULTS.json … PICTURE.svg
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

PARTS = {
    "endtoend, 50 tracks": "50 tracks of 1 to 4 minutes",
    "endtoend, 300 clips": "300 clips of 10 s",
    "coldstart": "one clip of 30 s in a fresh process",
    "network": "the network alone",
}
CANDIDATES = {
    "ours": "musicnn-zoo",
    "previous": "with all filters (before)",
    "onnxruntime": "ONNX Runtime, Keras's own export",
    "keras": "Keras in TensorFlow",
    "ours-tensorflow": "musicnn-zoo --engine tensorflow",
    "torch": "PyTorch",
    "essentia": "Essentia",
    "original": "original musicnn",
}
OURS, OTHERS = "#1b6ca8", "#b9c4cc"


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the parts that were measured, one under the other."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    parts = {title: results["parts"][part] for part, title in PARTS.items()
             if part in results["parts"]}  # fmt: skip
    heights = [len(measured) for measured in parts.values()]
    figure = Figure(figsize=(8, 0.27 * sum(heights) + 0.5 * len(parts) + 0.2), layout="constrained")
    rows = figure.subplots(len(parts), height_ratios=heights, squeeze=False)
    for (axes,), (title, measured) in zip(rows, parts.items(), strict=True):
        names = [name for name in CANDIDATES if name in measured][::-1]
        ratios = [measured[name]["ratio"] for name in names]
        bars = axes.barh(
            [CANDIDATES[name] for name in names],
            ratios,
            color=[OURS if name == "ours" else OTHERS for name in names],
        )
        axes.bar_label(bars, [f"{ratio:.2g}" for ratio in ratios], padding=3, fontsize=9)
        axes.set_title(f"{results['model']}, time for {title}", loc="left", fontsize=10)
        axes.set_xlim(0, 1.08 * max(ratios))
        axes.tick_params(axis="y", length=0, labelsize=9)
        axes.set_xticks([])
        axes.spines[:].set_visible(False)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "speed"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


@click.command(help="Draw RESULTS, which `python -m benchmarks` wrote, as PICTURE, an SVG.")
@click.argument(
    "results", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.argument("picture", type=click.Path(dir_okay=False, path_type=Path))
def main(results: tuple[Path, ...], picture: Path) -> None:
    """Draw one picture."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in results]
    if len({(run["model"], json.dumps(run["machine"]["processor"])) for run in runs}) > 1:
        raise click.UsageError("the results are of different models or processors")
    parts = {name: part for run in runs for name, part in run["parts"].items()}
    draw({**runs[0], "parts": parts}, picture)


if __name__ == "__main__":
    main()
