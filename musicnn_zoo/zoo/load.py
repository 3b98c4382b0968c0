"""Find a model with weights, by its name, in a folder or on the Hub; load it, describe it."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from musicnn_zoo.errors import (
    ArgumentError,
    UnknownNameError,
    UploadError,
    WeightsError,
    answered,
    check_path,
    check_tagging_model,
    one_model_hint,
    shown,
)
from musicnn_zoo.files import sha256_of
from musicnn_zoo.machine import __version__
from musicnn_zoo.machine.installation import require_keras
from musicnn_zoo.machine.processes import refuse_forked_tensorflow
from musicnn_zoo.networks.architectures import ARCHITECTURES, Architecture
from musicnn_zoo.networks.config import ModelSpec, Provenance, TagThresholds
from musicnn_zoo.zoo.catalogue import (
    DEFAULT_MODEL,
    PRESETS,
    BundledFile,
    Preset,
    SourceKind,
    list_models,
)
from musicnn_zoo.zoo.downloads import LIBRARY, explained
from musicnn_zoo.zoo.folder import (
    DEFAULT_REVISION,
    HUB_SCHEME,
    OPTIONAL,
    ModelFolder,
    download_folder,
    parse_reference,
    read_folder,
    save_pretrained,
)
from musicnn_zoo.zoo.onnx_file import properties_of
from musicnn_zoo.zoo.weights import (
    PresetWeights,
    bundled,
    bundled_folder,
    limited_weights,
    load_into,
)

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel


ModelPlace = str | os.PathLike[str]


@dataclass(frozen=True)
class KerasFile:
    """The weights in a ``.keras`` file."""

    path: Path

    def digest(self) -> str:
        """Return the SHA-256 of the file."""
        return sha256_of(self.path)

    def fetch(self) -> None:
        """Do nothing: the file is here."""

    def weight_limit(self) -> None:
        """Return None: Keras read the whole file already."""

    def put(self, model: TaggingModel) -> None:
        """Give a model of the same configuration the weights."""
        from musicnn_zoo.networks.build import finish_normalization

        try:
            model.set_weights(_load_keras_file(self.path).get_weights())
        except ValueError as error:
            raise WeightsError(
                f"{self.path}: its layers are not those of its configuration; load it with "
                "keras.saving.load_model"
            ) from error
        finish_normalization(model)


def _load_keras_file(path: Path) -> TaggingModel:
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such .keras file")
    require_keras(f"{path} as a Keras model")
    import keras

    from musicnn_zoo.networks.build import TaggingModel
    from musicnn_zoo.networks.registry import register

    register(keras)
    refuse_forked_tensorflow()
    try:
        model = keras.saving.load_model(path)
    except Exception as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{path}: Keras cannot load it ({why})") from error
    if not isinstance(model, TaggingModel):
        raise WeightsError(
            f"{path}: holds a {type(model).__name__} of Keras, and no model of musicnn_zoo; load "
            "it with keras.saving.load_model"
        )
    return model


@dataclass(frozen=True)
class Pretrained:
    """A model whose weights were found, but not yet loaded; messages call it ``origin``.

    ``graph`` is the same model as an ONNX graph, if there is one.
    """

    origin: str
    spec: ModelSpec
    provenance: Provenance
    weights: PresetWeights | ModelFolder | KerasFile
    graph: BundledFile | None = None

    def digest(self) -> str:
        """Return a SHA-256 that changes with what the model computes."""
        return self.weights.digest()

    @property
    def folder(self) -> Path | None:
        """The folder that holds it, if one does."""
        return self.weights.path if isinstance(self.weights, ModelFolder) else None

    def fetch(self) -> None:
        """Download what :meth:`load` needs, unless it is there.

        It does so without Keras, which takes seconds to import.
        """
        self.weights.fetch()

    def load(self) -> TaggingModel:
        """Build the model with its weights.

        A MissingPackageError is raised if Keras is not installed, a DownloadError or a WeightsError
        if the weights cannot be loaded or do not fit.
        """
        if sys.modules.get("keras") is None:
            require_keras(f"{self.origin} as a Keras model")
        self.fetch()
        from musicnn_zoo.networks.build import build_model

        refuse_forked_tensorflow()
        spec = self.spec
        try:
            with limited_weights(self.weights.weight_limit()):
                model = build_model(
                    spec.config, tags=spec.tags, name=spec.name, provenance=self.provenance,
                    thresholds=spec.thresholds,
                )  # fmt: skip
        except ArgumentError as error:
            raise WeightsError(f"{self.origin}: refused: {error}") from error
        self.weights.put(model)
        return model


def find_pretrained(model: ModelPlace, *, source: SourceKind | None = None) -> Pretrained:
    """Find a model with weights, without Keras; see :func:`load_model`.

    It raises what that raises before weights are read.
    """
    _check_place(model)
    if isinstance(model, str) and not looks_like_place(model):
        preset = _preset_of(model)
        weights = PresetWeights(preset, source)
        graph = preset.graph if weights.is_first else None
        return Pretrained(preset.name, preset.spec, _with_notice(preset), weights, graph)
    if source is not None:
        raise ArgumentError(f"source goes with the name of a model; received {os.fspath(model)!r}")
    if isinstance(model, str) and model.startswith(HUB_SCHEME):
        folder, origin = download_folder(model)
    else:
        folder, origin = Path(model).expanduser(), os.fspath(model)
        if folder.suffix == ".keras":
            loaded = _load_keras_file(folder)
            return Pretrained(origin, loaded.spec, loaded.provenance, KerasFile(folder))
    contents = read_folder(folder, origin=origin)
    return Pretrained(origin, contents.spec, contents.provenance, contents)


def _check_place(model: object) -> None:
    if not isinstance(model, str | os.PathLike):
        raise ArgumentError(
            "model must be the name of a model, a folder or hf://user/repository; received "
            f"{shown(model)}{one_model_hint(model)}"
        )


def _preset_of(name: str) -> Preset:
    """Look up a pretrained model."""
    if name in PRESETS:
        return PRESETS[name]
    if name in ARCHITECTURES:
        raise ArgumentError(
            f"{name!r} is an architecture without pretrained weights; "
            f"build_model({name!r}) makes an untrained one, and there are pretrained: "
            + ", ".join(PRESETS)
        )
    raise UnknownNameError("model", name, PRESETS)


@cache
def _with_notice(preset: Preset) -> Provenance:
    """Provenance with what must go with copies of the weights."""
    notice = bundled_folder() / preset.notice_file
    return replace(preset.provenance, notice=notice.read_text(encoding="utf-8"))


def looks_like_place(model: str) -> bool:
    """Whether a string is an address of the Hub or a path, and not the name of a model."""
    if model in PRESETS or model in ARCHITECTURES:
        return False
    is_path = "/" in model or os.sep in model or model in (os.curdir, os.pardir)
    is_path = is_path or model.endswith(".keras")
    return is_path or Path(model).is_dir()


@answered
def load_model(
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    source: SourceKind | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> TaggingModel:
    """Load a pretrained model.

    Parameters
    ----------
    model : str or path
        One of :func:`musicnn_zoo.list_models`, by default ``"MTT_musicnn"``;
        ``"hf://user/repository"`` or ``"hf://user/repository@revision"``, a model on the Hugging
        Face Hub; or a folder. The last two are as :func:`musicnn_zoo.save_pretrained` writes them;
        loading them runs no code of theirs. Or a ``.keras`` file that ``model.save`` wrote.
    source : {"bundled", "hub", "web"}, optional
        Where to take the weights of a model of the list from, if there are several sources; by
        default from the package if they are bundled. What is downloaded is kept.
    weights : str or path, optional
        A local file of weights for a model of the list instead of its own: .weights.h5 of
        Keras, .safetensors, or a PyTorch checkpoint .pt or .pth of the families in
        :mod:`musicnn_zoo.zoo.weights` (``pip install "musicnn-zoo[torch]"``).

    Returns
    -------
    TaggingModel
        A functional ``keras.Model`` from waveforms ``(batch, samples)``, float in ±1 at
        ``model.zoo_config.input.sample_rate``, to tag probabilities ``(batch, tags)``. ``musicnn``
        takes any number of samples from 512 on and was trained on 48,128; ``vgg`` takes 48,128
        only. The tags are in ``model.tags``, the layers worth looking at in ``model.endpoints``,
        and what it was trained on in ``model.provenance``.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    ArgumentError
        If ``source`` or ``weights`` do not go with the model.
    WeightsError
        If a file of weights is missing, damaged, not the one it should be, or does not fit.
    DownloadError
        If a file cannot be downloaded.

    References
    ----------
    Pons, Serra. "musicnn: Pre-trained convolutional neural networks for music audio
    tagging." ISMIR late-breaking 2019. Won, Ferraro, Bogdanov, Serra. "Evaluation of CNN-based
    automatic music tagging models." SMC 2020.

    Examples
    --------
    >>> import musicnn_zoo
    >>> model = musicnn_zoo.load_model("MTT_musicnn")
    >>> model.output_shape
    (None, 50)
    """
    _check_place(model)
    if weights is None:
        return find_pretrained(model, source=source).load()
    check_path("weights", weights)
    if source is not None:
        raise ArgumentError(
            f"source and weights exclude each other; received source={source!r} and "
            f"weights={os.fspath(weights)!r}"
        )
    preset, path = _preset_of(os.fspath(model)), Path(weights)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file of weights")
    from musicnn_zoo.networks.build import build_model

    ours = {file.sha256 for file in preset.sources}
    provenance = find_pretrained(preset.name).provenance if sha256_of(path) in ours else None
    built = build_model(preset.config, tags=preset.tags, name=preset.name, provenance=provenance)
    load_into(built, path)
    return built


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
    if not isinstance(model, str | os.PathLike):
        check_tagging_model(model)
    from huggingface_hub import HfApi

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


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model.

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
        Trainable parameters; of an architecture, with 50 tags.
    receptive_field_s : float
        Seconds of audio that one frame before the back-end comes from; may be infinite.
    paper : str
        Where the architecture was described.
    tags : tuple of str
    thresholds : TagThresholds or None
        From what score on each tag is given, if that was calibrated.
    trained_on : str
    metrics : dict of str to float
    test_set, source, license, citation : str
        See :class:`musicnn_zoo.networks.config.Provenance`; ``metrics`` are as published, and empty
        where no figures could be checked.
    weights, sha256 : str
        Where the weights are, and their digest if it is known beforehand.
    filters : dict of str to (int, int)
        How many filters of each convolution of a bundled graph do anything, and of how many; the
        others are constant whatever is played, and left out by
        :mod:`musicnn_zoo.runtimes.pruning`. Empty if the model has no bundled graph.
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
    thresholds: TagThresholds | None = None
    trained_on: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    test_set: str = ""
    source: str = ""
    license: str = ""
    citation: str = ""
    weights: str = ""
    sha256: str = ""
    filters: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """Front-end, mid-end and back-end in one line."""
        return " → ".join(filter(None, (self.frontend, self.midend, self.backend)))

    def describe_filters(self) -> str:
        """Return how many filters do anything, for people."""
        alive, of = (sum(counts) for counts in zip(*self.filters.values(), strict=True))
        each = ", ".join(f"{name} {some}/{all_}" for name, (some, all_) in self.filters.items())
        return f"{alive} of {of}: {each}"

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
            if self.filters:
                rows["filters alive"] = self.describe_filters()
            figures = " %, ".join(f"{figure:.2f}" for figure in self.metrics.values())
            rows |= {
                "trained on": self.trained_on,
                "ROC-AUC, PR-AUC": f"{figures} % on {self.test_set}" if figures else "",
                "tags": ", ".join(self.tags),
                "thresholds": "none" if self.thresholds is None else self.thresholds.describe(),
                "weights": self.weights,
                "SHA-256": self.sha256,
                "source": self.source,
                "licence": self.license,
                "citation": self.citation,
            }
        rows = {key: value or "not stated" for key, value in rows.items()}
        width = max(map(len, rows)) + 2
        lines = [f"  {key:{width}}{value}" for key, value in rows.items()]
        return "\n".join([self.name, *lines])


@answered
def model_info(model: str | os.PathLike[str] = DEFAULT_MODEL) -> ModelInfo:
    """Describe a model: tags, sample rate, licence, citation, published figures, source.

    Parameters
    ----------
    model : str or path
        A pretrained model or an architecture, one of ``list_models(pretrained=None)``; or a
        folder or ``hf://user/repository`` as :func:`musicnn_zoo.save_pretrained` writes it.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    WeightsError
        If a folder does not hold what it must.
    DownloadError
        If the Hugging Face Hub does not give the model.
    """
    _check_place(model)
    if isinstance(model, str) and model in PRESETS:
        preset = PRESETS[model]
        source = preset.sources[0]
        info = _of_trained(
            preset.architecture, preset.spec, preset.provenance, source.address, source.sha256 or ""
        )
        return info if preset.graph is None else replace(info, filters=_filters_in(preset.graph))
    if isinstance(model, str) and model in ARCHITECTURES:
        return _of_architecture(ARCHITECTURES[model])
    if isinstance(model, str) and not looks_like_place(model):
        raise UnknownNameError("model", model, list_models(pretrained=None))
    pretrained = find_pretrained(model)
    built = pretrained.load()
    from musicnn_zoo.networks.build import receptive_field

    architecture = Architecture(
        name=pretrained.spec.name,
        config=pretrained.spec.config,
        paper="",
        parameters=sum(math.prod(weight.shape) for weight in built.trainable_weights),
        receptive_field_s=receptive_field(pretrained.spec.config),
    )
    return _of_trained(
        architecture, pretrained.spec, pretrained.provenance, os.fspath(model), pretrained.digest()
    )


def _of_architecture(architecture: Architecture) -> ModelInfo:
    config = architecture.config
    return ModelInfo(
        name=architecture.name,
        pretrained=False,
        input=architecture.describe_input(),
        frontend=config.frontend.kind,
        midend=config.midend.kind if config.midend else "",
        backend=config.backend.kind,
        sample_rate=config.input.sample_rate,
        patch_s=config.grid.patch_s,
        fixed_length=config.fixed_length,
        endpoints=config.endpoints,
        parameters=architecture.parameters,
        receptive_field_s=architecture.receptive_field_s,
        paper=architecture.paper,
    )


def _filters_in(graph: BundledFile) -> dict[str, tuple[int, int]]:
    try:
        properties = properties_of(bundled(graph).read_bytes())
    except WeightsError:  # which whoever uses the graph will hear of
        return {}
    counts = json.loads(properties["filters"])
    return {name: (alive, of) for name, (alive, of) in counts.items()}


def _of_trained(
    architecture: Architecture, spec: ModelSpec, provenance: Provenance, weights: str, sha256: str
) -> ModelInfo:
    said = provenance.to_dict()
    del said["notice"]
    return replace(
        _of_architecture(architecture), name=spec.name, pretrained=True, tags=spec.tags,
        thresholds=spec.thresholds, weights=weights, sha256=sha256, **said,
    )  # fmt: skip
