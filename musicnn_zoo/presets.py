"""The table of models: what each is, where its weights are, who made it, how good it is."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field

from musicnn_zoo.config import LogMelInput, ModelConfig, block
from musicnn_zoo.errors import UnknownNameError
from musicnn_zoo.tags import VOCABULARIES

MUSICNN = ModelConfig(
    input=LogMelInput(),
    frontend=block("timbral_temporal"),
    midend=block("dense_residual"),
    backend=block("temporal_pooling"),
)
VGG = ModelConfig(input=LogMelInput(), frontend=block("vgg"), backend=block("mlp"))

_CITATION = """\
@inproceedings{pons2019musicnn,
  title={musicnn: Pre-trained convolutional neural networks for music audio tagging},
  author={Pons, Jordi and Serra, Xavier},
  booktitle={Late-breaking/demo session in 20th International Society for Music Information
             Retrieval Conference (LBD-ISMIR2019)},
  year={2019}
}"""
_SOURCE = "musicnn 0.1.0 on PyPI"
_LICENSE = "ISC"
_DATA = {
    "MTT": "MagnaTagATune (Law et al. 2009)",
    "MSD": "Million Song Dataset (Bertin-Mahieux et al. 2011) with Last.fm tags",
}


@dataclass(frozen=True)
class Weights:
    """A weights file in Keras's ``.weights.h5`` format.

    Parameters
    ----------
    file : str
        Name of the file among the bundled ones.
    sha256 : str
        Checked whenever the file is loaded.
    """

    file: str
    sha256: str


@dataclass(frozen=True)
class Preset:
    """One row of :data:`PRESETS`.

    Parameters
    ----------
    name : str
    config : ModelConfig
    vocabulary : str
        Name of the tags in :data:`musicnn_zoo.tags.VOCABULARIES`.
    weights : Weights
    parameters : int
        Trainable parameters.
    trained_on : str
    metrics : mapping of str to float
        ``roc_auc`` and ``pr_auc`` in percent, as published with the weights: macro-averaged
        over the tags on the test split of the training data, the patches of a track
        averaged. MTT counts 5,329 test clips, 997 of them without any tag.
    source, license, citation : str
    """

    name: str
    config: ModelConfig
    vocabulary: str
    weights: Weights
    parameters: int
    trained_on: str
    metrics: Mapping[str, float] = field(hash=False)
    source: str
    license: str
    citation: str

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, in the order of the outputs."""
        return VOCABULARIES[self.vocabulary]


def _released(
    name: str, config: ModelConfig, parameters: int, roc_auc: float, pr_auc: float, sha256: str
) -> Preset:
    vocabulary = name.partition("_")[0]
    return Preset(
        name=name,
        config=config,
        vocabulary=vocabulary,
        weights=Weights(f"{name}.weights.h5", sha256),
        parameters=parameters,
        trained_on=_DATA[vocabulary],
        metrics={"roc_auc": roc_auc, "pr_auc": pr_auc},
        source=_SOURCE,
        license=_LICENSE,
        citation=_CITATION,
    )


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _released(
            "MTT_musicnn",
            MUSICNN,
            787_159,
            90.67,
            38.31,
            "0e1ed58b52acaf74ce52ad05c7c2c4db64665512ff6aa907df87aabdc0197215",
        ),
        _released(
            "MSD_musicnn",
            MUSICNN,
            787_159,
            88.02,
            28.91,
            "3d96e2e792b830989fae8b58d4969909b95444d4c136a1d620197dce0f847b4d",
        ),
        _released(
            "MTT_vgg",
            VGG,
            605_748,
            90.30,
            38.23,
            "afd9d88da9a550a3b27ce051e70d69ee25197e2f0d033f79ead59d50672ca527",
        ),
        _released(
            "MSD_vgg",
            VGG,
            605_748,
            87.68,
            28.19,
            "dd60edede247df0404c81bafe37000fdbd3ada7f44b167d4059b1c72f154618f",
        ),
    )
}
"""All models by name."""

DEFAULT_MODEL = "MTT_musicnn"


def get_preset(name: str) -> Preset:
    """Look up a model.

    Raises
    ------
    UnknownNameError
        If there is none of that name; the message suggests the nearest ones.
    """
    if name not in PRESETS:
        raise UnknownNameError("model", name, PRESETS)
    return PRESETS[name]


def list_models(pattern: str | None = None) -> list[str]:
    """Names of the models.

    Parameters
    ----------
    pattern : str, optional
        With shell wildcards, for instance ``"MTT_*"``; upper and lower case count the same.

    Returns
    -------
    list of str
        Sorted as in the table of models; empty if nothing fits.

    Examples
    --------
    >>> import musicnn_zoo
    >>> musicnn_zoo.list_models("*_vgg")
    ['MTT_vgg', 'MSD_vgg']
    """
    if pattern is None:
        return list(PRESETS)
    return [name for name in PRESETS if fnmatch.fnmatchcase(name.lower(), pattern.lower())]


@dataclass(frozen=True)
class ModelInfo:
    """What there is to know about a model without loading it.

    Parameters
    ----------
    name : str
    architecture : str
        Front-end, mid-end and back-end.
    tags : tuple of str
    sample_rate : int
        Of the input in Hz.
    patch_s : float
        Length of the patches that the model was trained on, in seconds.
    fixed_length : bool
        Whether it takes patches of that length only.
    endpoints : tuple of str
        Layers that `features` and `embed` offer.
    parameters : int
        Trainable parameters.
    trained_on : str
    metrics : dict of str to float
        Published figures in percent, see :class:`Preset`.
    source, license, citation, sha256 : str
        Of the weights.
    """

    name: str
    architecture: str
    tags: tuple[str, ...]
    sample_rate: int
    patch_s: float
    fixed_length: bool
    endpoints: tuple[str, ...]
    parameters: int
    trained_on: str
    metrics: dict[str, float]
    source: str
    license: str
    citation: str
    sha256: str

    def __str__(self) -> str:
        length = f"{self.patch_s:.3f} s" + ("" if self.fixed_length else " or any other length")
        rows = {
            "architecture": self.architecture,
            "input": f"{self.sample_rate} Hz mono, patches of {length}",
            "parameters": f"{self.parameters:,}",
            "trained on": self.trained_on,
            "ROC-AUC, PR-AUC": f"{self.metrics['roc_auc']:.2f} %, {self.metrics['pr_auc']:.2f} %",
            "endpoints": ", ".join(self.endpoints),
            "tags": ", ".join(self.tags),
            "weights": f"{self.source}, {self.license} licence, SHA-256 {self.sha256}",
            "citation": self.citation,
        }
        width = max(map(len, rows)) + 2
        return "\n".join([self.name, *(f"  {key:{width}}{value}" for key, value in rows.items())])


def model_info(name: str) -> ModelInfo:
    """Describe a model: tags, sample rate, licence, citation, published figures, source.

    Parameters
    ----------
    name : str
        One of :func:`list_models`.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    """
    from musicnn_zoo.patches import patch_grid

    preset = get_preset(name)
    config = preset.config
    chain = [config.frontend, config.midend, config.backend]
    return ModelInfo(
        name=preset.name,
        architecture=" → ".join(["log-mel", *(part.kind for part in chain if part)]),
        tags=preset.tags,
        sample_rate=config.input.sample_rate,
        patch_s=patch_grid(config).patch_s,
        fixed_length=config.fixed_length,
        endpoints=config.endpoints,
        parameters=preset.parameters,
        trained_on=preset.trained_on,
        metrics=dict(preset.metrics),
        source=preset.source,
        license=preset.license,
        citation=preset.citation,
        sha256=preset.weights.sha256,
    )
