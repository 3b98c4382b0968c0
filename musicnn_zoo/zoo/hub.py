"""Models on the Hugging Face Hub: their cards, and how they get there."""

from __future__ import annotations

import logging
import math
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicnn_zoo.errors import ArgumentError, DownloadError, UploadError
from musicnn_zoo.networks.config import ModelSpec, Provenance, patch_grid
from musicnn_zoo.zoo.catalogue import HubFile
from musicnn_zoo.zoo.downloads import LIBRARY, explained, fetch, hub_commit
from musicnn_zoo.zoo.folder import CONFIG, NEEDED, OPTIONAL, THRESHOLDS, save_pretrained

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel


_FIGURES = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC"}
_SHOWN_LICENSES = {
    "isc",
    "mit",
    "apache-2.0",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc0-1.0",
    "bsd-3-clause",
}

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

    Parameters
    ----------
    model : TaggingModel
    provenance : Provenance
    repo : str, optional
        ``"user/repository"``; without it the card speaks of a folder.
    """
    spec = model.spec
    signal = spec.config.input
    patch = f"{patch_grid(spec.config).patch_s:.3f} s"
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
    """Put the thresholds of a model into a card, in place of those that it has."""
    section = _thresholds_section(spec)
    there = _THRESHOLDS_SECTION.search(card)
    if there is None:
        there = _AFTER_TAGS.search(card)
    start, end = there.span() if there is not None else (len(card), len(card))
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
        library_name="musicnn-zoo",
        pipeline_tag="audio-classification",
        tags=["music", "audio", "music-tagging", "mir", "keras"],
        **data,
    )
    text: str = card.to_yaml()
    return text


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


_log = logging.getLogger(__name__)

HUB_SCHEME = "hf://"
DEFAULT_REVISION = "main"

_PART = r"[A-Za-z0-9][A-Za-z0-9._\-]*"
_REPO = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/\-]*")


def download_folder(reference: str) -> tuple[Path, str]:
    """Download the model folder that ``hf://user/repository[@revision]`` names.

    Returns
    -------
    folder : Path
        In the cache of ``huggingface_hub``, all files of one commit.
    origin : str
        The reference with that commit.

    Raises
    ------
    ArgumentError
        If it is no such reference.
    DownloadError
        If it cannot be downloaded; the message names repository, revision and remedy.
    WeightsError
        If a file is not the one that the Hub states.
    """
    repo, revision = parse_reference(reference)
    commit = hub_commit(repo, revision, CONFIG)
    paths = {name: fetch(HubFile(repo, commit, name)) for name in NEEDED}
    _fetch_if_there(HubFile(repo, commit, THRESHOLDS))
    return paths[CONFIG].parent, f"{HUB_SCHEME}{repo}@{commit}"


def _fetch_if_there(file: HubFile) -> None:
    """Download a file of a commit unless the repository lacks it, which is asked but once."""
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


def parse_reference(reference: str) -> tuple[str, str]:
    """Split ``hf://user/repository[@revision]`` into repository and revision.

    Raises
    ------
    ArgumentError
        If it is not of that form.
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


def push_to_hub(
    model: TaggingModel | str | os.PathLike[str],
    repo: str,
    *,
    provenance: Provenance | None = None,
    private: bool = False,
    revision: str = DEFAULT_REVISION,
    message: str = "Upload by musicnn-zoo",
    token: str | None = None,
) -> str:
    """Upload a model to the Hugging Face Hub, so that ``load_model("hf://user/repository")`` works.

    The repository is made if it is not there. What is uploaded is what
    :func:`musicnn_zoo.save_pretrained` writes.

    Parameters
    ----------
    model : TaggingModel, or str or path
        A folder means the model in it, such as the output of :func:`musicnn_zoo.train_model`.
    repo : str
        ``"user/repository"``.
    provenance : Provenance, optional
        For the model card; by default what the model knows of itself.
    private : bool
        Whether a repository that is made is visible to its owner only.
    revision : str
        Branch to commit to.
    message : str
        Of the commit.
    token : str, optional
        With the right to write; by default ``HF_TOKEN`` or that of ``hf auth login``.

    Returns
    -------
    str
        ``hf://user/repository@commit``, which loads what was uploaded.

    Raises
    ------
    ArgumentError
        If ``repo`` is not of that form.
    UploadError
        If the Hub does not take it; the message names the repository and the remedy.
    """
    from huggingface_hub import HfApi

    from musicnn_zoo import __version__
    from musicnn_zoo.zoo.load import find_pretrained

    given, (repo, _) = repo, parse_reference(repo)
    if "@" in given:
        raise ArgumentError(
            "a model is uploaded to a branch of 'user/repository', which revision= names; "
            f"received {given!r}"
        )
    if isinstance(model, str | os.PathLike):
        model = find_pretrained(model).load()
    api = HfApi(library_name=LIBRARY, library_version=__version__, token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, provenance=provenance, repo=repo)
        with explained(f"{HUB_SCHEME}{repo}@{revision}", UploadError):
            api.create_repo(repo, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo, folder_path=folder, revision=revision, commit_message=message,
                delete_patterns=list(OPTIONAL),
            )  # fmt: skip
    return f"{HUB_SCHEME}{repo}@{commit.oid}"
