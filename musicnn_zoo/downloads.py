"""Fetch files from the Hugging Face Hub and from pinned addresses, and verify them.

Files of the Hub lie in the cache of ``huggingface_hub``, which other programs share, and follow
its settings: ``HF_HOME``, ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE`` and the proxies. Others
lie in the folder of :mod:`musicnn_zoo.cache`. What was downloaded once is not asked for
again, and processes that want the same file wait for one download.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from musicnn_zoo.cache import cache_folder
from musicnn_zoo.errors import DownloadError, WeightsError
from musicnn_zoo.sources import HubFile, RemoteFile, WebFile

_log = logging.getLogger(__name__)

LIBRARY = "musicnn-zoo"
PAUSES_S = (1.0, 3.0)
"""Before the second and the third try, besides those of ``huggingface_hub`` itself."""

RANGE_NOT_SATISFIABLE = 416

_SHA256 = re.compile(r"[0-9a-f]{64}")
Value = TypeVar("Value")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(file: RemoteFile) -> Path:
    """Return the path of a file that was downloaded, now or before, and verify it.

    A file with another SHA-256 than it must have, or than it had at its first download, is
    removed and downloaded once more.

    Raises
    ------
    DownloadError
        If it cannot be downloaded.
    WeightsError
        If what is downloaded is not the file that it should be.
    """
    path = _download(file)
    expected = file.sha256 or _recorded(file) or _stated_by_hub(path)
    received = sha256_of(path)
    if expected not in (None, received):
        _log.warning("%s has another SHA-256 than it must have; downloading it again", path)
        _forget(path)
        path = _download(file)
        received = sha256_of(path)
        if received != expected:
            _forget(path)
            raise WeightsError(
                f"{file.address}: the file is not the one it should be; its SHA-256 must be "
                f"{expected}, received {received}: it was changed at its source or on the way, "
                "and was not kept"
            )
    if file.sha256 is None:
        _record(file, received)
    return path


def _download(file: RemoteFile) -> Path:
    return _from_hub(file) if isinstance(file, HubFile) else _from_web(file)


def hub_commit(repo: str, revision: str, path: str) -> str:
    """Commit that a revision of a repository stands for, by fetching one of its files."""
    pinned = _from_hub(HubFile(repo, revision, path))
    return pinned.relative_to(_snapshots(pinned)).parts[0]


def _snapshots(pointer: Path) -> Path:
    return next(parent for parent in pointer.parents if parent.name == "snapshots")


def _from_hub(file: HubFile) -> Path:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    from musicnn_zoo import __version__

    def download() -> Path:
        return Path(
            hf_hub_download(
                file.repo, file.path, revision=file.revision,
                library_name=LIBRARY, library_version=__version__,
            )
        )  # fmt: skip

    with explained(file.address, DownloadError):
        try:
            return _patiently(download)
        except Exception as error:
            cached = try_to_load_from_cache(file.repo, file.path, revision=file.revision)
            if not _is_passing(error) or not isinstance(cached, str):
                raise
            _log.warning("%s: %s; taking the file of an earlier download", file.address, error)
            return Path(cached)


def _from_web(file: WebFile) -> Path:
    from filelock import FileLock
    from huggingface_hub.file_download import http_get

    name = file.url.rpartition("/")[2]
    path = cache_folder() / "downloads" / f"{file.sha256[:16]}-{name}"
    if path.is_file():
        return path
    unfinished = path.with_name(f"{path.name}.incomplete")

    def download() -> None:
        try:
            with unfinished.open("ab") as target:
                http_get(file.url, target, resume_size=target.tell())
        except Exception as error:
            if _status(error) == RANGE_NOT_SATISFIABLE:
                unfinished.unlink()
            raise

    with explained(file.url, DownloadError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                _patiently(download)
                unfinished.replace(path)
    return path


def _forget(path: Path) -> None:
    """Remove a file from a cache; in that of the Hub it is a link to what it names."""
    for part in {path.resolve(), path}:
        with contextlib.suppress(OSError):
            part.unlink()


def _stated_by_hub(path: Path) -> str | None:
    """SHA-256 that the Hub states for a large file: its cache names the file after it."""
    name = path.resolve().name
    return name if _SHA256.fullmatch(name) else None


def _record_of(file: RemoteFile) -> Path:
    key = hashlib.sha256(file.address.encode()).hexdigest()[:32]
    return cache_folder() / "digests" / f"{key}.json"


def _recorded(file: RemoteFile) -> str | None:
    try:
        digest = json.loads(_record_of(file).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


def _record(file: RemoteFile, sha256: str) -> None:
    record = _record_of(file)
    if record.is_file():
        return
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        unfinished = record.with_suffix(".new")
        unfinished.write_text(json.dumps({"address": file.address, "sha256": sha256}))
        unfinished.replace(record)
    except OSError as error:
        _log.info("the digest of %s cannot be recorded (%s)", file.address, error.strerror)


def _patiently(download: Callable[[], Value]) -> Value:
    """Try again after what may pass: a server that is busy, a connection that was cut."""
    for pause in PAUSES_S:
        try:
            return download()
        except Exception as error:
            if not _is_passing(error):
                raise
            _log.info("%s; trying again in %g s", _first_line(error), pause)
            time.sleep(pause)
    return download()


def _is_passing(error: Exception) -> bool:
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError):
        return False  # was tried several times
    status = _status(error)
    if status is not None:
        return status >= 500 or status in (429, RANGE_NOT_SATISFIABLE)
    incomplete = isinstance(error, OSError) and error.errno is None
    return incomplete or isinstance(error, errors.HTTPError)


def _status(error: BaseException | None) -> int | None:
    """HTTP status that an error, or what caused it, tells of."""
    while error is not None:
        status: Any = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None


@contextlib.contextmanager
def explained(what: str, kind: type[Exception]) -> Iterator[None]:
    """Turn what ``huggingface_hub`` raises into one line with a remedy.

    Parameters
    ----------
    what : str
        Address of what is asked for, at the beginning of the line.
    kind : type
        Of the error raised.
    """
    try:
        yield
    except Exception as error:
        raise kind(f"{what}: {_why(error)}") from error


def _why(error: Exception) -> str:
    from huggingface_hub import constants, errors

    status = _status(error)
    if isinstance(error, errors.GatedRepoError):
        return (
            "the repository is gated; accept its conditions on its page and log in with "
            "'hf auth login', or set HF_TOKEN"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "there is no such repository, or it is private; check its name, and for a private "
            "one log in with 'hf auth login' or set HF_TOKEN"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such revision; name a branch, tag or commit of it"
    if isinstance(error, errors.HFValidationError):
        return f"this is no name of a repository ({_first_line(error)})"
    if constants.HF_HUB_OFFLINE or _caused_by(error, errors.OfflineModeIsEnabled):
        return "it was not downloaded before, and HF_HUB_OFFLINE is set; unset it to download"
    if status in (401, 403):
        return (
            f"the server refuses access ({status}); log in with 'hf auth login', or set HF_TOKEN "
            "to a token with the right to it"
        )
    if status == 404:
        return "there is no such file; check the repository, the revision and the name"
    if status is not None:
        return f"the server cannot give it now (status {status}); try again later"
    if isinstance(error, PermissionError):
        return (
            f"{error.filename}: the cache cannot be written; set HF_HOME and MUSICNN_ZOO_CACHE to "
            "folders that can"
        )
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return (
        f"no connection to {constants.ENDPOINT} ({_first_line(_root(error))}); check the network, "
        "the proxy (HTTPS_PROXY) and HF_ENDPOINT, and try again"
        if isinstance(error, errors.LocalEntryNotFoundError)
        else f"the download failed ({_first_line(_root(error))}); try again"
    )


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__
    return False


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
