"""A model as a folder, the same on a disk and on the Hugging Face Hub.

``config.json``
    The configuration of :mod:`musicnn_zoo.networks.config`, the name and the provenance.
``tags.json``
    The tags, in the order of the outputs.
``model.safetensors``
    The weights by the names of the model's variables, such as ``logits/kernel``.
``thresholds.json``
    If they were calibrated, the score from which on each tag is given, and how it was found.
``README.md``
    The model card, for people and for the Hub.
``LICENSE``
    The notice that must go with the weights, if there is one.

The names of the files are fixed and none of them can hold code or a path, so that a stranger's
folder can be loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicnn_zoo.errors import (
    ArgumentError,
    DownloadError,
    OutputError,
    WeightsError,
    check_tagging_model,
    shown,
)
from musicnn_zoo.files import check_regular, parse_json, raising, read_regular, sha256_of
from musicnn_zoo.networks.config import (
    ModelConfig,
    ModelSpec,
    Provenance,
    TagThresholds,
    checked_tags,
)
from musicnn_zoo.sound.remote import without_secrets
from musicnn_zoo.zoo.catalogue import HubFile
from musicnn_zoo.zoo.downloads import LIBRARY, fetch, hub_commit
from musicnn_zoo.zoo.weights import (
    LARGEST_CHECKPOINT,
    WeightLimit,
    arrays_of,
    assign,
    check_headers,
    read_safetensors,
    safetensors_headers,
)

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel

_log = logging.getLogger(__name__)

HUB_SCHEME = "hf://"
DEFAULT_REVISION = "main"

_PART = r"[A-Za-z0-9][A-Za-z0-9._\-]*"
_REPO = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/\-]*")


def parse_reference(reference: str) -> tuple[str, str]:
    """Split ``hf://user/repository[@revision]`` into repository and revision.

    What is not of that form raises an ArgumentError.
    """
    repo, at, revision = reference.removeprefix(HUB_SCHEME).partition("@")
    if not at:
        revision = DEFAULT_REVISION
    if not _REPO.fullmatch(repo) or not _REVISION.fullmatch(revision) or ".." in reference:
        raise ArgumentError(
            f"a model on the Hugging Face Hub is {HUB_SCHEME}user/repository or "
            f"{HUB_SCHEME}user/repository@revision; received {reference!r}"
        )
    return repo, revision


FORMAT = 1
"""Raised when older versions could no longer read what is written."""

CONFIG, TAGS, WEIGHTS = "config.json", "tags.json", "model.safetensors"
CARD, NOTICE = "README.md", "LICENSE"
THRESHOLDS = "thresholds.json"
NEEDED = (CONFIG, TAGS, WEIGHTS)
OPTIONAL = (THRESHOLDS, NOTICE)
"""What a model need not have, and must not have from another that was there before."""
LARGEST = {
    CONFIG: 2**20,  # a hundred times that of any model here, with room for a long notice
    TAGS: 2**24,  # the most tags of over a hundred letters each
    THRESHOLDS: 2**24,
    WEIGHTS: LARGEST_CHECKPOINT,
}
"""Bytes of the files, beyond which they are neither read nor written."""

_SPARE_NUMBERS, _SPARE_WEIGHTS = 2**24, 100

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,95}")
_ENTRIES = {"format", "library_name", "name", "model", "provenance", "sample_rate"}


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose configuration and tags were read and checked; messages call it ``origin``."""

    path: Path
    origin: str
    spec: ModelSpec
    provenance: Provenance

    def digest(self) -> str:
        """SHA-256 of what decides what the model computes."""
        digest = hashlib.sha256()
        for name in (*NEEDED, THRESHOLDS):
            if name in NEEDED or (self.path / name).exists():
                path = self.path / name
                check_regular(path, largest=LARGEST[name], origin=f"{self.origin}/{name}")
                digest.update(bytes.fromhex(sha256_of(path)))
        return digest.hexdigest()

    def weight_limit(self) -> WeightLimit:
        """How much the weights hold, and some more, so that it can be said what does not fit."""
        headers = safetensors_headers(self.path / WEIGHTS)
        numbers = sum(math.prod(header.shape) for header in headers.values())
        return WeightLimit(2 * numbers + _SPARE_NUMBERS, 2 * len(headers) + _SPARE_WEIGHTS)

    def fetch(self) -> None:
        """Do nothing: the folder is here."""

    def put(self, model: TaggingModel) -> None:
        """Load the weights into a model of this spec; a WeightsError says if they do not fit."""
        path, origin = self.path / WEIGHTS, f"{self.origin}/{WEIGHTS}"
        check_headers(model, safetensors_headers(path), origin=origin)
        assign(model, read_safetensors(path), origin=origin)
        model.folder = self.path.absolute()


def read_folder(path: Path, *, origin: str) -> ModelFolder:
    """Read the configuration and the tags of a folder, and check that it has weights.

    Messages call it ``origin``. A WeightsError is raised if it is no such folder, or asks for
    something that does not exist.
    """
    if not path.is_dir():
        raise WeightsError(f"{without_secrets(origin)}: there is no such folder")
    for name in NEEDED:
        if not (path / name).exists():
            raise WeightsError(
                f"{origin}: the folder lacks {name}; a model is a folder with {', '.join(NEEDED)}, "
                "as save_pretrained writes it"
            )
        check_regular(path / name, largest=LARGEST[name], origin=f"{origin}/{name}")
    config = _read_json(path, CONFIG, origin)
    try:
        if not isinstance(config, Mapping):
            raise ArgumentError("it must be an object")
        _check_entries(config)
        spec = ModelSpec(
            _checked_name(config.get("name")),
            ModelConfig.from_dict(config.get("model", {})),
            _tags_of(_read_json(path, TAGS, origin)),
        )
        rate = spec.config.input.sample_rate
        if config.get("sample_rate", rate) != rate:
            raise ArgumentError(
                f"sample_rate is {shown(config['sample_rate'])}, and the model's input has {rate}"
            )
        provenance = Provenance.from_dict(config.get("provenance", {}))
    except (TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise WeightsError(f"{origin}/{CONFIG}: refused: {error}") from error
    if os.path.lexists(path / THRESHOLDS):
        spec = replace(spec, thresholds=_read_thresholds(path, spec.tags, origin))
    return ModelFolder(path, origin, spec, provenance)


def download_folder(reference: str) -> tuple[Path, str]:
    """Download the model folder that ``hf://user/repository[@revision]`` names.

    Return where it is in the cache of ``huggingface_hub``, with all files of one commit, and the
    reference with that commit. An ArgumentError is raised if it is no such reference, a
    DownloadError if it cannot be downloaded, a WeightsError if a file is not the one that the Hub
    states.
    """
    repo, revision = parse_reference(reference)
    commit = hub_commit(repo, revision, CONFIG)
    paths = {name: fetch(HubFile(repo, commit, name)) for name in NEEDED}
    _fetch_if_there(HubFile(repo, commit, THRESHOLDS))
    return paths[CONFIG].parent, f"{HUB_SCHEME}{repo}@{commit}"


def _fetch_if_there(file: HubFile) -> None:
    """Download a file of a commit unless the repository lacks it, which is asked only once."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    cached = try_to_load_from_cache(file.repo, file.path, revision=file.revision)
    if cached is not None and not isinstance(cached, str):
        return
    try:
        fetch(file)
    except DownloadError as error:
        if not isinstance(error.__cause__, EntryNotFoundError):
            raise
        if isinstance(error.__cause__, LocalEntryNotFoundError):
            _log.warning("%s; going on without %s", error, file.path)


def folder_stamp(place: str) -> tuple[int, ...]:
    """Return times and sizes of a model's files, which change when it is written again."""
    if Path(place).is_file():
        file = Path(place).stat()
        return file.st_mtime_ns, file.st_size
    there = [THRESHOLDS] if Path(place, THRESHOLDS).exists() else []
    try:
        files = [Path(place, name).stat() for name in (*NEEDED, *there)]
    except OSError:
        return ()
    return tuple(number for file in files for number in (file.st_mtime_ns, file.st_size))


def save_pretrained(
    model: TaggingModel,
    folder: str | os.PathLike[str],
    *,
    provenance: Provenance | None = None,
    repo: str | None = None,
) -> Path:
    """Write a model to a folder, as it appears on the Hugging Face Hub.

    ``load_model(folder)`` and ``Tagger(folder)`` take it, here or elsewhere: it holds no code and
    no pickle.

    Parameters
    ----------
    model : TaggingModel
    folder : str or path
        Made if it is not there. Files of an earlier call in it are replaced, or removed if this
        model has none of the kind; others stay.
    provenance : Provenance, optional
        What the model card says of training data, metrics, licence and citation; by default
        what the model knows of itself.
    repo : str, optional
        ``"user/repository"`` that the folder is for, which the model card names.

    Returns
    -------
    Path
        The folder, with config.json, tags.json, model.safetensors, README.md, thresholds.json
        if the model has calibrated thresholds, and LICENSE if the weights have a notice that must
        go with them.

    Raises
    ------
    ArgumentError
        If the name of the model is not made of letters, digits, ``_``, ``.`` and ``-``, or it is
        larger than what is loaded again.
    OutputError
        If the folder cannot be written.

    Examples
    --------
    >>> import musicnn_zoo, tempfile
    >>> model = musicnn_zoo.load_model("MTT_vgg")
    >>> folder = musicnn_zoo.save_pretrained(model, tempfile.mkdtemp())
    >>> sorted(path.name for path in folder.iterdir())
    ['LICENSE', 'README.md', 'config.json', 'model.safetensors', 'tags.json']
    """
    check_tagging_model(model)
    spec = model.spec
    _checked_name(spec.name)
    if provenance is None:
        provenance = model.provenance
    arrays = arrays_of(model)
    config = {
        "format": FORMAT,
        "library_name": LIBRARY,
        "name": spec.name,
        "sample_rate": spec.config.input.sample_rate,
        "model": spec.config.to_dict(),
        "provenance": provenance.to_dict(),
    }
    texts = {
        CONFIG: _json(config),
        TAGS: _json(spec.tags),
        CARD: model_card(model, provenance, repo=repo),
    }
    if provenance.notice:
        texts[NOTICE] = provenance.notice
    if spec.thresholds is not None:
        texts[THRESHOLDS] = _json(spec.thresholds.to_dict(spec.tags))
    _check_sizes(
        {name: len(text.encode()) for name, text in texts.items()}
        | {WEIGHTS: sum(array.nbytes for array in arrays.values())}
    )
    path = Path(folder).expanduser()
    with _replacing_files(path, "the model") as unfinished:
        for name, text in texts.items():
            Path(unfinished, name).write_text(text, encoding="utf-8")
        _save_arrays(arrays, Path(unfinished, WEIGHTS))
        for name in OPTIONAL:
            if name not in texts:
                (path / name).unlink(missing_ok=True)
    return path


def write_thresholds(folder: ModelFolder, thresholds: TagThresholds) -> None:
    """Write thresholds to a folder and to its model card; all else stays.

    An ArgumentError is raised if there is not one for each tag, an OutputError if the folder cannot
    be written.
    """
    spec = replace(folder.spec, thresholds=thresholds)
    card = folder.path / CARD
    escaped: dict[str, str] = {"encoding": "utf-8", "errors": "surrogateescape"}
    with _replacing_files(folder.path, "the thresholds") as unfinished:
        Path(unfinished, THRESHOLDS).write_text(
            _json(thresholds.to_dict(spec.tags)), **escaped, newline=""
        )
        if card.is_file():
            text = with_thresholds_section(card.read_text(**escaped), spec)
            Path(unfinished, CARD).write_text(text, **escaped, newline="")


@contextlib.contextmanager
def _replacing_files(path: Path, what: str) -> Iterator[Path]:
    """Give a folder for files that go to a model's folder, which is made if need be, at the end."""
    with raising(OutputError, f"{path}: {what} cannot be written there"):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path) as folder:
            yield Path(folder)
            for unfinished in sorted(Path(folder).iterdir()):
                unfinished.replace(path / unfinished.name)


def _json(entries: Any) -> str:
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


def _read_thresholds(path: Path, tags: Sequence[str], origin: str) -> TagThresholds:
    try:
        return TagThresholds.from_dict(_read_json(path, THRESHOLDS, origin), tags)
    except ArgumentError as error:
        raise WeightsError(f"{origin}/{THRESHOLDS}: refused: {error}") from error


def _save_arrays(arrays: Mapping[str, Any], path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save

    # Written by ourselves, so that a full disk is an OSError.
    path.write_bytes(save({name: np.asarray(value, order="C") for name, value in arrays.items()}))


def _check_sizes(sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        if size > LARGEST.get(name, size):
            raise ArgumentError(
                f"{name} would have {size:,} bytes; at most {LARGEST[name]:,} are loaded again"
            )


def _read_json(folder: Path, name: str, origin: str) -> Any:
    origin = f"{origin}/{name}"
    content = read_regular(folder / name, largest=LARGEST[name], origin=origin)
    return parse_json(content, origin=origin)


def _check_entries(config: Mapping[str, Any]) -> None:
    made_by = config.get("format")
    if isinstance(made_by, bool) or not isinstance(made_by, int) or made_by < 1:
        raise ArgumentError(f"'format' must be a number from 1 on; received {shown(made_by)}")
    if made_by > FORMAT:
        raise ArgumentError(
            f"it has format {shown(made_by)}, this version reads up to {FORMAT}: "
            "pip install --upgrade musicnn-zoo"
        )
    unknown = sorted(set(config) - _ENTRIES)
    if unknown:
        raise ArgumentError(f"it has an unknown entry {shown(unknown[0])}")


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(
            "the name of a model must be letters, digits, '_', '.' and '-', 96 at most, and begin "
            f"with a letter or digit; received {shown(name)}"
        )
    return name


def _tags_of(tags: Any) -> tuple[str, ...]:
    try:
        return checked_tags(tags)
    except ArgumentError as error:
        raise ArgumentError(f"{TAGS}: {error}") from error


_FIGURES = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC"}
_SHOWN_LICENSES = {
    "isc", "mit", "apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0", "bsd-3-clause",
}  # fmt: skip

_THRESHOLDS_SECTION = re.compile(r"^## Thresholds\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_AFTER_TAGS = re.compile(r"^(?=## Training data$)", re.MULTILINE)

_CARD = """\
# {name}

A model for music audio tagging: waveform in, {count} tags out, with the spectrogram inside the
graph. It runs with [musicnn-zoo](https://pypi.org/project/musicnn-zoo/) in Keras:

```python
import musicnn_zoo

print(musicnn_zoo.tag("song.mp3", model="{place}"))
vector = musicnn_zoo.embed("song.mp3", model="{place}").values
model = musicnn_zoo.load_model("{place}")  # a keras.Model
```

```sh
musicnn-zoo tag song.mp3 --model {place}
```

## Model

{table}

## Tags

{tags}

{thresholds}## Training data

{trained_on}

## Evaluation

{evaluation}

## Licence

{license}

## Citation

{citation}
"""


def model_card(model: TaggingModel, provenance: Provenance, *, repo: str | None = None) -> str:
    """Write the card of a model in Markdown, with the header that the Hub reads.

    It names ``hf://repo`` as the place of the model, or without ``repo`` a folder.
    """
    spec = model.spec
    signal = spec.config.input
    patch = f"{spec.config.grid.patch_s:.3f} s"
    blocks = " → ".join(chosen.kind for _, chosen in spec.config.blocks())
    rows = {
        "front-end → back-end": blocks,
        "input": f"waveform, mono, {signal.sample_rate:,} Hz, ±1",
        "patch": patch if spec.config.fixed_length else f"{patch} or any other length",
        "parameters": f"{sum(math.prod(w.shape) for w in model.trainable_weights):,} trainable",
        "endpoints": ", ".join(f"`{name}`" for name in spec.config.endpoints),
        "source": provenance.source or "not stated",
    }
    table = "\n".join(["| | |", "|---|---|", *(f"| {k} | {_cell(v)} |" for k, v in rows.items())])
    body = _CARD.format(
        name=spec.name,
        count=len(spec.tags),
        place=f"hf://{repo}" if repo else "path/to/this/folder",
        table=table,
        tags=", ".join(f"`{_plain(tag)}`" for tag in spec.tags),
        thresholds=_thresholds_section(spec),
        trained_on=_plain(provenance.trained_on) or "Not stated.",
        evaluation=_evaluation(provenance),
        license=_plain(provenance.license) or "Not stated.",
        citation=f"```bibtex\n{provenance.citation}\n```" if provenance.citation else "Not stated.",
    )
    return f"---\n{_header(spec.name, provenance)}\n---\n\n{body}"


def with_thresholds_section(card: str, spec: ModelSpec) -> str:
    """Write the thresholds of a model into a card, in place of those that it has."""
    section = _thresholds_section(spec)
    there = _THRESHOLDS_SECTION.search(card) or _AFTER_TAGS.search(card)
    start, end = there.span() if there else (len(card), len(card))
    if start and not card[:start].endswith("\n\n"):
        section = f"\n\n{section}"
    return card[:start] + section + card[end:]


def _thresholds_section(spec: ModelSpec) -> str:
    if spec.thresholds is None:
        return ""
    of_tags = ", ".join(
        f"`{_plain(tag)}` " + ("never" if value is None else f"{value:.3g}")
        for tag, value in zip(spec.tags, spec.thresholds.values, strict=True)
    )
    return (
        "## Thresholds\n\n"
        f'With `threshold="calibrated"` a tag is given from this score on '
        f"({_plain(spec.thresholds.origin) or 'not stated how found'}):\n\n{of_tags}\n\n"
    )


def _header(name: str, provenance: Provenance) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    data: dict[str, Any] = {}
    license_name = provenance.license.lower()
    if license_name in _SHOWN_LICENSES:
        data["license"] = license_name
    elif license_name:
        data |= {"license": "other", "license_name": _slug(license_name)}
    if provenance.metrics and provenance.trained_on:
        data["model_name"] = name
        data["eval_results"] = [
            EvalResult(
                task_type="audio-classification",
                task_name="Music audio tagging",
                dataset_name=provenance.trained_on,
                dataset_type=_slug(provenance.trained_on.partition(" (")[0]),
                metric_type=metric,
                metric_name=f"{_FIGURES.get(metric, metric)}, macro, in percent",
                metric_value=figure,
            )
            for metric, figure in provenance.metrics.items()
        ]
    card = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag="audio-classification",
        tags=["music", "audio", "music-tagging", "mir", "keras"],
        **data,
    )
    return str(card.to_yaml())


def _evaluation(provenance: Provenance) -> str:
    if not provenance.metrics:
        return "No figures are stated."
    rows = "\n".join(
        f"| {_cell(_FIGURES.get(metric, metric))} | {figure:.2f} |"
        for metric, figure in provenance.metrics.items()
    )
    where = f" on {_plain(provenance.test_set)}" if provenance.test_set else ""
    return (
        f"In percent{where}, macro-averaged over the tags, the patches of a track averaged:\n\n"
        f"| | % |\n|---|--:|\n{rows}"
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def _plain(text: str) -> str:
    """Text that is no markup."""
    return re.sub(r"([`<>\[\]|])", r"\\\1", text.replace("\n", " "))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
