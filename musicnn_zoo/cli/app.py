"""The command app: a page that tags music in the browser."""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from musicnn_zoo.cli.options import MODEL_HELP
from musicnn_zoo.cli.parts import LOCAL, option, path_option
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.text import printable
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL, PRESETS

_BUNDLED = tuple(preset.name for preset in PRESETS.values() if preset.graph is not None)


@click.command()
@click.argument("folder", required=False, type=LOCAL)
@option("-m", "--model", "models", multiple=True, metavar="MODEL",
        help=f"{MODEL_HELP}; several times for several models.  [default: {DEFAULT_MODEL}; with "
        "--only-models those that are bundled]")  # fmt: skip
@option(
    "--space", is_flag=True, help="Write the README.md of a Space of the Hugging Face Hub, too."
)
@path_option("--runtime", metavar="PLACE", envvar="MUSICNN_ZOO_RUNTIME", show_envvar=True,
             help="onnxruntime-web: what npm pack wrote, or a folder; mediabunny may be beside "
             "it.  [default: kept from before, or fetched by npm or the network]")  # fmt: skip
@option("--only-models", is_flag=True, help="Write folders of models for a page of your own.")
@option("--serve", is_flag=True, help="Serve the page to browsers on this machine.")
@option("--port", type=click.IntRange(0, 65535), metavar="N",
        help="Port of --serve.  [default: one that is free]")  # fmt: skip
def app(
    folder: Path | None,
    models: tuple[str, ...],
    space: bool,
    runtime: Path | None,
    only_models: bool,
    serve: bool,
    port: int | None,
) -> None:
    """Write a page on which anyone drops a song and sees its tags, computed in the browser.

    The page is a FOLDER of files. Any web server can serve it, GitHub Pages or a Space of the
    Hugging Face Hub, too; it asks for nothing but those files and sends nothing anywhere:

    \b
        musicnn-zoo app site --model MTT_musicnn --model MSD_musicnn
        musicnn-zoo app --serve
    """  # noqa: D301 (click keeps the lines of a paragraph after backspace)
    if port is not None and not serve:
        raise ArgumentError("--port goes with --serve")
    if only_models and (serve or space):
        raise ArgumentError("--only-models goes with neither --serve nor --space")
    if folder is None and not serve:
        raise ArgumentError("name a folder for the page, or give --serve")
    from musicnn_zoo.web.site import write_models, write_site
    from musicnn_zoo.web.tutorial import MISSING

    if only_models:
        assert folder is not None
        for place in write_models(folder, models=models or _BUNDLED):
            click.echo(printable(str(place)))
        return
    with tempfile.TemporaryDirectory(prefix="musicnn-zoo-") as temporary:
        site = write_site(
            Path(temporary) if folder is None else folder,
            models=models or (DEFAULT_MODEL,), runtime=runtime, space=space,
        )  # fmt: skip
        if folder is not None:
            size = f"{len(site.files)} files, {site.size / 1e6:.1f} MB"
            click.echo(f"{printable(str(folder))}: {size}")
        if not site.has_tutorial:
            click.echo(MISSING, err=True)
        if not serve:
            return
        from musicnn_zoo.web.serving import SiteServer

        with SiteServer(site, port=port or 0) as server, suppress(KeyboardInterrupt):
            click.echo(f"{server.url}  Ctrl+C ends it")
            sys.stdout.flush()
            server.serve()
