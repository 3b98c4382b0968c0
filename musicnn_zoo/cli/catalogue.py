"""Commands on models: models, info, download, export."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from musicnn_zoo.cli.options import check_plot, plot_option
from musicnn_zoo.cli.parts import option, path_option
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.runtimes.export import EXPORT_FORMATS, EXPORT_PRECISIONS, export_model
from musicnn_zoo.text import printable
from musicnn_zoo.zoo.catalogue import list_models
from musicnn_zoo.zoo.load import ModelInfo, find_pretrained, model_info


@click.command()
@click.argument("pattern", required=False)
@option("--pretrained/--untrained", default=None,
        help="List only models with weights, or only architectures.")  # fmt: skip
@option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text",
        help="json: all that is known of each model.")  # fmt: skip
def models(pattern: str | None, pretrained: bool | None, form: str) -> None:
    """List the models, or those whose names fit PATTERN (such as 'MTT_*')."""
    names = list_models(pattern, pretrained=pretrained)
    if not names:
        known = ", ".join(list_models(pretrained=pretrained))
        raise ArgumentError(f"no model fits {pattern!r}; there are {known}")
    if form == "json":
        click.echo(json.dumps([_as_json(model_info(name)) for name in names], indent=1))
        return
    rows: list[tuple[str, ...]] = [
        ("model", "weights", "input", "front-end → back-end", "parameters", "receptive field")
    ]
    for info in map(model_info, names):
        seen = info.receptive_field_s
        rows.append(
            (
                info.name,
                _weights_column(info),
                info.input,
                info.architecture,
                f"{info.parameters:,}",
                f"{seen:.2f} s" if math.isfinite(seen) else "whole input",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _as_json(info: ModelInfo) -> dict[str, Any]:
    described = asdict(info)
    described["thresholds"] = info.thresholds and info.thresholds.to_dict(info.tags)
    if not math.isfinite(info.receptive_field_s):
        described["receptive_field_s"] = None  # the whole input
    return described


def _weights_column(info: ModelInfo) -> str:
    if not info.pretrained:
        return "none"
    return "bundled" if "bundled" in info.weights else "download"


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
