"""Audio as people have it: what is given as one recording, as a path, a file object or an array."""

from __future__ import annotations

import io
import os
import re
import warnings
from array import array as ArrayOfNumbers  # noqa: N812
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, AudioError, shown
from musicnn_zoo.sound.remote import Address, as_address, place_of
from musicnn_zoo.text import count


@runtime_checkable
class _ArrayLike(Protocol):
    """A tensor of PyTorch or TensorFlow, a Series of pandas, and all else that NumPy takes."""

    def __array__(self) -> NDArray[Any]: ...


@runtime_checkable
class _Recording(Protocol):
    """An :class:`musicnn_zoo.sound.read.Audio`."""

    @property
    def samples(self) -> NDArray[np.float32]: ...
    @property
    def sample_rate(self) -> int: ...


Samples: TypeAlias = NDArray[Any] | _ArrayLike | Sequence[float]
AudioSource: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryIO
    | Samples
    | tuple[Samples, float]
    | tuple[float, Samples]
    | Mapping[str, Any]
    | _Recording
)
"""What public functions take as audio; :func:`as_source` says what each form means."""

_MOST_CHANNELS = 8
_LARGEST_INT16 = 2**15
_UNRELATED = 0.05
_LONG_ENOUGH = 8000
_ADDRESS = re.compile(r"(?i)([a-z][a-z0-9+.-]+):/")
_TAKEN = (
    "a path, the bytes of a file, a binary file object, an array with sample_rate=, or a pair of "
    "an array and its rate"
)


def as_source(
    audio: object, sample_rate: float | None = None
) -> tuple[str | BinaryIO | NDArray[Any], float | None]:
    """Bring audio to one of three forms: a path, a binary file object, or an array with its rate.

    Parameters
    ----------
    audio : object
        A path (``~`` is the home folder), a ``file://`` address, or one that fsspec knows, such as
        ``s3://bucket/song.mp3``; the bytes of a file, or a binary file object; an array, tensor,
        Series or list of numbers with ``sample_rate``; a pair of such samples and their rate, in
        either order, as librosa, soundfile and SciPy give it; a dict with ``"array"`` and
        ``"sampling_rate"``, or with ``"bytes"`` or ``"path"``, as Hugging Face datasets have it;
        what :func:`musicnn_zoo.load_audio` gives.
    sample_rate : float, optional
        Of samples that come without it, in Hz.

    Returns
    -------
    source : str, binary file object or ndarray
        A path is as it was given; see :func:`local_path`. An address is an
        :class:`~musicnn_zoo.sound.remote.Address`. An array is ``(samples,)`` or
        ``(channels, samples)``; ``(samples, channels)`` is turned where it has more than 8 rows and
        at most 8 columns.
    sample_rate : float or None
        Of an array.

    Raises
    ------
    AudioError
        If it is none of these, or has more than 8 channels.
    ArgumentError
        If samples have no rate or two, or a file is given a rate.

    Warns
    -----
    UserWarning
        If three channels or more have nothing in common, as if they were clips.
    """
    samples, own_rate = _opened(audio)
    if not isinstance(samples, np.ndarray):
        if sample_rate is not None:
            raise ArgumentError(
                "sample_rate goes with an array only; a file states its own "
                f"(received sample_rate={shown(sample_rate)} with {source_name(samples)})"
            )
        return samples, None
    if own_rate is None and sample_rate is None:
        raise ArgumentError("an array needs its sample rate: sample_rate=44100, for instance")
    if None not in (own_rate, sample_rate) and own_rate != sample_rate:
        raise ArgumentError(
            f"the samples come with their rate, {shown(own_rate)}; received "
            f"sample_rate={shown(sample_rate)} too: leave it out"
        )
    return _channels_first(samples), sample_rate if own_rate is None else own_rate


def source_name(audio: object) -> str:
    """Return the name of a file for results and messages: its path, or what kind of object."""
    if isinstance(audio, str | os.PathLike):
        return str(place_of(audio))
    name = getattr(audio, "name", None)
    return name if isinstance(name, str) else f"<{type(audio).__name__}>"


def local_path(path: str | os.PathLike[str]) -> str:
    """Return the path that is meant, with ``~`` and ``file://`` resolved.

    Raises
    ------
    AudioError
        If it is an address of another kind.
    """
    text = os.fspath(path)
    if text.startswith("~") and not os.path.lexists(text):
        try:
            return str(Path(text).expanduser())
        except RuntimeError:  # there is no such user
            return text
    address = _ADDRESS.match(text)
    if address is None or os.path.lexists(text):
        return text
    if address[1].lower() == "file":
        from urllib.parse import urlsplit
        from urllib.request import url2pathname  # with the modules of the network: 20 ms

        plain = re.sub("^file:/+(localhost/)?", "file:///", text, flags=re.I)
        return url2pathname(urlsplit(plain).path)
    raise AudioError(
        f"{Address(text)}: addresses are not read here; download the file, and pass its path"
    )


def is_folder(path: str) -> bool:
    """Whether a path is that of a folder; one that no file can have is none."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def several(audio: object) -> bool:
    """Whether audio is a list of files, and not one recording."""
    return isinstance(audio, list | tuple | set | frozenset) and all(
        isinstance(entry, str | os.PathLike) for entry in audio
    )


def check_one(audio: object, call: str, many: str | None) -> None:
    """Refuse several files or a folder where one recording is meant, and name the call for them.

    Parameters
    ----------
    audio : object
    call : str
        Name of the function that received it.
    many : str or None
        Name of the one for many files, if there is any.

    Raises
    ------
    ArgumentError
        If it is a list of files.
    AudioError
        If it is a folder, or a pattern of file names.
    """
    for_all = f"{many}(%s)" if many else f"[{call}(path) for path in %s]"
    if several(audio):
        received = count(len(cast("list[object]", audio)), "file")
        paths = "[…]" if many else "paths"
        raise ArgumentError(
            f"{call} takes one recording; received a list of {received}: for several, "
            f"{for_all % paths}"
        )
    if not isinstance(audio, str | os.PathLike):
        return
    address = as_address(audio)
    if address is not None:
        if not address.is_web and re.search(r"[*?]", address):
            raise AudioError(
                f"{address}: there is no such file; for a pattern, "
                + for_all % f"find_audio({str(address)!r})"
            )
        return
    path = local_path(audio)
    if not path:
        raise AudioError("the path of the audio is empty")
    if is_folder(path):
        found = for_all % f"find_audio({path!r})"
        raise AudioError(f"{path}: is a directory, not an audio file; for those in it, {found}")
    if re.search(r"[*?]|\[.*\]", path) and not os.path.lexists(path):
        found = for_all % f"glob.glob({path!r}, recursive=True)"
        raise AudioError(f"{path}: there is no such file; for a pattern, {found}")


def _opened(audio: object) -> tuple[str | BinaryIO | NDArray[Any], float | None]:
    """Return what a form of audio holds, and its rate if it comes with one."""
    if isinstance(audio, np.ndarray):
        return audio, None
    if isinstance(audio, str | os.PathLike):
        return place_of(audio), None
    if isinstance(audio, bytes | bytearray) or (
        isinstance(audio, memoryview) and audio.format == "B"
    ):
        return io.BytesIO(audio), None
    if getattr(audio, "closed", None) is True:
        raise AudioError(f"{source_name(audio)}: is closed; open it again")
    if hasattr(audio, "read"):
        return cast("BinaryIO", audio), None
    if isinstance(audio, Mapping):
        return _opened_mapping(audio)
    if isinstance(audio, _Recording):
        return np.asarray(audio.samples), audio.sample_rate
    if isinstance(audio, list | tuple):
        return _opened_sequence(audio)
    return _as_array(audio), None


def _opened_mapping(audio: Mapping[Any, Any]) -> tuple[str | BinaryIO | NDArray[Any], float | None]:
    rate = audio.get("sampling_rate", audio.get("sample_rate"))
    if isinstance(audio.get("audio"), Mapping):
        return _opened_mapping(audio["audio"])
    for key in ("array", "raw", "samples", "waveform"):
        if audio.get(key) is not None:
            return _as_array(audio[key]), rate
    for key in ("bytes", "path"):
        if audio.get(key) is not None:
            return _opened(audio[key])
    raise AudioError(
        "audio as a dict needs 'array' and 'sampling_rate', or 'bytes' or 'path'; received "
        f"{shown(sorted(map(str, audio)))}"
    )


def _opened_sequence(audio: Sequence[Any]) -> tuple[NDArray[Any], float | None]:
    numbers = [isinstance(entry, Real) for entry in audio]
    if len(audio) == 2 and sum(numbers) == 1:
        rate, samples = audio if numbers[0] else reversed(audio)
        return _as_array(samples), rate
    if not all(numbers):
        raise AudioError(
            f"audio must be {_TAKEN}; received a {type(audio).__name__} of "
            f"{len(audio)} {type(audio[numbers.index(False)]).__name__}: pass one recording at a "
            "time, channels as one array (channels, samples)"
        )
    try:
        return np.asarray(audio, dtype=np.float64), None
    except OverflowError as error:
        raise AudioError("audio as a list has a number too large for a sample") from error


def _as_array(samples: object) -> NDArray[Any]:
    if isinstance(samples, list | tuple):
        return _opened_sequence(samples)[0]
    if hasattr(samples, "detach"):  # a PyTorch tensor that may have a gradient, or lie on a GPU
        samples = samples.detach().cpu()
    readable = np.ndarray | _ArrayLike | memoryview | ArrayOfNumbers  # type: ignore[type-arg]
    if not isinstance(samples, readable) or isinstance(samples, type):
        raise AudioError(f"audio must be {_TAKEN}; received {type(samples).__name__}")
    try:
        return np.asarray(samples)
    except Exception as error:
        raise AudioError(
            f"audio must be {_TAKEN}; received {type(samples).__name__}, of which NumPy makes no "
            f"array ({error})"
        ) from error


def _channels_first(samples: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(samples)  # np.matrix has two axes always
    if array.dtype in (np.int32, np.int64) and 0 < np.abs(array).max(initial=0) <= _LARGEST_INT16:
        warnings.warn(
            f"array: {array.dtype} with no sample above {_LARGEST_INT16:,} is nearly silent, since "
            "full scale is that of the type; pass 16-bit samples as int16",
            stacklevel=2,
        )
    if array.ndim != 2:
        return array
    rows, columns = array.shape
    if rows > _MOST_CHANNELS:
        if not 0 < columns <= _MOST_CHANNELS:
            raise AudioError(
                f"array: shape {array.shape} looks like {min(rows, columns)} clips; for clips, "
                "call once for each; channels, of which there are at most "
                f"{_MOST_CHANNELS}, can be mixed: array.mean(axis=0)"
            )
        array = array.T
    if len(array) > 2 and _unrelated(array):
        warnings.warn(
            f"array: the {len(array)} channels have nothing in common and may be {len(array)} "
            "clips; they are mixed as channels of one recording: for clips, call once for each",
            stacklevel=2,
        )
    return array


def _unrelated(channels: NDArray[Any]) -> bool:
    """Whether no two channels are correlated, as clips of several recordings are not."""
    if channels.shape[1] < _LONG_ENOUGH or not np.issubdtype(channels.dtype, np.number):
        return False
    with np.errstate(all="ignore"):
        likeness = np.abs(np.corrcoef(channels.astype(np.float64)))
    pairs = likeness[np.triu_indices(len(channels), 1)]
    return bool((pairs < _UNRELATED).all())  # silent channels give NaN, which is not
