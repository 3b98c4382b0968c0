"""Find onnxruntime-web, which computes the models in a browser, in one pinned version.

Its WebAssembly is 14 MB and would double the wheel, and only those who write a page need it. So it
is not in the wheel, but found when it is needed: in the cache of this package, in what the user
names, by npm, or at a public address of npm packages. Whatever it comes from, each file must have
the SHA-256 that stands here, and is kept in the cache.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from musicnn_zoo.errors import ArgumentError, DownloadError, WeightsError
from musicnn_zoo.files import replacing, sha256_of
from musicnn_zoo.machine.installation import cache_lock, own_folder
from musicnn_zoo.text import first_line
from musicnn_zoo.zoo.catalogue import WebFile
from musicnn_zoo.zoo.downloads import fetch

_log = logging.getLogger(__name__)

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs":
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm":
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}  # fmt: skip
"""What is needed of the package's folder ``dist``, and the SHA-256 of each."""

ADDRESS = f"https://cdn.jsdelivr.net/npm/{PACKAGE}@{VERSION}/dist"
_FOLDER = f"{PACKAGE}-{VERSION}"
_LARGEST = 2**26
_NPM_PATIENCE_S = 300.0

Read = Callable[[str], bytes]
"""Gives the content of one of :data:`FILES`; an OSError or KeyError if it is not there."""


def find_runtime(place: Path | None = None) -> dict[str, Path]:
    """Find the files of onnxruntime-web, and keep them in the cache.

    Parameters
    ----------
    place : Path, optional
        What ``npm pack onnxruntime-web@1.30.0`` writes, or a folder that has the files, for
        instance ``node_modules/onnxruntime-web``. By default they are taken from the cache, from
        npm, or from the network, whichever has them first.

    Returns
    -------
    dict of str to Path
        By the names in :data:`FILES`.

    Raises
    ------
    ArgumentError
        If there is no such place, or it has other files.
    DownloadError
        If no place is named and the files cannot be had.
    """
    with cache_lock(_FOLDER, ".lock"):
        if place is not None:
            _keep(lambda: _reader_of(place))
        elif _kept() is None:
            _obtain()
        kept = _kept()
    if kept is None:
        raise DownloadError(
            f"{own_folder(_FOLDER)}: {PACKAGE} is not as it was written a moment ago; try again"
        )
    return kept


def _kept() -> dict[str, Path] | None:
    """Return the files of the cache if all are there and as they must be."""
    folder = own_folder(_FOLDER)
    files = {name: folder / name for name in FILES}
    with contextlib.suppress(OSError):
        if all(sha256_of(path) == FILES[name] for name, path in files.items()):
            return files
    return None


def _keep(open_place: Callable[[], contextlib.AbstractContextManager[tuple[str, Read]]]) -> None:
    with open_place() as (origin, read):
        contents = {name: _checked(origin, name, read) for name in FILES}
    folder = own_folder(_FOLDER, make=True)
    for name, content in contents.items():
        with replacing(folder / name, failure="it cannot be kept in the cache") as file:
            file.write(content)


def _checked(origin: str, name: str, read: Read) -> bytes:
    try:
        content = read(name)
    except (OSError, KeyError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ArgumentError(
            f"{origin}: {name} is not in it or cannot be read ({first_line(error)}); give what "
            f"'npm pack {PACKAGE}@{VERSION}' writes"
        ) from error
    received = sha256(content).hexdigest()
    if received != FILES[name]:
        raise ArgumentError(
            f"{origin}: {name} is not that of {PACKAGE} {VERSION}; its SHA-256 must be "
            f"{FILES[name]}, received {received}"
        )
    return content


@contextlib.contextmanager
def _reader_of(place: Path) -> Iterator[tuple[str, Read]]:
    origin = str(place)
    if place.is_dir():
        folder = next((each for each in (place / "dist", place / "package" / "dist")
                       if each.is_dir()), place)  # fmt: skip
        yield origin, lambda name: (folder / name).read_bytes()
        return
    try:
        archive = tarfile.open(place)  # noqa: SIM115
    except (OSError, tarfile.TarError) as error:
        raise ArgumentError(
            f"{origin}: must be a folder, or a .tgz as 'npm pack {PACKAGE}@{VERSION}' writes it "
            f"({getattr(error, 'strerror', None) or first_line(error)})"
        ) from error

    def read(name: str) -> bytes:
        member = archive.getmember(f"package/dist/{name}")
        file = archive.extractfile(member) if member.isfile() else None
        if file is None or member.size > _LARGEST:
            raise KeyError(name)
        return file.read()

    with archive:
        yield origin, read


def _obtain() -> None:
    """Fill the cache by npm, or else from the network."""
    failures = []
    for obtain in (_by_npm, _from_network):
        try:
            obtain()
        except (ArgumentError, DownloadError, WeightsError) as error:
            _log.info("%s", error)
            failures.append(str(error))
        else:
            return
    raise DownloadError(
        f"{PACKAGE} {VERSION}, which computes the models in a browser, cannot be had: "
        f"{'; '.join(failures)}; without a network, run 'npm pack {PACKAGE}@{VERSION}' on another "
        "machine and name the file it writes: --runtime FILE"
    )


def _by_npm() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", folder]
        try:
            subprocess.run(
                command, cwd=folder, check=True, capture_output=True, timeout=_NPM_PATIENCE_S
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise DownloadError(f"npm pack failed ({_said_by(error)})") from error
        packed = next(Path(folder).glob("*.tgz"), None)
        if packed is None:
            raise DownloadError("npm pack wrote no file")
        _keep(lambda: _reader_of(packed))


def _said_by(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").split("\n")
        said = [line for line in lines if line.strip()]
        return said[0].strip() if said else f"status {error.returncode}"
    return first_line(error)


def _from_network() -> None:
    fetched = {name: fetch(WebFile(f"{ADDRESS}/{name}", digest)) for name, digest in FILES.items()}

    @contextlib.contextmanager
    def reader() -> Iterator[tuple[str, Read]]:
        yield ADDRESS, lambda name: fetched[name].read_bytes()

    _keep(reader)
    for path in fetched.values():
        path.unlink(missing_ok=True)
