"""Run an ONNX graph by ONNX Runtime, and make the graph from a Keras model.

Keras converts a model to ONNX with tf2onnx, which does not get past Kapre's complex numbers;
so the model is first remade (see :mod:`.variants`) with the portable log-mel, and
with maxima over the bands before what they commute with, which is cheaper. The
graph is compared with the model before it is used, and kept by the digest of the weights, with
its own SHA-256 beside it, which is compared at every use. Those of the bundled models are bundled
too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ExportError, MusicnnZooError, UnknownNameError, WeightsError
from musicnn_zoo.machine.installation import cache_folder, cache_lock, own_folder
from musicnn_zoo.machine.processes import usable_cores
from musicnn_zoo.networks.config import patch_grid
from musicnn_zoo.zoo.downloads import sha256_of
from musicnn_zoo.zoo.load import Pretrained
from musicnn_zoo.zoo.weights import bundled

if TYPE_CHECKING:
    import onnxruntime

    from musicnn_zoo.networks.build import TaggingModel


_TURNS_A_CALL = 8
_ENOUGH = 64


class OnnxEngine:
    """Runs an ONNX graph; see :class:`musicnn_zoo.runtimes.engine.Engine`.

    Patches are computed side by side, each by one core: that is as fast as larger batches, needs
    little memory, and gives a patch the same numbers whatever patches come with it.

    Parameters
    ----------
    graph : Path
        As :mod:`musicnn_zoo.runtimes.onnx_engine` makes it.
    batch_size : int, optional
        Patches that one core computes at once; by default one.

    Raises
    ------
    WeightsError
        If ONNX Runtime cannot read the graph.
    """

    name = "onnxruntime"

    def __init__(self, graph: Path, *, batch_size: int | None = None) -> None:
        self._graph = graph
        self._by_process = {os.getpid(): _Runner(graph)}
        self._batch_size = batch_size or 1
        cores = usable_cores()
        turns = cores * _TURNS_A_CALL
        # Few cores wait little for the last of a call; many get a second call meanwhile, since
        # calls of so many turns would hold much audio.
        self.calls = 1 if turns <= _ENOUGH else 2
        self.appetite = self._batch_size * min(turns, max(_ENOUGH, cores))
        self.outputs = tuple(output.name for output in self._runner().session.get_outputs())

    def missing(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``layers`` that the graph does not give out."""
        return tuple(layer for layer in layers if layer not in self.outputs)

    def run(
        self, windows: NDArray[np.float32], layers: tuple[str, ...]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the activations of ``layers``, as every engine does."""
        for layer in self.missing(layers):
            raise UnknownNameError("output of the ONNX graph", layer, self.outputs)
        step = self._batch_size
        parts = [windows[start : start + step] for start in range(0, len(windows), step)]

        runner = self._runner()

        def compute(part: NDArray[np.float32]) -> list[NDArray[np.float32]]:
            activations: list[NDArray[np.float32]] = runner.session.run(
                list(layers), {"waveform": np.ascontiguousarray(part)}
            )
            return activations

        computed = list(runner.pool.map(compute, parts))
        return {
            layer: np.concatenate([part[i] for part in computed]) for i, layer in enumerate(layers)
        }

    def _runner(self) -> _Runner:
        """Session and threads of this process; those of another one do not outlive a fork."""
        process = os.getpid()
        if process not in self._by_process:
            self._by_process.setdefault(process, _Runner(self._graph))
        return self._by_process[process]


class _Runner:
    """A session, and threads to run it."""

    def __init__(self, graph: Path) -> None:
        self.session = open_session(graph)
        self.pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="musicnn-zoo-onnx")


def open_session(graph: Path) -> onnxruntime.InferenceSession:
    """Open a graph to be run by the threads that call it.

    Raises
    ------
    WeightsError
        If it cannot be read.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            graph, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own errors have no common base
        summary = (str(error).strip().splitlines() or [""])[0]
        raise WeightsError(f"{graph}: ONNX Runtime cannot read this graph ({summary})") from error


_log = logging.getLogger(__name__)

FORMAT = 2
"""Raised when graphs made before must not be used any more."""
TOLERANCE = 1e-4
_KEPT = 16
_FOLDER = "onnx"
_DIGEST = ".sha256"
_LOCK = ".lock"
_NOTE = re.compile(r"([0-9a-f]{64})\s")


def find_graph(pretrained: Pretrained, load: Callable[[], TaggingModel]) -> Path:
    """Find the graph of a pretrained model, or make it.

    Parameters
    ----------
    pretrained : Pretrained
    load : callable
        Gives the Keras model, if it is needed.

    Raises
    ------
    ExportError
        If there is none and it cannot be made.
    WeightsError
        If a bundled graph is damaged.
    """
    if pretrained.graph is not None:
        return bundled(pretrained.graph)
    return _cached(_name_of(pretrained), load)


def has_graph(pretrained: Pretrained) -> bool:
    """Whether :func:`find_graph` needs no model.

    Raises
    ------
    DownloadError, WeightsError
        If nothing is known of the weights and they cannot be had.
    """
    if pretrained.graph is not None:
        return True
    try:
        return _kept(_file_name(_name_of(pretrained))) is not None
    except OSError:
        return False


def graph_of(model: TaggingModel, digest: str) -> Path:
    """Graph of a model whose :func:`weights_digest` this is; kept for the next time.

    Raises
    ------
    ExportError
        If it cannot be made.
    """
    return _cached(f"{model.name}-{digest[:24]}", lambda: model)


def weights_digest(model: TaggingModel) -> str:
    """SHA-256 of a model's configuration, tags and weights."""
    digest = hashlib.sha256(model.zoo_config.to_json().encode())
    digest.update(json.dumps(model.tags).encode())
    for layer in model.layers:
        for value in layer.get_weights():
            digest.update(f"{layer.name} {value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def convert(model: TaggingModel, path: Path) -> float:
    """Write the ONNX graph of a model, if it gives the model's outputs.

    The graph has the input ``waveform`` (batch, samples) and the outputs ``output``, which are
    the scores, and one for each of the model's endpoints. Its metadata hold ``tags`` (JSON),
    ``sample_rate``, ``model``, ``config`` (JSON) and ``format``.

    Parameters
    ----------
    model : TaggingModel
    path : Path
        Appears whole or not at all.

    Returns
    -------
    float
        Largest difference of the scores from the model's, on noise.

    Raises
    ------
    ExportError
        If the converter is missing, cannot convert the model, or the graph differs from it by
        more than 1e-4.
    """
    import keras

    from musicnn_zoo.runtimes.variants import for_runtime

    try:
        import onnx
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"making an ONNX graph of {model.name} needs the converter: "
            "pip install 'musicnn-zoo[onnx]'"
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"making an ONNX graph of {model.name} needs Keras's TensorFlow backend; it runs on "
            f"{keras.backend.backend()} here"
        )
    windows = _noise(model)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "graph.onnx")
        try:
            with _quiet_conversion():
                twin = for_runtime(model, keep=model.endpoints)
                outputs = {name: twin.get_layer(name).output for name in model.endpoints}
                graph = keras.Model(twin.input, outputs | {"output": twin.output})
                graph(windows[:1])
                graph.export(written, format="onnx", verbose=False)
        except Exception as error:  # the converter's errors have no common base
            summary = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ExportError(f"{model.name} cannot become an ONNX graph ({summary})") from error
        proto = onnx.load(written)
    samples = model.input_shape[1] or "samples"
    _name_dimensions(proto.graph.input[0], ["batch", samples])
    for output in proto.graph.output:
        _name_dimensions(output, ["batch"])
    onnx.helper.set_model_props(
        proto,
        {
            "format": str(FORMAT),
            "model": model.name,
            "sample_rate": str(model.zoo_config.input.sample_rate),
            "tags": json.dumps(model.tags),
            "config": json.dumps(model.zoo_config.to_dict()),
        },
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder, path.name)
        onnx.save(proto, unfinished)
        try:
            difference = _difference(unfinished, model, windows)
        except Exception as error:  # ONNX Runtime's own errors have no common base
            summary = (str(error.__cause__ or error).strip().splitlines() or [""])[0]
            raise ExportError(
                f"ONNX Runtime cannot run the graph of {model.name} ({summary})"
            ) from error
        if not difference <= TOLERANCE:
            raise ExportError(
                f"the ONNX graph of {model.name} differs from the model by {difference:.1e}, "
                f"more than {TOLERANCE}"
            )
        unfinished.replace(path)
    return difference


def _name_of(pretrained: Pretrained) -> str:
    return f"{pretrained.spec.name}-{pretrained.digest()[:24]}"


def _file_name(name: str) -> str:
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    return f"{safe}-{FORMAT}.onnx"


def _cached(name: str, load: Callable[[], TaggingModel]) -> Path:
    file = _file_name(name)
    try:
        found = _kept(file)
        if found is None:
            with cache_lock(_FOLDER, file + _LOCK):
                # Another process may have made it meanwhile.
                found = _kept(file, complain=True) or _make(file, load)
    except OSError as error:
        raise ExportError(
            f"{cache_folder() / _FOLDER / file}: cannot keep the ONNX graph there "
            f"({error.strerror}); set MUSICNN_ZOO_CACHE to a folder of your own"
        ) from error
    return found


def _kept(file: str, *, complain: bool = False) -> Path | None:
    """Return a kept graph if it is there and as it was made."""
    path = own_folder(_FOLDER) / file
    if not path.is_file():
        return None
    try:
        _check_kept(path)
    except MusicnnZooError as error:
        if complain:
            _log.warning("%s; making it again", error)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return path


def _check_kept(path: Path) -> None:
    try:
        noted = _NOTE.match(_beside(path, _DIGEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeError):
        noted = None
    if noted is None:
        raise WeightsError(f"{path}: the SHA-256 of the graph is not beside it")
    received = sha256_of(path)
    if received != noted[1]:
        raise WeightsError(
            f"{path}: the graph was changed or damaged; its SHA-256 must be {noted[1]}, "
            f"received {received}"
        )
    open_session(path)


def _make(file: str, load: Callable[[], TaggingModel]) -> Path:
    """Make a graph, then write its SHA-256; without that it does not count."""
    folder = own_folder(_FOLDER, make=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    path = folder / file
    _forget_oldest(folder)
    model = load()
    note = _beside(path, _DIGEST)
    note.unlink(missing_ok=True)
    difference = convert(model, path)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        new_note = Path(unfinished, note.name)
        new_note.write_bytes(f"{sha256_of(path)}  {path.name}\n".encode())
        new_note.replace(note)
    _log.info("made %s, which differs from the Keras model by %.1e", path, difference)
    return path


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _forget_oldest(folder: Path) -> None:
    ages = {}
    for path in folder.glob("*.onnx"):
        with contextlib.suppress(FileNotFoundError):  # another process forgets it, too
            ages[path] = path.stat().st_mtime
    graphs = sorted(ages, key=lambda path: ages[path])
    for path in graphs[: max(0, len(graphs) - _KEPT + 1)]:
        for each in (path, _beside(path, _DIGEST), _beside(path, _LOCK)):
            each.unlink(missing_ok=True)


def _noise(model: TaggingModel) -> NDArray[np.float32]:
    samples = patch_grid(model.zoo_config).patch_samples
    noise = np.random.default_rng(0).standard_normal((3, samples), np.float32)
    loudness = np.array([[0.3], [0.03], [0.0]], np.float32)
    return np.multiply(noise, loudness, dtype=np.float32)


def _difference(path: Path, model: TaggingModel, windows: NDArray[np.float32]) -> float:
    import keras

    session = open_session(path)
    endpoints = {name: model.get_layer(name).output for name in model.endpoints}
    graph = keras.Model(model.input, endpoints | {"output": model.output})
    largest = 0.0
    activations = graph.predict_on_batch(windows)
    names = [output.name for output in session.get_outputs()]
    for name, ours in zip(names, session.run(names, {"waveform": windows}), strict=True):
        theirs = np.asarray(activations[name])
        scale = 1.0 if name == "output" else max(1.0, float(np.abs(theirs).max()))
        largest = max(largest, float(np.abs(ours - theirs).max()) / scale)
    return largest


def _name_dimensions(value: Any, names: list[str | int]) -> None:
    for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
        if isinstance(name, int):
            dimension.dim_value = name
        else:
            dimension.dim_param = name


@contextlib.contextmanager
def _quiet_conversion() -> Iterator[None]:
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what goes wrong is raised
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
