"""Where a file of weights lies, as data; :mod:`musicnn_zoo.zoo.downloads` fetches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

SourceKind = Literal["bundled", "hub", "web"]
SOURCE_KINDS: tuple[SourceKind, ...] = get_args(SourceKind)


@dataclass(frozen=True)
class BundledFile:
    """A file that is installed with the package.

    Parameters
    ----------
    name : str
    sha256 : str
        Checked whenever the file is loaded.
    """

    kind: ClassVar[SourceKind] = "bundled"

    name: str
    sha256: str

    @property
    def address(self) -> str:
        """The file, for people."""
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
        """The file, for people."""
        return f"hf://{self.repo}@{self.revision}/{self.path}"


@dataclass(frozen=True)
class WebFile:
    """A file at an address.

    Parameters
    ----------
    url : str
    sha256 : str
        Checked whenever the file is loaded.
    """

    kind: ClassVar[SourceKind] = "web"

    url: str
    sha256: str

    @property
    def address(self) -> str:
        """The file, for people."""
        return self.url


WeightsSource = BundledFile | HubFile | WebFile
RemoteFile = HubFile | WebFile
