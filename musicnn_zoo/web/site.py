"""Write a page that tags music in the browser, and folders of models for other pages."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from musicnn_zoo.errors import ArgumentError, shown
from musicnn_zoo.files import raising, sha256_of
from musicnn_zoo.machine import __version__
from musicnn_zoo.web.tutorial import DATA, tutorial_files
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL
from musicnn_zoo.zoo.load import ModelPlace, Pretrained, find_pretrained
from musicnn_zoo.zoo.onnx_file import with_outputs
from musicnn_zoo.zoo.weights import bundled_folder

FORMAT = 1
"""Of ``model.json``, which ``engine.js`` reads."""

MODULE = ("tagger.js", "worker.js", "engine.js", "patches.js", "resample.js", "errors.js")
"""The JavaScript module; its entrance first."""

EXAMPLES = {
    "techno_loop.ogg": "Techno loop",
    "bach_prelude_harpsichord.ogg": "Bach, Prelude in C",
}
"""Clips that the page offers, and what they are called there; all are CC0."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What is a name of a folder everywhere, and of an address."""
_EMBEDDING = "penultimate"
_SCORES = "output"
_WORKER = "service-worker.js"
_LISTED = re.compile(r"const SITE = (\{.*\});")
"""How the service worker begins: with the files of the site."""
_CARD = "README.md"
_UNFINISHED = ".unfinished-"
_LICENSES = ("LICENSE", "ThirdPartyNotices.txt")
_CARD_BYTES = 4096
_LONGEST_LIST = 2**20
_SPACE = """\
---
title: Tags of music
emoji: 🎵
colorFrom: blue
colorTo: indigo
sdk: static
app_file: index.html
pinned: false
license: isc
custom_headers:
  cross-origin-embedder-policy: require-corp
  cross-origin-opener-policy: same-origin
  cross-origin-resource-policy: cross-origin
---

Drop a song and see its tags move with the sound. It is computed in your browser; nothing is sent
anywhere. Written by `musicnn-zoo app --space`.
"""


@dataclass(frozen=True)
class Site:
    """A site that was written.

    Parameters
    ----------
    folder : Path
    files : dict of str to int
        Size in bytes of each file, by its path in the folder with slashes.
    """

    folder: Path
    files: dict[str, int]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())

    @property
    def has_tutorial(self) -> bool:
        """Whether the page of the tutorial has its data, for which h5py must be installed."""
        return f"tutorial/{DATA}" in self.files


def write_site(
    folder: Path,
    *,
    models: Sequence[ModelPlace] = (DEFAULT_MODEL,),
    runtime: Path | None = None,
    space: bool = False,
) -> Site:
    """Write a page that needs no server but one of files, and asks for nothing but its own folder.

    Beside it is the tutorial as a page to play with.

    Parameters
    ----------
    folder : Path
        Is made if it is not there. The files of a site that is there are replaced, and files
        that are not of it stay. Any other must be empty, but for hidden files and the card of a
        Space.
    models : sequence of str or path
        As :func:`musicnn_zoo.load_model` takes them; the page shows the first, and offers all.
    runtime : Path, optional
        See :func:`musicnn_zoo.web.runtime.find_runtime`.
    space : bool
        Whether to write the ``README.md`` of a Space of the Hugging Face Hub; one that this has
        written stays, since its title may have been changed.

    Raises
    ------
    ArgumentError
        If the folder or the runtime cannot be used.
    DownloadError, WeightsError, ExportError
        If the runtime or a model cannot be had.
    OutputError
        If a file cannot be written.
    """
    from musicnn_zoo.web.runtime import find_runtime

    found = _found(models)
    earlier = _check_folder(folder)
    files = find_runtime(runtime)
    with raising(ArgumentError, f"{folder}: the site cannot be written"):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_UNFINISHED}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_UNFINISHED) as unfinished:
            made = Path(unfinished)
            _write_models(made, found)
            names = [model.spec.name for model in found]
            _write_json(made / "models" / "models.json", names)
            _write_module(made / "lib")
            _write_runtime(made / "runtime", files)
            for assets, place in (("page", made), ("player", made / "player")):
                _copy_all(resources.files(__package__).joinpath(assets), place)
            _write_examples(made / "examples")
            _write_tutorial(made / "tutorial")
            sizes = _write_service_worker(made)
            if space and not _is_own_card(folder / _CARD):  # the Hub does not serve it
                sizes[_CARD] = (made / _CARD).write_bytes(_SPACE.encode())
            _move(made, folder, sizes, earlier)
    return Site(folder, sizes)


def _move(made: Path, folder: Path, names: Collection[str], earlier: Collection[str]) -> None:
    """Put files in place of an earlier site's; whenever it ends, the next run knows them all."""
    others = [
        name for name in names if name not in earlier and (folder / name).exists()
        and not _is_card(folder / name)
    ]  # fmt: skip
    if others:
        raise ArgumentError(
            f"{str(folder)!r} has files that are not of the site but have the names of its files: "
            f"{shown(', '.join(sorted(others)))}; move them, or name another folder"
        )
    for name in set(earlier).difference(names, [_WORKER]):
        (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # while others are in it
            for parent in PurePosixPath(name).parents[:-1]:
                (folder / parent).rmdir()
    for name in sorted(names, key=lambda name: name != _WORKER):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).replace(folder / name)


def write_models(folder: Path, *, models: Sequence[ModelPlace]) -> list[Path]:
    """Write ``models/NAME`` for each model: graph, description and licence, as the module needs.

    What is raised is as in :func:`write_site`. Returns the folders of the models.
    """
    found = _found(models)
    with raising(ArgumentError, f"{folder}: the models cannot be written"):
        _write_models(folder, found)
    return [_place_of(folder, model) for model in found]


def _found(models: Sequence[ModelPlace]) -> list[Pretrained]:
    found = [find_pretrained(model) for model in dict.fromkeys(models)]
    names = [each.spec.name for each in found]
    for name in names:
        if not _NAME.fullmatch(name):
            raise ArgumentError(
                "the name of a model must be letters, digits, '_', '.' and '-', and begin with a "
                f"letter or digit; received {shown(name)}"
            )
    if twice := {name for name in names if names.count(name) > 1}:
        raise ArgumentError(f"models must have different names; received twice: {', '.join(twice)}")
    return found


def _check_folder(folder: Path) -> set[str]:
    """Return the files of the site that is there."""
    with raising(ArgumentError, f"{folder}: cannot be used"):
        if folder.exists() and not folder.is_dir():
            raise ArgumentError(f"{str(folder)!r} is a file; name a folder")
        if not folder.is_dir():
            return set()
        if earlier := _listed_files(folder):
            return earlier
        if not all(path.name.startswith(".") or _is_card(path) for path in folder.iterdir()):
            raise ArgumentError(
                f"{str(folder)!r} has files and is no site of this package; name another folder"
            )
    return set()


def _listed_files(folder: Path) -> set[str]:
    """Files of a site, as its service worker lists them; none if there is none."""
    worker = folder / _WORKER
    if not worker.is_file():
        return set()
    with worker.open(encoding="utf-8", errors="replace") as file:
        found = _LISTED.fullmatch(file.readline(_LONGEST_LIST).strip())
    try:
        names = [str(name) for name in json.loads(found[1])["files"]] if found else []
    except (ValueError, KeyError, TypeError):
        return set()
    if not names or any(name.startswith("/") or ".." in name.split("/") for name in names):
        return set()
    return {*names, _WORKER}


def _is_card(path: Path) -> bool:
    """Whether a file is the ``README.md`` of a Space, which a clone of a new one has."""
    head = _head_of(path)
    return head.startswith(b"---\n") and b"\nsdk:" in head


def _is_own_card(path: Path) -> bool:
    return _is_card(path) and b"`musicnn-zoo app --space`" in _head_of(path)


def _head_of(path: Path) -> bytes:
    if path.name != _CARD or not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_CARD_BYTES)


def _place_of(folder: Path, model: Pretrained) -> Path:
    return folder / "models" / model.spec.name


def _write_models(folder: Path, found: Sequence[Pretrained]) -> None:
    for model in found:
        place = _place_of(folder, model)
        place.mkdir(parents=True, exist_ok=True)
        _write_model(place, model)


def _write_model(place: Path, model: Pretrained) -> None:
    from musicnn_zoo.runtimes.onnx_engine import find_graph, open_session

    spec, provenance = model.spec, model.provenance
    source = find_graph(model, model.load)
    sizes = {output.name: output.shape[-1] for output in open_session(source).get_outputs()}
    outputs = [name for name in (_SCORES, _EMBEDDING) if name in sizes]
    graph = place / "model.onnx"
    graph.write_bytes(with_outputs(source.read_bytes(), outputs))
    grid = spec.config.grid
    description = {
        "format": FORMAT,
        "name": spec.name,
        "version": __version__,
        "tags": spec.tags,
        "thresholds": spec.thresholds.values if spec.thresholds else None,
        "sampleRate": grid.sample_rate,
        "patchSamples": grid.patch_samples,
        "patchS": grid.patch_s,
        "grid": {
            "patch": grid.patch, "frameHop": grid.frame_hop, "window": grid.window,
            "padding": grid.padding,
        },
        "graph": {
            "file": graph.name, "bytes": graph.stat().st_size, "sha256": sha256_of(graph),
            "input": "waveform", "scores": _SCORES,
        },
        "embedding": (
            {"layer": _EMBEDDING, "size": sizes[_EMBEDDING]} if _EMBEDDING in sizes else None
        ),
        "config": spec.config.to_dict(),
        "weights": model.digest(),
        "provenance": {
            name: value for name, value in provenance.to_dict().items() if name != "notice"
        },
        "license": {"name": provenance.license, "file": "LICENSE" if provenance.notice else None},
    }  # fmt: skip
    if provenance.notice:
        (place / "LICENSE").write_text(provenance.notice, encoding="utf-8")
    _write_json(place / "model.json", description)


def _write_json(place: Path, content: Any) -> None:
    place.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_module(folder: Path) -> None:
    folder.mkdir()
    for name in (*MODULE, "LICENSE"):
        _copy(resources.files(__package__).joinpath(name), folder / name)


def _write_runtime(folder: Path, packages: dict[str, dict[str, Path]]) -> None:
    """Write packages of npm; some servers do not know that ``.mjs`` is JavaScript."""
    import onnxruntime

    folder.mkdir()
    for package, files in packages.items():
        for name, path in files.items():
            known = f"{name}-{package}" if name in _LICENSES else name.replace(".mjs", ".js")
            shutil.copyfile(path, folder / known)
    for name in _LICENSES:
        shutil.copyfile(Path(onnxruntime.__file__).with_name(name), folder / name)


def _copy_all(assets: Any, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for asset in assets.iterdir():
        _copy(asset, folder / asset.name)


def _write_examples(folder: Path) -> None:
    folder.mkdir()
    for name in EXAMPLES:
        shutil.copyfile(find_example(name), folder / name)
    listed = [{"file": name, "title": title} for name, title in EXAMPLES.items()]
    _write_json(folder / "index.json", listed)


def find_example(name: str) -> Path:
    """Find a clip, which a wheel has beside the weights and a checkout among its examples."""
    places = bundled_folder(), bundled_folder().parent / "examples" / "audio"
    return next(place / name for place in places if (place / name).is_file())


def _write_tutorial(folder: Path) -> None:
    clips = tuple((find_example(name), title) for name, title in EXAMPLES.items())
    folder.mkdir()
    for name, content in tutorial_files(clips).items():
        (folder / name).write_bytes(content)


def _copy(asset: Any, place: Path) -> None:
    place.write_bytes(asset.read_bytes())


def _write_service_worker(folder: Path) -> dict[str, int]:
    """Tell the service worker which files there are; return their sizes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    worker = folder / _WORKER
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in paths if path != worker
    }
    digest = hashlib.sha256()
    for name in files:
        digest.update(f"{name} {sha256_of(folder / name)}\n".encode())
    if worker.is_file():
        site = {"version": digest.hexdigest()[:16], "files": list(files)}
        code = worker.read_text(encoding="utf-8")
        worker.write_text(f"const SITE = {json.dumps(site)};\n{code}", encoding="utf-8")
        files[_WORKER] = worker.stat().st_size
    return files
