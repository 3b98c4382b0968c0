"""How a model appears on the Hugging Face Hub: its address and its card."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.config import ModelSpec, Provenance
from musicnn_zoo.zoo.downloads import LIBRARY

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel


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
