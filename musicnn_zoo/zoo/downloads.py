"""Fetch files from the Hugging Face Hub and from pinned addresses, and verify them.

Files of the Hub lie in the cache of ``huggingface_hub``, which other programs share, and follow
its settings: ``HF_HOME``, ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE`` and the proxies. Others
lie in the folder of :mod:`musicnn_zoo.machine.installation`. What was downloaded once is not asked
for again, and processes that want the same file wait for one download.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeGuard, TypeVar
from urllib.parse import urlsplit

from musicnn_zoo.errors import DownloadError, UploadError, WeightsError
from musicnn_zoo.files import replacing, sha256_of
from musicnn_zoo.machine import __version__
from musicnn_zoo.machine.installation import cache_lock, own_folder
from musicnn_zoo.text import first_line
from musicnn_zoo.zoo.catalogue import HubFile, RemoteFile, WebFile

_log = logging.getLogger(__name__)

LIBRARY = "musicnn-zoo"
PAUSES_S = (1.0, 3.0)
"""Before the second and the third try, besides those of ``huggingface_hub`` itself."""

CONNECT_S = 5.0
"""How long a server may take to accept a connection."""

RANGE_NOT_SATISFIABLE = 416
TOO_MANY_REQUESTS = 429

_DIGESTS = "digests"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PORTS = {"http": 80, "https": 443}
_SOCKS_PORT = 1080
Value = TypeVar("Value")


class _NoConnectionError(Exception):
    """A server that cannot be reached at all."""


def fetch(file: RemoteFile) -> Path:
    """Return the path of a file that was downloaded, now or before, and verify it.

    A file with another SHA-256 than it must have, or than it had at its first download, is removed
    and downloaded once more; if that does not help, a WeightsError is raised. A DownloadError is
    raised if it cannot be downloaded.
    """
    with cache_lock(_DIGESTS, f"{_key_of(file)}.lock"):
        path, received = _download(file)
        expected = file.sha256 or recorded_digest(file) or _stated_by_hub(path)
        if expected not in (None, received):
            _log.warning("%s has another SHA-256 than it must have; downloading it again", path)
            _remove(path)
            path, received = _download(file)
            if received != expected:
                _remove(path)
                raise WeightsError(
                    f"{file.address}: the file is not the one it should be; its SHA-256 must be "
                    f"{expected}, received {received}: it was changed at its source or on the way, "
                    f"and was not kept; {_remedy(file)}"
                )
        if file.sha256 is None:
            _record(file, received)
        return path


def _remedy(file: RemoteFile) -> str:
    if file.sha256 is None and recorded_digest(file):
        return (
            f"if the change is meant, remove {_record_of(file)}, which holds the SHA-256 of the "
            "first download"
        )
    return "try again, and over another network if that does not help"


def _download(file: RemoteFile) -> tuple[Path, str]:
    """Path and SHA-256 of a file, which is downloaded if it is not in the cache."""
    with explained(file.address, DownloadError):
        path = _from_hub(file) if isinstance(file, HubFile) else _from_web(file)
        return path, sha256_of(path)


def hub_commit(repo: str, revision: str, path: str) -> str:
    """Commit that a revision of a repository stands for, by fetching one of its files."""
    file = HubFile(repo, revision, path)
    with explained(file.address, DownloadError):
        cached = _from_hub(file)
    snapshots = next(parent for parent in cached.parents if parent.name == "snapshots")
    return cached.relative_to(snapshots).parts[0]


def _from_hub(file: HubFile) -> Path:
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    def download() -> Path:
        return Path(
            hf_hub_download(
                file.repo, file.path, revision=file.revision,
                library_name=LIBRARY, library_version=__version__,
            )
        )  # fmt: skip

    cached = try_to_load_from_cache(file.repo, file.path, revision=file.revision)
    if not isinstance(cached, str):
        _check_connection(constants.ENDPOINT)
    try:
        return _with_retries(download)
    except Exception as error:
        cached = try_to_load_from_cache(file.repo, file.path, revision=file.revision)
        if not _may_pass(error) or not isinstance(cached, str):
            raise
        _log.warning(
            "%s: %s; taking the file of an earlier download", file.address, first_line(error)
        )
        return Path(cached)


def _from_web(file: WebFile) -> Path:
    # Not public, but the only function of huggingface_hub that downloads from any address. It
    # goes on where a download was cut, and follows the settings above in all versions.
    from huggingface_hub.file_download import http_get

    name = file.url.rpartition("/")[2]
    path = own_folder("downloads") / f"{file.sha256[:16]}-{name}"
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

    own_folder("downloads", make=True)
    _check_connection(file.url)
    _with_retries(download)
    unfinished.replace(path)
    return path


def _remove(path: Path) -> None:
    """Remove a file from a cache, with all that it is a link to."""
    for part in reversed(_links(path)):
        with contextlib.suppress(OSError):
            part.unlink()


def _stated_by_hub(path: Path) -> str | None:
    """SHA-256 that the Hub states for a large file: its cache names the file after it."""
    name = _links(path)[:2][-1].name
    return name if _SHA256.fullmatch(name) else None


def _links(path: Path) -> list[Path]:
    """Return a file of a cache, and what it is a link to, one after another.

    In the cache of the Hub the file of a commit is a link to one that is named after its digest,
    and that may be a link to one which repositories share, named after another digest.
    """
    chain = [path]
    while chain[-1].is_symlink():
        chain.append(chain[-1].parent / chain[-1].readlink())
    return chain


def _key_of(file: RemoteFile) -> str:
    return hashlib.sha256(file.address.encode()).hexdigest()[:32]


def _record_of(file: RemoteFile, *, make: bool = False) -> Path:
    return own_folder(_DIGESTS, make=make) / f"{_key_of(file)}.json"


def recorded_digest(file: RemoteFile) -> str | None:
    """SHA-256 that a file had at its first download, if that was recorded."""
    try:
        digest = json.loads(_record_of(file).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return digest if isinstance(digest, str) and _SHA256.fullmatch(digest) else None


def _record(file: RemoteFile, sha256: str) -> None:
    if recorded_digest(file):
        return
    try:
        path = _record_of(file, make=True)
        with replacing(path, path.with_suffix(".new")) as record:
            record.write(json.dumps({"address": file.address, "sha256": sha256}).encode())
    except OSError as error:
        _log.info("the digest of %s cannot be recorded (%s)", file.address, error.strerror)


def _check_connection(address: str) -> None:
    """Raise soon if there is no network; ``huggingface_hub`` tries for half a minute.

    The second and last try is with the session of ``huggingface_hub``, which may be configured
    with a proxy that is not in the environment.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return  # huggingface_hub says so itself
    try:
        _connect(address)
    except OSError as refusal:
        time.sleep(PAUSES_S[0])
        try:
            get_session().request("HEAD", address, timeout=CONNECT_S)
        except Exception as error:  # those of two HTTP libraries have no common base
            _log.debug("%s", error)
            raise _NoConnectionError(address) from refusal


def _connect(address: str) -> None:
    """Open a connection to the server of an address, or to the proxy before it, and close it."""
    import socket
    import urllib.request

    try:
        server = urlsplit(address)
        proxies = urllib.request.getproxies()
        proxy = proxies.get(server.scheme) or proxies.get("all")
        if proxy and not urllib.request.proxy_bypass(server.netloc):
            server = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = server.hostname, server.port or _PORTS.get(server.scheme, _SOCKS_PORT)
    except ValueError:
        return  # the address of a proxy is wrong; the download will say so
    if host:
        socket.create_connection((host, port), CONNECT_S).close()


def _with_retries(download: Callable[[], Value]) -> Value:
    """Try again after an error that may pass: a busy server, a connection that was cut."""
    for pause in PAUSES_S:
        try:
            return download()
        except Exception as error:
            if not _may_pass(error):
                raise
            _log.info("%s; trying again in %g s", first_line(error), pause)
            time.sleep(pause)
    return download()


def _may_pass(error: Exception) -> bool:
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return False  # was tried several times, or is not to be tried
    status = _status(error)
    if status is not None:
        return status >= 500 or status in (TOO_MANY_REQUESTS, RANGE_NOT_SATISFIABLE)
    incomplete = isinstance(error, OSError) and error.errno is None
    return incomplete or isinstance(error, errors.HTTPError)  # type: ignore[attr-defined]


@contextlib.contextmanager
def explained(what: str, kind: type[Exception]) -> Iterator[None]:
    """Turn what ``huggingface_hub`` raises into an error of a kind, in one line with a remedy.

    ``what`` is the address of what is asked for, with which the line begins.
    """
    try:
        yield
    except Exception as error:
        why = _why_not_sent if kind is UploadError else _why_not_fetched
        raise kind(f"{what}: {why(error, what)}") from error


def _why_not_fetched(error: Exception, what: str) -> str:
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
        return _no_repository_name(error)
    if isinstance(error, _NoConnectionError):
        if what.startswith("hf://"):
            return _no_connection(error)
        return (
            f"no connection to {urlsplit(what).netloc} ({_root(error)}); check the "
            "network and the proxy (HTTPS_PROXY), and try again"
        )
    if _is_local(error):
        place = f"{error.filename}: " if error.filename is not None else ""
        return (
            f"{place}the cache cannot be used ({error.strerror}); set HF_HOME and "
            "MUSICNN_ZOO_CACHE to folders that can be written and have room"
        )
    if constants.HF_HUB_OFFLINE or _caused_by(error, errors.OfflineModeIsEnabled):
        return "it is not in the cache, and HF_HUB_OFFLINE is set; unset it to download"
    if status in (401, 403, 404) and not what.startswith("hf://"):
        return (
            f"the server no longer serves it (status {status}); update this package, which "
            "may know where it is now (pip install --upgrade musicnn-zoo), or try again later"
        )
    if status in (401, 403):
        return _no_access(status)
    if status == 404:
        return "there is no such file; check the repository, the revision and the name"
    if status is not None:
        return f"the server cannot serve it now (status {status}); try again later"
    if _caused_by(error, errors.FileMetadataError):
        return (
            f"what answers at {constants.ENDPOINT} is no Hugging Face Hub; log in to the network "
            "if it asks for that, check the proxy (HTTPS_PROXY) and HF_ENDPOINT, and try again"
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _no_connection(error)
    return f"the download failed ({_root(error)}); check the network and try again"


def _why_not_sent(error: Exception, _: str) -> str:
    from huggingface_hub import constants, errors

    status = _status(error)
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such branch; name one that it has"
    if isinstance(error, errors.HFValidationError):
        return _no_repository_name(error)
    if constants.HF_HUB_OFFLINE or _caused_by(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set; unset it to upload"
    if status in (401, 403):
        return _no_access(status)
    if status is not None and status < 500 and status != TOO_MANY_REQUESTS:
        said = first_line(getattr(error, "server_message", None) or error)
        return (
            f"the server does not take it (status {status}: {said}); check the names "
            "of the repository and the branch, and the model's description"
        )
    if status is not None:
        return f"the server cannot take it now (status {status}); try again later"
    return _no_connection(error)


def _no_repository_name(error: Exception) -> str:
    return f"this is no name of a repository; check it ({first_line(error)})"


def _no_access(status: int | None) -> str:
    return (
        f"the server refuses access ({status}); log in with 'hf auth login', or set HF_TOKEN "
        "to a token with the right to it"
    )


def _no_connection(error: Exception) -> str:
    from huggingface_hub import constants

    return (
        f"no connection to {constants.ENDPOINT} ({_root(error)}); check the network, "
        "the proxy (HTTPS_PROXY) and HF_ENDPOINT, and try again"
    )


def _is_local(error: Exception) -> TypeGuard[OSError]:
    """Whether the error comes from the disk and not from the network."""
    return isinstance(error, OSError) and (
        error.filename is not None or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error, what caused it, what caused that, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    return any(isinstance(cause, kind) for cause in _causes(error))


def _status(error: BaseException) -> int | None:
    """HTTP status that an error, or what caused it, tells of."""
    for cause in _causes(error):
        status: Any = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _root(error: BaseException) -> str:
    """First line of what the first cause of an error says."""
    *_, first_cause = _causes(error)
    return first_line(first_cause)
