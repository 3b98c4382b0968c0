"""The table of models: what each is, where its weights are, who made it, how good it is."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from musicnn_zoo.architectures import ARCHITECTURES, Architecture
from musicnn_zoo.config import ModelConfig, ModelSpec
from musicnn_zoo.errors import ArgumentError, UnknownNameError
from musicnn_zoo.tags import VOCABULARIES

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
class PinnedFile:
    """A file known by its bytes.

    Parameters
    ----------
    name : str
        Among the bundled ones.
    sha256 : str
        Checked whenever the file is loaded.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Preset:
    """One row of :data:`PRESETS`: an architecture with weights.

    Parameters
    ----------
    name : str
    architecture : Architecture
    vocabulary : str
        Name of the tags in :data:`musicnn_zoo.tags.VOCABULARIES`.
    weights : PinnedFile
        In Keras's ``.weights.h5`` format.
    graph : PinnedFile or None
        The same as an ONNX graph (see :mod:`musicnn_zoo.onnx_graph`).
    trained_on : str
    metrics : mapping of str to float
        ``roc_auc`` and ``pr_auc`` in percent, as published with the weights: macro-averaged
        over the tags on the test split of the training data, the patches of a track
        averaged. MTT counts 5,329 test clips, 997 of them without any tag.
    source, license, citation : str
    """

    name: str
    architecture: Architecture
    vocabulary: str
    weights: PinnedFile
    graph: PinnedFile | None
    trained_on: str
    metrics: Mapping[str, float] = field(hash=False)
    source: str
    license: str
    citation: str

    @property
    def config(self) -> ModelConfig:
        """The architecture's configuration."""
        return self.architecture.config

    @property
    def spec(self) -> ModelSpec:
        """What the model computes."""
        return ModelSpec(self.name, self.config, self.tags)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, in the order of the outputs."""
        return VOCABULARIES[self.vocabulary]


def _released(
    vocabulary: str,
    architecture: str,
    *,
    roc_auc: float,
    pr_auc: float,
    weights_sha256: str,
    graph_sha256: str,
) -> Preset:
    name = f"{vocabulary}_{architecture}"
    return Preset(
        name=name,
        architecture=ARCHITECTURES[architecture],
        vocabulary=vocabulary,
        weights=PinnedFile(f"{name}.weights.h5", weights_sha256),
        graph=PinnedFile(f"{name}.onnx", graph_sha256),
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
            "MTT", "musicnn", roc_auc=90.67, pr_auc=38.31,
            weights_sha256="ac89e972d5e17b62a7467966411614221dedde730908ba18ae82d03109ef8cbd",
            graph_sha256="1fecae394c39daac669b602f39c12eed32904fad511e2fdac993ffd5644d6ffe",
        ),
        _released(
            "MSD", "musicnn", roc_auc=88.02, pr_auc=28.91,
            weights_sha256="763cf88ccf6bb999b779de2972ca00e07e1a51e4ffa492f00d0cecb836892b27",
            graph_sha256="049350a00b16fb933f539cb93be50e0b00aba0f815f0db215a517f7ad11d041e",
        ),
        _released(
            "MTT", "vgg", roc_auc=90.30, pr_auc=38.23,
            weights_sha256="56d88ab18d1bde381649fb0d4eb67084192aa050966c7962acdf37800ae74720",
            graph_sha256="44e98ae6867b9f2f0be04b906110782272db8a1910661e2ad0d6a0373cc9cf55",
        ),
        _released(
            "MSD", "vgg", roc_auc=87.68, pr_auc=28.19,
            weights_sha256="bf1b492dceb22ea6e9ec99c334803e5ff2cf997fea5679635fcb86141e706573",
            graph_sha256="c6b2828116b48a135ce64560a0bc87fd28f96d2d3a3463e7fc60cea0df6ddac6",
        ),
    )
}  # fmt: skip
"""All pretrained models by name."""

DEFAULT_MODEL = "MTT_musicnn"


def get_preset(name: str) -> Preset:
    """Look up a pretrained model.

    Raises
    ------
    UnknownNameError
        If there is none of that name; the message suggests the nearest ones.
    ArgumentError
        If the name is that of an architecture, which has no weights.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name in ARCHITECTURES:
        raise ArgumentError(
            f"{name!r} is an architecture without pretrained weights; "
            f"build_model({name!r}) makes an untrained one, and there are pretrained: "
            + ", ".join(PRESETS)
        )
    raise UnknownNameError("model", name, PRESETS)


def list_models(pattern: str | None = None, *, pretrained: bool | None = True) -> list[str]:
    """Names of the models.

    Parameters
    ----------
    pattern : str, optional
        With shell wildcards, for instance ``"MTT_*"``; upper and lower case count the same.
    pretrained : bool or None
        True for those that :func:`musicnn_zoo.load_model` loads with weights, False for the
        architectures that :func:`musicnn_zoo.build_model` builds without, None for both.

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
    names = [
        *(PRESETS if pretrained is not False else ()),
        *(ARCHITECTURES if not pretrained else ()),
    ]
    if pattern is None:
        return names
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), pattern.lower())]


@dataclass(frozen=True)
class ModelInfo:
    """What there is to know about a model without loading it.

    Parameters
    ----------
    name : str
    pretrained : bool
        Whether there are weights. An architecture has none, and what concerns training and
        weights below is empty.
    input : str
        Kind of input.
    frontend, midend, backend : str
        Names of the blocks; ``midend`` may be empty.
    sample_rate : int
        Of the input in Hz.
    patch_s : float
        Length of the patches that the model was trained on or is made for, in seconds.
    fixed_length : bool
        Whether it takes patches of that length only.
    endpoints : tuple of str
        Layers that `features` and `embed` offer.
    parameters : int
        Trainable parameters, with 50 tags.
    receptive_field_s : float
        Seconds of audio that one frame before the back-end comes from; may be infinite.
    paper : str
        Where the architecture was described.
    tags : tuple of str
    trained_on : str
    metrics : dict of str to float
        Published figures in percent, see :class:`Preset`.
    source, license, citation, sha256 : str
        Of the weights.
    """

    name: str
    pretrained: bool
    input: str
    frontend: str
    midend: str
    backend: str
    sample_rate: int
    patch_s: float
    fixed_length: bool
    endpoints: tuple[str, ...]
    parameters: int
    receptive_field_s: float
    paper: str
    tags: tuple[str, ...] = ()
    trained_on: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    source: str = ""
    license: str = ""
    citation: str = ""
    sha256: str = ""

    @property
    def architecture(self) -> str:
        """Front-end, mid-end and back-end in one line."""
        return " → ".join(filter(None, (self.frontend, self.midend, self.backend)))

    def __str__(self) -> str:
        length = f"{self.patch_s:.3f} s" + ("" if self.fixed_length else " or any other length")
        seen = self.receptive_field_s
        rows = {
            "pretrained": "yes" if self.pretrained else "no: build_model makes an untrained one",
            "architecture": self.architecture,
            "paper": self.paper,
            "input": f"{self.input}, patches of {length}",
            "receptive field": f"{seen:.3f} s" if math.isfinite(seen) else "the whole input",
            "parameters": f"{self.parameters:,}",
            "endpoints": ", ".join(self.endpoints),
        }
        if self.pretrained:
            rows |= {
                "trained on": self.trained_on,
                "ROC-AUC, PR-AUC": " %, ".join(f"{v:.2f}" for v in self.metrics.values()) + " %",
                "tags": ", ".join(self.tags),
                "weights": f"{self.source}, {self.license} licence, SHA-256 {self.sha256}",
                "citation": self.citation,
            }
        width = max(map(len, rows)) + 2
        lines = [f"  {key:{width}}{value}" for key, value in rows.items()]
        return "\n".join([self.name, *lines])


def model_info(name: str) -> ModelInfo:
    """Describe a model: tags, sample rate, licence, citation, published figures, source.

    Parameters
    ----------
    name : str
        A pretrained model or an architecture: one of ``list_models(pretrained=None)``.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    """
    from musicnn_zoo.patches import patch_grid

    if name not in PRESETS and name not in ARCHITECTURES:
        raise UnknownNameError("model", name, list_models(pretrained=None))
    preset = PRESETS.get(name)
    architecture = preset.architecture if preset else ARCHITECTURES[name]
    config = architecture.config
    info = ModelInfo(
        name=name,
        pretrained=preset is not None,
        input=architecture.describe_input(),
        frontend=config.frontend.kind,
        midend=config.midend.kind if config.midend else "",
        backend=config.backend.kind,
        sample_rate=config.input.sample_rate,
        patch_s=patch_grid(config).patch_s,
        fixed_length=config.fixed_length,
        endpoints=config.endpoints,
        parameters=architecture.parameters,
        receptive_field_s=architecture.receptive_field_s,
        paper=architecture.paper,
    )
    if preset is None:
        return info
    return replace(
        info,
        tags=preset.tags,
        trained_on=preset.trained_on,
        metrics=dict(preset.metrics),
        source=preset.source,
        license=preset.license,
        citation=preset.citation,
        sha256=preset.weights.sha256,
    )
