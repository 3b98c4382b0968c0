"""The table of models: what each is, where its weights are, who made it, how good it is."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from musicnn_zoo.errors import ArgumentError, answered, shown
from musicnn_zoo.networks.architectures import ARCHITECTURES, Architecture
from musicnn_zoo.networks.config import ModelConfig, ModelSpec, Provenance

SourceKind = Literal["bundled", "hub", "web"]


@dataclass(frozen=True)
class BundledFile:
    """A file that is installed with the package; its SHA-256 is checked whenever it is loaded."""

    kind: ClassVar[SourceKind] = "bundled"

    name: str
    sha256: str

    @property
    def address(self) -> str:
        """What to call the file in messages."""
        return f"{self.name}, bundled"


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the Hugging Face Hub.

    Parameters
    ----------
    repo : str
        ``"user/repository"``.
    revision : str
        A commit, which pins the file.
    path : str
        Of the file in the repository.
    sha256 : str, optional
        Checked whenever the file is loaded. If it is not known, that of the first download is
        recorded and checked from then on.
    """

    kind: ClassVar[SourceKind] = "hub"

    repo: str
    revision: str
    path: str
    sha256: str | None = None

    @property
    def address(self) -> str:
        """What to call the file in messages."""
        return f"hf://{self.repo}@{self.revision}/{self.path}"


@dataclass(frozen=True)
class WebFile:
    """A file at an address; its SHA-256 is checked whenever it is loaded."""

    kind: ClassVar[SourceKind] = "web"

    url: str
    sha256: str

    @property
    def address(self) -> str:
        """What to call the file in messages."""
        return self.url


WeightsSource = BundledFile | HubFile | WebFile
RemoteFile = HubFile | WebFile


MTT_TAGS: tuple[str, ...] = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast",
    "piano", "ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male",
    "singing", "vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman",
    "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man", "classic", "choir", "voice",
    "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello", "no voice",
    "weird", "country", "metal", "female voice", "choral",
)  # fmt: skip
"""The 50 most frequent tags of MagnaTagATune."""

MSD_TAGS: tuple[str, ...] = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s",
    "alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists",
    "classic rock", "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill",
    "instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic", "experimental",
    "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy",
    "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop",
    "sad", "House", "happy",
)  # fmt: skip
"""The 50 most frequent Last.fm tags of the Million Song Dataset."""

_JAMENDO = {
    "genre": (
        "alternative", "ambient", "atmospheric", "chillout", "classical", "dance", "downtempo",
        "easylistening", "electronic", "experimental", "folk", "funk", "hiphop", "house", "indie",
        "instrumentalpop", "jazz", "lounge", "metal", "newage", "orchestral", "pop", "popfolk",
        "poprock", "reggae", "rock", "soundtrack", "techno", "trance", "triphop", "world",
    ),
    "instrument": (
        "acousticguitar", "bass", "computer", "drummachine", "drums", "electricguitar",
        "electricpiano", "guitar", "keyboard", "piano", "strings", "synthesizer", "violin", "voice",
    ),
    "mood/theme": ("emotional", "energetic", "film", "happy", "relaxing"),
}  # fmt: skip
JAMENDO_TAGS: tuple[str, ...] = tuple(
    f"{category}---{tag}" for category, tags in _JAMENDO.items() for tag in tags
)
"""The 50 most frequent tags of MTG-Jamendo, spelled as in its own files."""

VOCABULARIES = {"MTT": MTT_TAGS, "MSD": MSD_TAGS, "Jamendo": JAMENDO_TAGS}
"""Vocabulary by the name of its data set."""


_PONS = """\
@inproceedings{pons2019musicnn,
  title={musicnn: Pre-trained convolutional neural networks for music audio tagging},
  author={Pons, Jordi and Serra, Xavier},
  booktitle={Late-breaking/demo session in 20th International Society for Music Information
             Retrieval Conference (LBD-ISMIR2019)},
  year={2019}
}"""
_WON = """\
@inproceedings{won2020evaluation,
  title={Evaluation of CNN-based automatic music tagging models},
  author={Won, Minz and Ferraro, Andres and Bogdanov, Dmitry and Serra, Xavier},
  booktitle={Proceedings of the 17th Sound and Music Computing Conference (SMC)},
  year={2020}
}"""
_DATA = {
    "MTT": "MagnaTagATune (Law et al. 2009)",
    "MSD": "Million Song Dataset (Bertin-Mahieux et al. 2011) with Last.fm tags",
    "Jamendo": "MTG-Jamendo (Bogdanov et al. 2019), its 50 most frequent tags",
}
_TEST_SETS = {
    "MTT": "the 5,329 test clips of MagnaTagATune, 997 of them without any tag",
    "MSD": "the test split of the Million Song Dataset with Last.fm tags",
}


@dataclass(frozen=True)
class Preset:
    """One row of :data:`PRESETS`: an architecture with weights.

    Parameters
    ----------
    vocabulary : str
        Name of the tags in :data:`musicnn_zoo.zoo.catalogue.VOCABULARIES`.
    sources : tuple of BundledFile, HubFile or WebFile
        Where the same weights can be found; the first is taken unless another is asked for.
        Bundled ones are in Keras's format, others in PyTorch's.
    graph : BundledFile or None
        The same as an ONNX graph (see :mod:`musicnn_zoo.runtimes.onnx_engine`).
    notice_file : str
        Beside the bundled weights; what must go with copies of these.
    """

    name: str
    architecture: Architecture
    vocabulary: str
    sources: tuple[WeightsSource, ...]
    graph: BundledFile | None
    provenance: Provenance
    notice_file: str = "LICENSE"

    @property
    def config(self) -> ModelConfig:
        """The architecture's configuration."""
        return self.architecture.config

    @cached_property
    def spec(self) -> ModelSpec:
        """What the model computes."""
        return ModelSpec(self.name, self.config, self.tags)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, in the order of the outputs."""
        return VOCABULARIES[self.vocabulary]


_HUB_REPO = "oriyonay/musicnn-pytorch"
_HUB_SAFETENSORS = HubFile(
    _HUB_REPO,
    "7cff1a4f9899825ddba77130899dfac4c8cfe9d5",
    "model.safetensors",
    "cc0b9400fcaed6e9ce7fbcfa97ec91e4fcb5f2ab34ca3a0cd6bef4af74753e1a",
)
_SOTA_ADDRESS = (
    "https://raw.githubusercontent.com/7x11x13/sota-music-tagging-models/"
    "8907dd96f448c7351eb1127cbb2299bcb54b5c73/models"
)


def _hub_checkpoint(name: str) -> HubFile:
    return HubFile(_HUB_REPO, "394be17b3a5c2c2e1bb8a6593cfc3c5557eb8a82", f"weights/{name}.pt")


def _pons(
    name: str,
    roc_auc: float,
    pr_auc: float,
    *elsewhere: HubFile,
    weights: str | None = None,
    graph: str | None = None,
    source: str = "musicnn 0.1.0 on PyPI",
) -> Preset:
    """Row of a model of musicnn; weights and graph are the SHA-256 of bundled files."""
    vocabulary, _, architecture = name.partition("_")
    bundled = (BundledFile(f"{name}.weights.h5", weights),) if weights else ()
    return Preset(
        name,
        ARCHITECTURES[architecture],
        vocabulary,
        sources=(*bundled, *elsewhere),
        graph=BundledFile(f"{name}.onnx", graph) if graph else None,
        provenance=Provenance(
            trained_on=_DATA[vocabulary],
            metrics={"roc_auc": roc_auc, "pr_auc": pr_auc},
            test_set=_TEST_SETS[vocabulary],
            source=source,
            license="ISC",
            citation=_PONS,
        ),
    )


def _won(name: str, folder: str, sha256: str) -> Preset:
    vocabulary, _, architecture = name.partition("_")
    return Preset(
        name,
        ARCHITECTURES["musicnn_won" if architecture == "musicnn" else architecture],
        vocabulary,
        sources=(WebFile(f"{_SOTA_ADDRESS}/{folder}/best_model.pth", sha256),),
        graph=None,
        provenance=Provenance(
            trained_on=_DATA[vocabulary],
            source="sota-music-tagging-models",
            license="MIT",
            citation=_WON,
        ),
        notice_file="LICENSE-sota-music-tagging-models",
    )


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _pons(
            "MTT_musicnn", 90.67, 38.31, _HUB_SAFETENSORS,
            weights="ac89e972d5e17b62a7467966411614221dedde730908ba18ae82d03109ef8cbd",
            graph="998636d11be8a631c416240df6dd083b442876071d7b4fa3c6784531559749f0",
        ),
        _pons(
            "MSD_musicnn", 88.02, 28.91, _hub_checkpoint("MSD_musicnn"),
            weights="763cf88ccf6bb999b779de2972ca00e07e1a51e4ffa492f00d0cecb836892b27",
            graph="6755d97c6bc52afff9758942f8ceb4586e3342f66a8ec5ad05e8e7d6d84306e3",
        ),
        _pons(
            "MTT_vgg", 90.30, 38.23,
            weights="56d88ab18d1bde381649fb0d4eb67084192aa050966c7962acdf37800ae74720",
            graph="ee0edd1a6cbba058dc322355598b66eaa7a360aef4e10d6741d120568923f650",
        ),
        _pons(
            "MSD_vgg", 87.68, 28.19,
            weights="bf1b492dceb22ea6e9ec99c334803e5ff2cf997fea5679635fcb86141e706573",
            graph="0f8dc5d9fe36ef036dc35db2e89acb6fc645ec42bde0c656f42a6e800c1bd60e",
        ),
        _pons(
            "MSD_musicnn_big", 88.41, 30.03, _hub_checkpoint("MSD_musicnn_big"),
            source=f"musicnn, converted to PyTorch in {_HUB_REPO} (whose card says Apache-2.0)",
        ),
        _won("MTT_fcn", "mtat/fcn",
             "e89d751202d38c3ae69855782bc27010f87051958dbec64f5aa762364dbac271"),
        _won("MSD_fcn", "msd/fcn",
             "6012aa7eecf864a8081faedca56af054521e8dfb9c5c98659a3dd5d3e1e66f21"),
        _won("Jamendo_fcn", "jamendo/fcn",
             "7bce08a66dbc70d096b0a330f44b4cacd9aa25519b83489fbb98f2164a194e2b"),
        _won("MTT_crnn", "mtat/crnn",
             "cd22fc70cafd06f8f2bfc7dd795abccb1f4b50d5b09094c39ad100baf87475a3"),
        _won("MSD_crnn", "msd/crnn",
             "ebb99855ed0c83f38845db9cfb383dd6fc70938bc58701dcb66e18af9ee7fbea"),
        _won("Jamendo_crnn", "jamendo/crnn",
             "0a558989c0793f488cb677d188464c91f47c007f7c70473230e55537ca598215"),
        _won("MTT_musicnn_won", "mtat/musicnn",
             "690ace3bb5d49d90dd38fe3ec05a1185350b3bc3742bd7ee941f56b649b2c893"),
        _won("Jamendo_musicnn", "jamendo/musicnn",
             "66280f4859376377c47f64313c7ac889a3201fdb06a01bf6e94ac6e619081bb5"),
    )
}  # fmt: skip
"""All pretrained models by name."""

DEFAULT_MODEL = "MTT_musicnn"


@answered
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
    if not isinstance(pattern, str | None):
        raise ArgumentError(f"pattern must be a text such as 'MTT_*'; received {shown(pattern)}")
    names = [
        *(PRESETS if pretrained is not False else ()),
        *(ARCHITECTURES if not pretrained else ()),
    ]
    if pattern is None:
        return names
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), pattern.lower())]
