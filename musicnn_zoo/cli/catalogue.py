"""Commands on models: models, info, download, export."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from musicnn_zoo.cli.options import check_plot, plot_option, say_drawn
from musicnn_zoo.cli.parts import option, path_option
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.runtimes.export import EXPORT_FORMATS, EXPORT_PRECISIONS, export_model
from musicnn_zoo.text import printable
from musicnn_zoo.zoo.catalogue import list_models
from musicnn_zoo.zoo.load import ModelInfo, find_pretrained, model_info


@click.command()
@click.argument("pattern", required=False)
@option("--pretrained/--untrained", default=True,
        help="List the models that have weights, or the architectures that have none.")  # fmt: skip
@option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text",
        help="json: all that is known of each model.")  # fmt: skip
def models(pattern: str | None, pretrained: bool, form: str) -> None:
    """List the models to choose from, or those whose names fit PATTERN (such as 'MTT_*').

    ROC-AUC and PR-AUC are percentages as published; compare only models with the same data. The
    size is that of the weights.
    """
    names = list_models(pattern, pretrained=pretrained)
    if not names:
        raise ArgumentError(_nothing_fits(pattern, pretrained))
    found = list(map(model_info, names))
    if form == "json":
        click.echo(json.dumps([_as_json(info) for info in found], indent=1))
        return
    rows = map(_choice_row if pretrained else _architecture_row, found)
    table = [_CHOICE_HEAD if pretrained else _ARCHITECTURE_HEAD, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _nothing_fits(pattern: str | None, pretrained: bool) -> str:
    others = list_models(pattern, pretrained=not pretrained)
    if others:
        flag = "--untrained" if pretrained else "--pretrained"
        return f"only {flag} lists models that fit {pattern!r}: {', '.join(others)}"
    known = ", ".join(list_models(pretrained=pretrained))
    return f"no model fits {pattern!r}; there are {known}"


_CHOICE_HEAD = (
    "model", "trained on", "tags", "ROC-AUC", "PR-AUC", "licence", "size", "weights",
    "front-end → back-end",
)  # fmt: skip
_ARCHITECTURE_HEAD = ("architecture", "input", "front-end → back-end", "parameters",
                      "receptive field")  # fmt: skip
_EXAMPLES = 3
_BYTES = 4
"""Of a parameter in float32."""


def _choice_row(info: ModelInfo) -> tuple[str, ...]:
    data, _, _ = info.trained_on.partition(" (")
    figures = [info.metrics.get(name) for name in ("roc_auc", "pr_auc")]
    return (
        info.name,
        data,
        f"{len(info.tags)}: {', '.join(info.tags[:_EXAMPLES])}, …",
        *("–" if figure is None else f"{figure:.2f}" for figure in figures),
        info.license,
        f"{_BYTES * info.parameters / 1e6:.1f} MB",
        "bundled" if "bundled" in info.weights else "download",
        info.architecture,
    )


def _architecture_row(info: ModelInfo) -> tuple[str, ...]:
    seen = info.receptive_field_s
    return (
        info.name,
        info.input,
        info.architecture,
        f"{info.parameters:,}",
        f"{seen:.2f} s" if math.isfinite(seen) else "whole input",
    )


def _as_json(info: ModelInfo) -> dict[str, Any]:
    described = asdict(info)
    described["thresholds"] = info.thresholds and info.thresholds.to_dict(info.tags)
    if not math.isfinite(info.receptive_field_s):
        described["receptive_field_s"] = None  # the whole input
    return described


@click.command()
@click.argument("model")
@plot_option("the filters that its front-end has learned")
def info(model: str, plot: Path | None) -> None:
    """Describe MODEL: its tags, input, figures, licence and citation."""
    text = str(model_info(model))
    if plot is not None:
        from musicnn_zoo.zoo.filters import learned_filters

        check_plot(plot)
        learned_filters(model).plot(plot)
        say_drawn(plot)
    click.echo(text)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="MODEL...")
def download(names: tuple[str, ...]) -> None:
    """Download the weights of each MODEL, so that it works without a network later.

    MODEL is one of those that 'musicnn-zoo models' lists, or hf://user/repository. What is there
    already is not downloaded again.
    """
    for name in names:
        found = find_pretrained(name)
        found.fetch()
        click.echo(f"{printable(name)}: ready")


@click.command()
@click.argument("model")
@option("-f", "--format", "form", type=click.Choice(EXPORT_FORMATS),
        help="[default: by the ending of --output: .keras, .onnx, .tflite, none]")  # fmt: skip
@path_option("-o", "--output", required=True, metavar="PATH",
             help="File to write, or folder for a SavedModel.")  # fmt: skip
@option("--precision", type=click.Choice(EXPORT_PRECISIONS), default="float32",
        help="Precision of the weights; the last two with litert only.")  # fmt: skip
@option("--overwrite", is_flag=True, help="Replace an export that is there.")
def export(model: str, form: Any, output: Path, precision: Any, overwrite: bool) -> None:
    """Write MODEL for another runtime: waveform in, tags out.

    MODEL is one of those that 'musicnn-zoo models' lists, hf://user/repository, or a folder. The
    spectrogram is inside the exported graph, tags and sample rate are in the metadata. What was
    written is run and compared with the Keras model before it takes its place. The .onnx of a
    bundled model is a copy of the graph that is bundled, which takes neither Keras nor a converter.
    """
    done = export_model(model, output, format=form, precision=precision, overwrite=overwrite)
    click.echo(printable(str(done)))
