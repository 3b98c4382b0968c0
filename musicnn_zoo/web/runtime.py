"""Find what a page needs of npm, in pinned versions: onnxruntime-web and mediabunny.

The first computes the models in a browser, the second takes recordings apart, which the browser
then decodes piece by piece. They are 15 MB, which the wheel and the repository would have to carry
in each version, and only those who write a page need them. So they are found when they are needed:
in the cache of this package, in what the user names, by npm, or at a public address of npm
packages. Wherever they come from, each file must have the SHA-256 that stands here, and is kept in
the cache.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from musicnn_zoo.errors import ArgumentError, DownloadError, WeightsError
from musicnn_zoo.files import replacing, sha256_of
from musicnn_zoo.machine.installation import cache_lock, own_folder
from musicnn_zoo.text import first_line
from musicnn_zoo.zoo.catalogue import WebFile
from musicnn_zoo.zoo.downloads import fetch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NpmPackage:
    """A package of npm, and what is needed of it.

    Parameters
    ----------
    name, version : str
    purpose : str
        What it does, in words.
    files : mapping of str to str
        SHA-256 of each file, by its path in the package.
    """

    name: str
    version: str
    purpose: str
    files: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def archive(self) -> str:
        """What ``npm pack`` calls it."""
        return f"{self.name}-{self.version}.tgz"

    @property
    def folder(self) -> Path:
        """Where its files are kept in the cache."""
        return own_folder(f"{self.name}-{self.version}")


ONNXRUNTIME = NpmPackage(
    "onnxruntime-web", "1.30.0", "which computes the models in a browser",
    {
        "dist/ort.wasm.min.mjs":
            "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
        "dist/ort-wasm-simd-threaded.mjs":
            "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
        "dist/ort-wasm-simd-threaded.wasm":
            "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    },
)  # fmt: skip
MEDIABUNNY = NpmPackage(
    "mediabunny", "1.61.0", "which takes recordings apart in a browser",
    {
        "dist/bundles/mediabunny.min.mjs":
            "fa696c53494b6b09a8b310ec51e3c44a59e79513234fb832255a38c686162009",
        "LICENSE": "3f3d9e0024b1921b067d6f7f88deb4a60cbe7a78e76c64e3f1d7fc3b779b9d04",
    },
)  # fmt: skip
PACKAGES = (ONNXRUNTIME, MEDIABUNNY)

ADDRESS = "https://cdn.jsdelivr.net/npm"
_LARGEST = 2**26
_NPM_PATIENCE_S = 300.0

Read = Callable[[str], bytes]
"""Gives the content of a file of a package; an OSError or KeyError if it is not there."""
Opened = contextlib.AbstractContextManager[tuple[str, Read]]


def find_runtime(place: Path | None = None) -> dict[str, dict[str, Path]]:
    """Find the files of :data:`PACKAGES`, and keep them in the cache.

    Parameters
    ----------
    place : Path, optional
        onnxruntime-web: what ``npm pack`` writes, or a folder that has it or its files, for
        instance ``node_modules``. mediabunny is taken from the same folder if it is there, too.
        By default they are taken from the cache, from npm, or from the network, whichever has
        them first.

    Returns
    -------
    dict of str to dict of str to Path
        By the names of the packages and of their files, without folders.

    Raises
    ------
    ArgumentError
        If there is no such place, or it has other files.
    DownloadError
        If no place is named and the files cannot be had.
    """
    return {package.name: _find(package, place) for package in PACKAGES}


def _find(package: NpmPackage, place: Path | None) -> dict[str, Path]:
    own = None if place is None else _place_of(package, place)
    with cache_lock(package.folder.name, ".lock"):
        if own is not None:
            _keep(package, _reader_of(package, own))
        elif _kept(package) is None:
            _obtain(package)
        kept = _kept(package)
    if kept is None:
        raise DownloadError(
            f"{package.folder}: {package.name} is not as it was written a moment ago; try again"
        )
    return kept


def _place_of(package: NpmPackage, place: Path) -> Path | None:
    """Return where a package lies, if that is in or beside what the user named."""
    if package is PACKAGES[0] and not place.is_dir():
        return place
    folder = place if place.is_dir() else place.parent
    for name in (package.name, package.archive):
        if (folder / name).exists():
            return folder / name
    return place if package is PACKAGES[0] else None


def _kept(package: NpmPackage) -> dict[str, Path] | None:
    """Return the files of the cache if all are there and as they must be."""
    files = {PurePosixPath(path).name: digest for path, digest in package.files.items()}
    with contextlib.suppress(OSError):
        if all(sha256_of(package.folder / name) == digest for name, digest in files.items()):
            return {name: package.folder / name for name in files}
    return None


def _keep(package: NpmPackage, opened: Opened) -> None:
    with opened as (origin, read):
        contents = {path: _checked(package, origin, path, read) for path in package.files}
    folder = own_folder(package.folder.name, make=True)
    for path, content in contents.items():
        name = PurePosixPath(path).name
        with replacing(folder / name, failure="it cannot be kept in the cache") as file:
            file.write(content)


def _checked(package: NpmPackage, origin: str, path: str, read: Read) -> bytes:
    name = PurePosixPath(path).name
    try:
        content = read(path)
    except (OSError, KeyError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ArgumentError(
            f"{origin}: {name} is not in it or cannot be read ({first_line(error)}); give what "
            f"'npm pack {package}' writes"
        ) from error
    received = sha256(content).hexdigest()
    if received != package.files[path]:
        raise ArgumentError(
            f"{origin}: {name} is not that of {package.name} {package.version}; its SHA-256 must "
            f"be {package.files[path]}, received {received}"
        )
    return content


@contextlib.contextmanager
def _reader_of(package: NpmPackage, place: Path) -> Iterator[tuple[str, Read]]:
    origin = str(place)
    if place.is_dir():

        def found(path: str) -> bytes:
            names = path, f"package/{path}", PurePosixPath(path).name
            there = [place / name for name in names if (place / name).is_file()]
            return (there[0] if there else place / path).read_bytes()

        yield origin, found
        return
    try:
        archive = tarfile.open(place)  # noqa: SIM115
    except (OSError, tarfile.TarError) as error:
        raise ArgumentError(
            f"{origin}: must be a folder, or a .tgz as 'npm pack {package}' writes it "
            f"({getattr(error, 'strerror', None) or first_line(error)})"
        ) from error

    def read(path: str) -> bytes:
        member = archive.getmember(f"package/{path}")
        file = archive.extractfile(member) if member.isfile() else None
        if file is None or member.size > _LARGEST:
            raise KeyError(path)
        return file.read()

    with archive:
        yield origin, read


def _obtain(package: NpmPackage) -> None:
    """Fill the cache by npm, or else from the network."""
    failures = []
    for obtain in (_by_npm, _from_network):
        try:
            obtain(package)
        except (ArgumentError, DownloadError, WeightsError) as error:
            _log.info("%s", error)
            failures.append(str(error))
        else:
            return
    raise DownloadError(
        f"{package.name} {package.version}, {package.purpose}, cannot be had: "
        f"{'; '.join(failures)}; without a network, run "
        f"'npm pack {' '.join(map(str, PACKAGES))}' on another machine and name the first file it "
        "writes: --runtime FILE"
    )


def _by_npm(package: NpmPackage) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", str(package), "--pack-destination", folder]
        try:
            subprocess.run(
                command, cwd=folder, check=True, capture_output=True, timeout=_NPM_PATIENCE_S
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise DownloadError(f"npm pack failed ({_said_by(error)})") from error
        packed = next(Path(folder).glob("*.tgz"), None)
        if packed is None:
            raise DownloadError("npm pack wrote no file")
        _keep(package, _reader_of(package, packed))


def _said_by(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").split("\n")
        said = [line for line in lines if line.strip()]
        return said[0].strip() if said else f"status {error.returncode}"
    return first_line(error)


def _from_network(package: NpmPackage) -> None:
    fetched = {
        path: fetch(WebFile(f"{ADDRESS}/{package}/{path}", digest))
        for path, digest in package.files.items()
    }

    @contextlib.contextmanager
    def reader() -> Iterator[tuple[str, Read]]:
        yield ADDRESS, lambda path: fetched[path].read_bytes()

    _keep(package, reader())
    for path in fetched.values():
        path.unlink(missing_ok=True)
