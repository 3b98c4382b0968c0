"""Files and folders at addresses, by fsspec: what they are called, what they hold, what is in them.

A file is fetched once, in blocks, to a file on this disk, and decoded from there: the reader looks
through most files before it decodes them, and would fetch them twice. What was fetched is kept when
a connection breaks; passing errors are tried again after growing waits.

No credential of an address or of the environment stands in what this module says.
"""

from __future__ import annotations

import logging
import os
import random
import re
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar

from musicnn_zoo.errors import AudioError, MissingPackageError, MusicnnZooError, RemoteError
from musicnn_zoo.machine.installation import temporary_folder
from musicnn_zoo.text import first_line

_log = logging.getLogger(__name__)

T = TypeVar("T")

WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between tries."""
BLOCK_BYTES = 8 << 20
MOST_BYTES = 16 << 30
PATIENCE_S = 60.0
LEAST_BYTES_S = 1024
"""A file that comes more slowly than so many bytes a second for ``PATIENCE_S`` is given up."""
_PAGE = 1000
ASKED_AT_ONCE = 16
"""Requests to a store for what is small."""
AHEAD = 8
"""So many files are fetched at a time, ahead of the decoding."""
_CONNECT_S = 15.0
_SILENCE_S = 30.0

_SCHEME = re.compile(r"(?i)([a-z][a-z0-9+.-]+):/+")
_HERE = ("file", "local")
_WEB = ("http", "https")
_WITHOUT_USER = ("abfs", "abfss", "adl", "az", "git", "github", "hf", "wasb", "wasbs")
"""Kinds of address in which what stands before an @ is no credential."""
_KEEP_NO_LISTING = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
"""Their drivers would keep each listing, of which a large store fills the memory."""
_HOLD_NO_OTHER = (*_KEEP_NO_LISTING, *_WEB)
TWO_COLONS = (
    "'::' joins two addresses, and cannot be part of a name; rename the file or folder (in an "
    "address of HTTP write %3A%3A)"
)
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a", "http", "https"), '"musicnn-zoo[remote]"'),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    "smb": "smbprotocol",
}  # fmt: skip

_SECRET_NAME = re.compile(
    r"(?i)sig|token|secret|passw|pwd|credential|auth|key|session|policy|expires|accessid|sas|"
    r"connection_string|^x-(amz|goog)-"
)
_SHARED_ACCESS = frozenset(
    {
        "saoid", "scid", "sdd", "se", "sip", "ske", "skoid", "sks", "skt", "sktid", "skv", "sp",
        "spr", "sr", "srt", "ss", "st", "suoid", "sv",
    }
)  # fmt: skip
"""What Azure signs besides ``sig``."""
_LONGEST_SAID = 300
_FILE_NAME = re.compile(r"\.\w{2,5}$")
_LONG = 32
_SHORTEST_SECRET = 6
_URL = re.compile(r"(?i)\b[a-z][a-z0-9+.-]+:/+[^\s'\"<>)\]}]+")
_ACCESS_KEY_ID = re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{12,}\b")


class State(NamedTuple):
    """What is known of a file without reading it.

    Parameters
    ----------
    size : int
        In bytes; -1 if it is not known.
    mtime_ns : int
        When it was changed; -1 if that is not known.
    etag : str or None
        What changes with its content, if the store has that.
    """

    size: int
    mtime_ns: int
    etag: str | None


class Address(str):
    """An address such as ``s3://bucket/song.flac``, as text without what is secret in it.

    Passwords, tokens and signatures are kept beside the text, for the driver only. It can be given
    wherever a path of audio can; a ``str`` with an address is taken for one, too.

    Parameters
    ----------
    address : str or path
    state : State, optional
        What a listing said of the file.
    **storage_options
        For the driver of fsspec, if the environment does not hold them: ``key=…, secret=…``.
    """

    def __new__(
        cls, address: str | os.PathLike[str], *, state: State | None = None, **storage_options: Any
    ) -> Address:
        """Return the address in the form that drivers take."""
        given = address.whole if isinstance(address, Address) else os.fspath(address)
        whole = "::".join(_SCHEME.sub(r"\1://", part, count=1) for part in given.split("::"))
        self = super().__new__(cls, clean_address(whole))
        self._whole = None if whole == self else whole
        self.state = state
        self._options = storage_options or getattr(address, "_options", None)
        return self

    __slots__ = ("_options", "_whole", "state")  # there may be millions
    _whole: str | None
    _options: dict[str, Any] | None
    state: State | None

    @property
    def whole(self) -> str:
        """With what is secret in it."""
        return self._whole or str(self)

    @property
    def storage_options(self) -> dict[str, Any]:
        """What is said to the driver."""
        return dict(self._options or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (self.whole, self.state, self.storage_options)

    @property
    def scheme(self) -> str:
        """What comes before ``://``, in lower case."""
        return self.partition(":")[0].lower()

    @property
    def is_web(self) -> bool:
        """Whether it is one of HTTP, which has files and no folders."""
        return self.scheme in _WEB

    @property
    def _path(self) -> PurePosixPath:
        path = self.partition("::")[0].partition("://")[2]
        return PurePosixPath(path.partition("?")[0] if self.is_web else path)

    @property
    def name(self) -> str:
        """The last part of the path, as of a ``pathlib.Path``."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """The ending of the name."""
        return self._path.suffix

    def with_name(self, name: str) -> Address:
        """Return the address of another file in the same folder."""
        first, chain, rest = self.whole.partition("::")
        return self._like(f"{first.rstrip('/').rpartition('/')[0]}/{name}{chain}{rest}")

    def below(self, name: str, state: State | None = None) -> Address:
        """Return the address of a file or a folder in this folder."""
        first, chain, rest = self.whole.partition("::")
        slash = "" if first.endswith("/") else "/"
        return self._like(f"{first}{slash}{name}{chain}{rest}", state)

    def _like(self, whole: str, state: State | None = None) -> Address:
        return Address(whole, state=state, **self.storage_options)


def _remade(whole: str, state: State | None, options: dict[str, Any]) -> Address:
    return Address(whole, state=state, **options)


def as_address(path: object) -> Address | None:
    """Return the address that a path is, or None for a path of this machine."""
    if isinstance(path, Address):
        return path
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str) or ":/" not in text:
        return None
    scheme = _SCHEME.match(text)
    if scheme is None or scheme[1].lower() in _HERE or os.path.lexists(text):
        return None
    return Address(text)


def place_of(path: str | os.PathLike[str]) -> str:
    """Return a path as text; an address as an :class:`Address`, which is text, too."""
    return as_address(path) or str(os.fspath(path))


def clean_address(text: str) -> str:
    """Return an address without user names, passwords, tokens and signatures.

    Examples
    --------
    >>> clean_address("https://me:secret@example.org/a.mp3?id=5&X-Amz-Signature=4f0c")
    'https://example.org/a.mp3?id=5'
    """
    return "::".join(map(_clean_part, text.split("::")))


def _clean_part(part: str) -> str:
    scheme, slashes, rest = part.partition("://")
    if not slashes:
        return part
    if scheme.lower() not in _WITHOUT_USER:
        rest = re.sub(r"^[^/?#]*@", "", rest)
    if scheme.lower() in _WEB:
        place, _, query = rest.partition("#")[0].partition("?")
        kept = "&".join(_open_parameters(query))
        rest = f"{place}?{kept}" if kept else place
    return f"{scheme}://{rest}"


def _open_parameters(query: str) -> list[str]:
    """Return the parameters that are neither secret nor of a signature, as of Azure's."""
    given = [each for each in query.split("&") if each]
    is_signed = any(each.startswith("sig=") for each in given)
    return [
        each
        for each in given
        if not (_is_secret(each) or (is_signed and each.partition("=")[0] in _SHARED_ACCESS))
    ]


def _is_secret(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return (bool(_SECRET_NAME.search(name)) and not _FILE_NAME.search(value)) or len(value) > _LONG


def _secrets(address: Address) -> set[str]:
    """Return what must not be said: of the address, of its options, and of the environment."""
    from urllib.parse import unquote

    found: set[str] = set()
    for part in address.whole.split("::"):
        rest = part.partition("://")[2]
        if part.partition("://")[0].lower() not in _WITHOUT_USER:
            user = re.match(r"([^/?#]*)@", rest)
            found.update(user[1].split(":", 1) if user else ())
        query = rest.partition("?")[2]
        found.update(each.partition("=")[2] for each in query.split("&") if _is_secret(each))
    holders: list[Mapping[str, Any]] = [address.storage_options, os.environ]
    while holders:
        for name, value in holders.pop().items():
            if isinstance(value, Mapping):
                holders.append(value)
            elif isinstance(value, str) and _SECRET_NAME.search(name):
                found.add(value)
    found |= {unquote(each) for each in found}
    return {each for each in found if len(each) >= _SHORTEST_SECRET}


def _cleaned(error: BaseException, address: Address) -> str:
    """Return what an error says, on one line, without what is secret."""
    message = getattr(error, "message", None)
    said = " ".join(first_line(message if isinstance(message, str) else error).split()).strip(":")
    for secret in sorted(_secrets(address), key=len, reverse=True):
        said = said.replace(secret, "…")
    return without_secrets(said)


def without_secrets(text: str) -> str:
    """Return a text, such as a message, with clean addresses and without identities of AWS.

    An address may have lost a slash on its way, as it does if it is taken for a path.
    """

    def clean(found: re.Match[str]) -> str:
        whole = _SCHEME.sub(r"\1://", found[0], count=1)
        cleaned = clean_address(whole)
        return found[0] if cleaned == whole else cleaned

    said = _URL.sub(clean, text)
    return _ACCESS_KEY_ID.sub("…", said)


class FileSystem(Protocol):
    """What is used of a file system of fsspec."""

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any: ...  # noqa: D102
    def info(self, path: str) -> dict[str, Any]: ...  # noqa: D102
    def ls(self, path: str, detail: bool = True) -> list[dict[str, Any]]: ...  # noqa: D102
    def invalidate_cache(self, path: str | None = None) -> None: ...  # noqa: D102
    def put_file(self, lpath: str, rpath: str) -> None: ...  # noqa: D102
    def rm_file(self, path: str) -> None: ...  # noqa: D102


def file_system(address: Address) -> tuple[FileSystem, str]:
    """Return the file system of an address, and what the address is called in it.

    Raises
    ------
    MissingPackageError
        If fsspec or the driver is not installed; the message has the command that installs it.
    RemoteError
        If there is no driver for such addresses, or it cannot be set up.
    """
    if "::" in address and address.scheme in _HOLD_NO_OTHER:
        raise RemoteError(f"{address}: {TWO_COLONS}")
    options = dict(address.storage_options)
    if address.scheme in _KEEP_NO_LISTING and "::" not in address:
        options.setdefault("use_listings_cache", False)
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(address.whole, **options)
    except ImportError as error:
        scheme = address.scheme
        for each in address.split("::"):
            if each.partition("://")[0].lower() in _PACKAGES:
                scheme = each.partition("://")[0].lower()
        install = _PACKAGES.get(scheme)
        hint = f"pip install {install}" if install else _cleaned(error, address)
        raise MissingPackageError(
            f"{address}: {scheme}:// needs a driver that is not installed: {hint}"
        ) from None
    except MusicnnZooError:
        raise
    except Exception as error:
        if "Protocol not known" in str(error):
            raise RemoteError(
                f"{address}: fsspec knows no addresses that begin with {address.scheme}://; "
                "look for a slip, or install the driver of the store"
            ) from None
        raise _refusal(error, address) from None
    return system, path


class NothingThereError(RemoteError):
    """There is nothing at an address."""


def _status(error: BaseException) -> int | None:
    """Return the status of HTTP that an error stands for, if it does for one.

    Drivers for S3 make plain errors of the system of what the store answers.
    """
    is_plain = type(error).__module__ == "builtins"
    for each in (error, error.__cause__ if is_plain else None):
        response = getattr(each, "response", None)
        if isinstance(response, Mapping):
            number = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            number = getattr(response, "status_code", None)
        for attribute in _STATUS_ATTRIBUTES:
            number = getattr(each, attribute, None) if number is None else number
        if isinstance(number, int) and 100 <= number < 600:
            return number
    return None


_STATUS_ATTRIBUTES = ("status", "status_code", "code")
_TRY_AGAIN = (408, 425, 429)
_DENIED = (401, 403)
_GONE = (404, 410)
_FINAL = (
    FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError,
    MusicnnZooError,
)  # fmt: skip
_PASSING = (OSError, EOFError)
_OF_NETWORKS = frozenset(
    {
        "aiohttp", "aiobotocore", "asyncio", "azure", "botocore", "fsspec", "gcsfs", "google",
        "httpcore", "httpx", "huggingface_hub", "paramiko", "requests", "urllib3",
    }
)  # fmt: skip
_NO_CREDENTIALS = re.compile("Credential|ProfileNotFound|TokenRetrieval|SSOToken|Authentication")


def _original(error: Exception) -> Exception:
    """Return what happened: fsspec calls every failure of HTTP a file that is not found."""
    cause = error.__cause__
    is_guess = isinstance(error, FileNotFoundError) and isinstance(cause, Exception)
    if is_guess and (type(cause).__module__.startswith("aiohttp") or isinstance(cause, OSError)):
        return cause  # type: ignore[return-value]
    return error


def _may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    name = type(error).__name__
    if isinstance(error, _FINAL) or _NO_CREDENTIALS.search(name) or "Validation" in name:
        return False
    status = _status(error)
    if status is not None:
        return status in _TRY_AGAIN or status >= 500
    return isinstance(error, _PASSING) or type(error).__module__.split(".")[0] in _OF_NETWORKS


def _refusal(error: Exception, address: Address, tries: int = 1) -> MusicnnZooError:
    """Return the error that says what is wrong with an address, and what to do."""
    if isinstance(error, MusicnnZooError):
        return error
    status, said = _status(error), _cleaned(error, address)
    name = type(error).__name__
    detail = name if said == name else f"{name}: {said[:_LONGEST_SAID]}"
    if status is not None and str(status) not in detail:
        detail = f"{status}, {detail}"
    if isinstance(error, FileNotFoundError) or status in _GONE:
        why = f" ({said})" if "bucket" in said.lower() else ""
        return NothingThereError(f"{address}: there is no such file or folder{why}")
    if isinstance(error, IsADirectoryError):
        return RemoteError(f"{address}: is a directory, not an audio file")
    no_credentials = _NO_CREDENTIALS.search(name)
    if isinstance(error, PermissionError) or status in _DENIED or no_credentials:
        return RemoteError(
            f"{address}: access is denied ({detail}); check the credentials that the driver for "
            f"{address.scheme}:// finds in the environment, and what they allow"
        )
    often = f", tried {tries} times" if tries > 1 else ""
    advice = "; check the connection and the address, and run it again" if tries > 1 else ""
    return RemoteError(f"{address}: cannot be reached or read ({detail}){often}{advice}")


def tried(call: Callable[[], T], address: Address) -> T:
    """Call until it succeeds, with growing waits after errors that may pass.

    Raises
    ------
    RemoteError
        If it does not. What the driver said is not chained, since it may hold credentials.
    """
    for tries, wait_s in enumerate((*WAITS_S, None), start=1):
        try:
            return call()
        except Exception as raised:
            error = _original(raised)
            if wait_s is None or not _may_pass(error):
                raise _refusal(error, address, tries) from None
            _log.info("%s: %s; tried again", address, _cleaned(error, address))
        time.sleep(wait_s * random.uniform(0.75, 1.25))
    raise AssertionError


class Entry(NamedTuple):
    """A file or a folder in a folder."""

    name: str
    address: Address
    is_folder: bool


def look(address: Address) -> State | None:
    """Ask what is at an address; None for a folder.

    Raises
    ------
    RemoteError
        If there is nothing, or it cannot be asked.
    MissingPackageError
        If the driver is not installed.
    """
    system, path = file_system(address)
    info = tried(lambda: system.info(path), address)
    return None if info.get("type") == "directory" else _state_of(info)


def list_folder(folder: Address) -> Iterator[Entry]:
    """Yield what is in a folder, sorted by name; the errors are those of :func:`look`.

    A folder of S3 is listed page by page, since it may hold millions.
    """
    system, path = file_system(folder)
    own = path.strip("/")
    of_s3 = hasattr(system, "call_s3") and bool(own)
    for page in _pages_of_s3(system, own, folder) if of_s3 else _one_page(system, path, folder):
        entries = []
        for info in page:
            full = str(info["name"]).strip("/")
            name = full.rpartition("/")[2]
            if full == own or not name:  # stores keep an empty file for a folder
                continue
            is_folder = info.get("type") == "directory"
            state = None if is_folder else _state_of(info)
            entries.append(Entry(name, folder.below(name, state), is_folder))
        yield from sorted(entries, key=lambda entry: entry.name)


def _one_page(
    system: FileSystem, path: str, folder: Address
) -> Iterator[Iterable[Mapping[str, Any]]]:
    def listed() -> list[dict[str, Any]]:
        system.invalidate_cache(path)
        return system.ls(path, detail=True)

    yield tried(listed, folder)


def _pages_of_s3(system: Any, path: str, folder: Address) -> Iterator[Iterable[Mapping[str, Any]]]:
    bucket, key, _ = system.split_path(path)
    prefix = f"{key}/" if key else ""
    asked = {"Bucket": bucket, "Prefix": prefix, "Delimiter": "/", "MaxKeys": _PAGE}
    is_empty = True
    while True:
        answer = tried(lambda: system.call_s3("list_objects_v2", **asked), folder)
        page = [
            {"name": f"{bucket}/{each['Prefix']}", "type": "directory"}
            for each in answer.get("CommonPrefixes", ())
        ]
        page += [
            {**each, "name": f"{bucket}/{each['Key']}", "size": each["Size"]}
            for each in answer.get("Contents", ())
            if each["Key"] != prefix
        ]
        is_empty &= not page and not answer.get("Contents")
        yield page
        if not answer.get("IsTruncated"):
            break
        asked["ContinuationToken"] = answer["NextContinuationToken"]
    if is_empty and prefix:
        raise NothingThereError(f"{folder}: there is no such file or folder")


_TIMES = (
    "LastModified", "last_modified", "mtime", "updated", "modified", "Last-Modified", "created",
)  # fmt: skip
_TAGS = (
    "ETag", "etag", "e_tag", "md5Hash", "md5", "content_md5", "Content-MD5", "Digest", "blob_id",
    "CRC", "checksum",
)  # fmt: skip


def _state_of(info: Mapping[str, Any]) -> State:
    size = info.get("size")
    etag = next((info[name] for name in _TAGS if info.get(name)), None)
    times = (_nanoseconds(info[name]) for name in _TIMES if info.get(name))
    changed = next((each for each in times if each is not None), -1)
    known = isinstance(size, int) and size >= 0
    return State(int(size) if known and size is not None else -1, changed,
                 None if etag is None else str(etag).strip('"'))  # fmt: skip


def _nanoseconds(moment: object) -> int | None:
    if isinstance(moment, str):
        from email.utils import parsedate_to_datetime

        try:
            moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        except ValueError:
            with suppress(ValueError, TypeError):
                moment = parsedate_to_datetime(str(moment))
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return round(aware.timestamp() * 1e6) * 1000
    return round(moment * 1e9) if isinstance(moment, int | float) else None


@contextmanager
def fetched(address: Address) -> Iterator[Path]:
    """Yield a file of this disk that holds what is at an address, as long as the context lasts.

    Raises
    ------
    AudioError
        If the file is empty, or longer than 16 GiB; a :class:`RemoteError` if it cannot be had.
    """
    place = fetch(address)
    try:
        yield place
    finally:
        place.unlink(missing_ok=True)


def fetch(address: Address, place: Path | None = None) -> Path:
    """Fetch a file to ``place``, by default a temporary one, which the caller deletes.

    The errors are those of :func:`fetched`; to a ``place``, empty files are fetched, too.
    """
    is_temporary = place is None
    if place is None:
        ending = re.sub(r"[^.\w-]", "", address.suffix)[:12]
        folder = temporary_folder()
        try:
            handle, name = tempfile.mkstemp(ending, dir=folder)
        except OSError as error:
            raise AudioError(f"{address}: cannot be kept on the disk ({error})") from error
        os.close(handle)
        place = Path(name)
    try:
        with place.open("wb") as kept:
            _Fetch(address, kept).run()
            if is_temporary and kept.tell() == 0:
                raise AudioError(f"{address}: the file is empty")
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    return place


def upload(place: Path, address: Address) -> None:
    """Put a file of this disk at an address; a :class:`RemoteError` says that it cannot be done."""
    system, path = file_system(address)
    tried(lambda: system.put_file(str(place), path), address)


def remove(address: Address) -> None:
    """Delete a file, if it is there; a :class:`RemoteError` says that it cannot be done."""
    system, path = file_system(address)
    with suppress(NothingThereError):
        tried(lambda: system.rm_file(path), address)


class _CutError(OSError):
    """A file that ended before its end."""


class _Fetch:
    """The fetching of one file, which goes on where it was broken off."""

    def __init__(self, address: Address, kept: BinaryIO) -> None:
        self._address = address
        self._kept = kept
        self._begun = time.monotonic()
        self._version: object = None
        """What the file had when its first bytes were fetched."""

    def run(self) -> None:
        system, path = file_system(self._address)
        fetch = self._from_web if self._address.is_web else self._from_store
        tried(lambda: fetch(system, path), self._address)

    def _from_store(self, system: FileSystem, path: str) -> None:
        try:
            with system.open(path, "rb", block_size=BLOCK_BYTES, cache_type="none") as file:
                details = getattr(file, "details", None)
                details = details if isinstance(details, Mapping) else {}
                size = details.get("size", getattr(file, "size", None))
                self._go_on_with(_state_of(details), can_skip=size is not None)
                if self._kept.tell():
                    file.seek(self._kept.tell())
                while piece := file.read(BLOCK_BYTES):
                    self._keep(piece)
        except OSError as error:
            if type(error).__name__ == "FileExpired":  # it was replaced meanwhile
                self._go_on_with(None, can_skip=False)
            raise
        if isinstance(size, int) and self._kept.tell() != size:
            raise _CutError(f"the store states {size:,} bytes and gives {self._kept.tell():,}")

    def _from_web(self, system: Any, url: str) -> None:
        import aiohttp

        at = self._kept.tell()
        headers = {**system.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
        if at and self._version:
            headers |= {"Range": f"bytes={at}-", "If-Range": self._version}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
        # With a size it does not ask for that first; without blocks it reads one answer.
        with system.open(url, block_size=0, size=1, headers=headers, timeout=timeout) as file:
            answer = file.r
            if any(name.lower().startswith("icy-") for name in answer.headers):
                raise RemoteError(f"{self._address}: is a live stream, which has no end")
            range_given = answer.headers.get("Content-Range", "")
            goes_on = answer.status == 206 and range_given.startswith(f"bytes {at}-")
            if not goes_on:
                self._kept.seek(0)
                self._kept.truncate()
                tag = answer.headers.get("ETag", "")
                strong = tag if tag and not tag.startswith("W/") else None
                self._version = strong or answer.headers.get("Last-Modified")
            while piece := file.read(BLOCK_BYTES):
                self._keep(piece)

    def _go_on_with(self, version: object, *, can_skip: bool) -> None:
        """Forget what was fetched of another version."""
        if not can_skip or version != self._version:
            self._kept.seek(0)
            self._kept.truncate()
        self._version = version

    def _keep(self, piece: bytes) -> None:
        try:
            self._kept.write(piece)
        except OSError as error:
            reason = error.strerror or error
            raise AudioError(f"{self._address}: cannot be kept on the disk ({reason})") from error
        fetched_bytes, took_s = self._kept.tell(), time.monotonic() - self._begun
        if fetched_bytes > MOST_BYTES:
            raise AudioError(f"{self._address}: is longer than {MOST_BYTES >> 30} GiB")
        if took_s > PATIENCE_S and fetched_bytes < LEAST_BYTES_S * took_s:
            raise RemoteError(
                f"{self._address}: comes too slowly ({fetched_bytes:,} bytes in {took_s:.0f} s); "
                "try it again later"
            )


class Fetching:
    """A file that is fetched by a thread."""

    def __init__(self, address: Address, pool: ThreadPoolExecutor) -> None:
        self._future: Future[Path] = pool.submit(fetch, address)

    @contextmanager
    def place(self) -> Iterator[Path]:
        """Wait for the file, and delete it at the end."""
        place = self._future.result()
        try:
            yield place
        finally:
            place.unlink(missing_ok=True)

    def drop(self) -> None:
        """Have the file deleted, which nobody needs."""
        if not self._future.cancel():
            self._future.add_done_callback(_delete)


def _delete(future: Future[Path]) -> None:
    if future.exception() is None:
        future.result().unlink(missing_ok=True)


class MayBeRemote(Protocol):
    """What is fetched if it has an address."""

    address: Address | None
    fetching: Fetching | None


Stream = TypeVar("Stream", bound=MayBeRemote)


def fetched_ahead(streams: Iterable[Stream]) -> Iterator[Stream]:
    """Yield streams as they come, while those behind them are fetched, ``AHEAD`` at a time."""
    waiting: deque[Stream] = deque()
    pool: ThreadPoolExecutor | None = None
    try:
        for stream in streams:
            if stream.address is not None:
                pool = pool or ThreadPoolExecutor(AHEAD, "fetching")
                stream.fetching = Fetching(stream.address, pool)
            waiting.append(stream)
            while waiting and (pool is None or len(waiting) > AHEAD):
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for stream in waiting:
            if stream.fetching is not None:
                stream.fetching.drop()
        if pool is not None:
            pool.shutdown(wait=False)
