"""Run an ONNX graph by ONNX Runtime, and make the graph from a Keras model.

Keras converts a model to ONNX with tf2onnx, which cannot convert the complex numbers of Kapre. So
the model is first remade (see :mod:`musicnn_zoo.runtimes.pruning` and
:mod:`musicnn_zoo.runtimes.variants`) without constant channels, with a log-mel of plain operations,
and, which is cheaper, with maxima before BatchNorm and wide filters by transforms. The graph is
compared with the model before it is used, and kept by the digest of the weights, with its own
SHA-256 beside it, which is compared at every use. Graphs of the bundled models are bundled.
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
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ExportError, UnknownNameError, WeightsError
from musicnn_zoo.files import raising, sha256_of
from musicnn_zoo.machine.installation import cache_folder, cache_lock, own_folder
from musicnn_zoo.machine.processes import ForkedLock, usable_cores
from musicnn_zoo.runtimes.engine import difference, probes
from musicnn_zoo.text import first_line
from musicnn_zoo.zoo.load import Pretrained
from musicnn_zoo.zoo.onnx_file import outputs_of, with_outputs
from musicnn_zoo.zoo.weights import bundled

if TYPE_CHECKING:
    import keras
    import onnxruntime

    from musicnn_zoo.networks.build import TaggingModel


_log = logging.getLogger(__name__)

FORMAT = 5
"""Increased when graphs that were made before must not be used any more."""
TOLERANCE = 1e-4
_BATCHES_PER_CORE = 8
_MOST_BATCHES = 64
_MOST_KEPT = 16
_MOST_SESSIONS = 3
_SCORES = ("output",)
_FOLDER = "onnx"
_DIGEST = ".sha256"
_LOCK = ".lock"
_NOTE = re.compile(r"([0-9a-f]{64})\s")


class OnnxEngine:
    """Runs an ONNX graph; see :class:`musicnn_zoo.runtimes.engine.Engine`.

    Patches are computed side by side, each by one core, or ``batch_size`` of them: that is as fast
    as larger batches, needs little memory, and gives a patch the same numbers whatever patches come
    with it. A WeightsError is raised if ONNX Runtime cannot read the graph.
    """

    name = "onnxruntime"

    def __init__(self, graph: Path | bytes, *, batch_size: int | None = None) -> None:
        self._graph = graph
        self._by_process = {os.getpid(): _Runner(graph)}
        self.outputs = self._runner().outputs
        self._batch_size = batch_size or 1
        cores = usable_cores()
        batches = cores * _BATCHES_PER_CORE
        # At the end of a call, cores wait for the last batch. Few cores wait little. Many cores
        # get a second call meanwhile, because larger calls would hold much audio in memory.
        self.calls = 1 if batches <= _MOST_BATCHES else 2
        self.patches_per_call = self._batch_size * min(batches, max(_MOST_BATCHES, cores))

    def missing(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of ``layers`` that are no outputs of the graph."""
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
        session = runner.session_for(layers)

        def compute(part: NDArray[np.float32]) -> list[NDArray[np.float32]]:
            activations: list[NDArray[np.float32]] = session.run(
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
    """Sessions for the outputs that are asked for together, and threads to run them."""

    def __init__(self, graph: Path | bytes) -> None:
        self.pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="musicnn-zoo-onnx")
        self._graph = graph
        self._lock = ForkedLock()
        self._sessions = {frozenset(_SCORES): open_session(graph, _SCORES)}
        self.outputs = outputs_of(_content(graph))

    def session_for(self, layers: Iterable[str]) -> onnxruntime.InferenceSession:
        """Session that computes these outputs and no others, or, of many sets, one for all."""
        wanted = frozenset(layers)
        if wanted in self._sessions:
            return self._sessions[wanted]
        with self._lock:
            if wanted not in self._sessions and len(self._sessions) >= _MOST_SESSIONS:
                wanted = frozenset(self.outputs)
            if wanted not in self._sessions:
                self._sessions[wanted] = open_session(self._graph, wanted)
            return self._sessions[wanted]


def _content(graph: Path | bytes) -> bytes:
    return graph if isinstance(graph, bytes) else graph.read_bytes()


def open_session(
    graph: Path | bytes, outputs: Collection[str] | None = None
) -> onnxruntime.InferenceSession:
    """Open a graph to be run by the threads that call it; a WeightsError if it cannot be read.

    What only other ``outputs`` need is not computed; by default it has all.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # ONNX Runtime's own errors have no common base.
    called = "a graph" if isinstance(graph, bytes) else graph
    with raising(
        WeightsError, f"{called}: ONNX Runtime cannot read this graph", instead_of=Exception
    ):
        content = graph if outputs is None else with_outputs(_content(graph), outputs)
        return onnxruntime.InferenceSession(
            content, sess_options=options, providers=["CPUExecutionProvider"]
        )


def find_graph(pretrained: Pretrained, load: Callable[[], TaggingModel]) -> Path:
    """Find the graph of a pretrained model, or make it of the Keras model that ``load`` returns.

    An ExportError is raised if it cannot be made, a WeightsError if a bundled graph is damaged.
    """
    if pretrained.graph is not None:
        return bundled(pretrained.graph)
    return _cached(_name_of(pretrained), load)


def graph_of(model: TaggingModel, digest: str) -> Path:
    """Find the graph of a model by its :func:`weights_digest`, or make it."""
    return _cached(f"{model.name}-{digest[:24]}", lambda: model)


def has_graph(pretrained: Pretrained) -> bool:
    """Whether :func:`find_graph` needs no model.

    A DownloadError or WeightsError is raised if nothing is known of the weights and they cannot be
    downloaded or read.
    """
    if pretrained.graph is not None:
        return True
    try:
        return _kept(_file_name(_name_of(pretrained))) is not None
    except OSError:
        return False


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

    The graph has the input ``waveform`` (batch, samples) and the outputs ``output``, which are the
    scores, and one for each of the model's endpoints. It lacks channels that are constant whatever
    is played (see :mod:`.pruning`). Its metadata hold ``tags`` (JSON), ``sample_rate``, ``model``,
    ``config`` (JSON), ``format``, ``filters`` (JSON: how many of each convolution are alive, and of
    how many), and ``pruning_bound`` (by how much a score may differ for that). The file appears
    whole or not at all.

    Return the largest difference of an output from the model's, on the signals of
    :func:`musicnn_zoo.runtimes.engine.probes`. An ExportError is raised if the converter is
    missing, cannot convert the model, or that difference is more than 1e-4.
    """
    import keras

    from musicnn_zoo.runtimes.pruning import prune
    from musicnn_zoo.runtimes.variants import in_plain_operations

    try:
        import onnx
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"making an ONNX graph of {model.name} needs the converter: "
            "pip install 'musicnn-zoo[onnx]'"
        ) from error
    require_tensorflow(model, "an ONNX graph")
    signals = probes(model.zoo_config)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "graph.onnx")
        failure = f"{model.name} cannot become an ONNX graph"
        # The converter's errors have no common base.
        with muted("tf2onnx"), raising(ExportError, failure, instead_of=Exception):
            pruned = prune(model, keep=model.endpoints)
            graph = in_plain_operations(pruned.model, keep=model.endpoints, transforms=True)
            graph(signals[:1])
            graph.export(written, format="onnx", verbose=False)
        proto = onnx.load(written)
    batch, samples = proto.graph.input[0].type.tensor_type.shape.dim
    if model.input_shape[1] is None:
        samples.dim_param = "samples"
    else:
        samples.dim_value = model.input_shape[1]
    batch.dim_param = "batch"
    filters = {
        name: counts
        for name, counts in pruned.filters.items()
        if not isinstance(model.get_layer(name), keras.layers.Dense)
    }
    for output in proto.graph.output:
        for dimension in output.type.tensor_type.shape.dim[:1]:
            dimension.dim_param = "batch"
    onnx.helper.set_model_props(
        proto,
        {
            "format": str(FORMAT),
            "model": model.name,
            "sample_rate": str(model.zoo_config.input.sample_rate),
            "tags": json.dumps(model.tags),
            "config": json.dumps(model.zoo_config.to_dict()),
            "filters": json.dumps(filters),
            "pruning_bound": f"{pruned.bound:.1e}",
        },
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder, path.name)
        onnx.save(proto, unfinished)
        try:
            found = _difference(unfinished, model, signals)
        except Exception as error:  # ONNX Runtime's own errors have no common base
            raise ExportError(
                f"ONNX Runtime cannot run the graph of {model.name} "
                f"({first_line(error.__cause__ or error)})"
            ) from error
        if not found <= TOLERANCE:
            raise ExportError(
                f"the ONNX graph of {model.name} differs from the model by {found:.1e}, "
                f"more than {TOLERANCE}"
            )
        unfinished.replace(path)
    return found


def require_tensorflow(model: keras.Model, what: str) -> None:
    """Refuse, by an ExportError, to convert a model on another backend of Keras."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"making {what} of {model.name} needs Keras's TensorFlow backend "
            f"(KERAS_BACKEND=tensorflow); it runs on {keras.backend.backend()} here"
        )


@contextlib.contextmanager
def muted(*names: str) -> Iterator[None]:
    """Suppress warnings and the messages of loggers; what goes wrong must be raised."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _difference(path: Path, model: TaggingModel, waveforms: NDArray[np.float32]) -> float:
    """Largest :func:`difference` of an output of a graph from the same output of its model."""
    session = open_session(path)
    names = [output.name for output in session.get_outputs()]
    expected = _with_endpoints(model, model.endpoints).predict_on_batch(waveforms)
    received = session.run(names, {"waveform": waveforms})
    differences = [
        difference(np.asarray(expected[name]), output)
        for name, output in zip(names, received, strict=True)
    ]
    return float(np.max(differences))  # NaN if one is NaN


def _with_endpoints(model: keras.Model, endpoints: tuple[str, ...]) -> keras.Model:
    import keras

    outputs = {name: model.get_layer(name).output for name in endpoints}
    return keras.Model(model.input, outputs | {"output": model.output})


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
        _check_digest(path)
        open_session(path)
    except WeightsError as error:
        if complain:
            _log.warning("%s; making it again", error)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return path


def _check_digest(path: Path) -> None:
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


def _make(file: str, load: Callable[[], TaggingModel]) -> Path:
    """Make a graph, then write its SHA-256; without that it does not count."""
    folder = own_folder(_FOLDER, make=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    path = folder / file
    _remove_oldest(folder)
    model = load()
    note = _beside(path, _DIGEST)
    note.unlink(missing_ok=True)
    found = convert(model, path)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        new_note = Path(unfinished, note.name)
        new_note.write_bytes(f"{sha256_of(path)}  {path.name}\n".encode())
        new_note.replace(note)
    _log.info("made %s, which differs from the Keras model by %.1e", path, found)
    return path


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _remove_oldest(folder: Path) -> None:
    ages = {}
    for path in folder.glob("*.onnx"):
        with contextlib.suppress(FileNotFoundError):  # another process removes it, too
            ages[path] = path.stat().st_mtime
    graphs = sorted(ages, key=lambda path: ages[path])
    for path in graphs[: max(0, len(graphs) - _MOST_KEPT + 1)]:
        for each in (path, _beside(path, _DIGEST), _beside(path, _LOCK)):
            each.unlink(missing_ok=True)
