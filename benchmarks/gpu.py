"""Parity, speed and memory of the four models on a GPU, by one command of at most four minutes.

    python -m benchmarks.gpu                        # TensorFlow
    KERAS_BACKEND=jax python -m benchmarks.gpu      # JAX
    python -m benchmarks.gpu --dry-run              # without a GPU: whether all of it runs

It needs no network. What the time does not allow is left out, and said.

``parity``
    Scores of each bundled model in float32 on the signals of
    :func:`musicnn_zoo.runtimes.engine.probes`, against its ONNX graph on the CPU. The exit status
    is 1 if they differ by more than 1e-4.
``throughput``
    Patches of 3 s a second of one model, by batch size, in float32, in TF32 (float32 whose products
    have 10 bits) and in bfloat16: with patches that are on the device already, and from the
    memory of the host. Memory is what the compiled model needs (JAX), or the peak (TensorFlow).
``files``
    Tagging files, their decoding alone, and the network alone on as many patches: its share of the
    whole is the third over the first. The log-mel's share is that of the network's time.

Numbers are medians of several rounds. All of them go to a JSON file with ``--output``.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import keras
import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.data import make_files
from musicnn_zoo import Tagger, load_audio, load_model
from musicnn_zoo.runtimes.engine import difference, probes
from musicnn_zoo.runtimes.onnx_engine import TOLERANCE, OnnxEngine
from musicnn_zoo.runtimes.variants import with_precision
from musicnn_zoo.tagging.pipeline import reading_threads
from musicnn_zoo.zoo.catalogue import PRESETS
from musicnn_zoo.zoo.load import find_pretrained
from musicnn_zoo.zoo.weights import bundled

MODEL = "MTT_musicnn"
PRECISIONS = ("float32", "TF32", "bfloat16")
BACKEND = keras.backend.backend()
_MEBIBYTE = 2**20

Patches = NDArray[np.float32]


class Plan(NamedTuple):
    """How much is measured."""

    batches: tuple[int, ...]
    rounds: int
    round_s: float
    files: int
    file_s: float
    limit_s: float


FULL = Plan((1, 8, 64, 256), rounds=5, round_s=0.2, files=24, file_s=60.0, limit_s=150.0)
DRY = Plan((1, 2), rounds=1, round_s=0.0, files=2, file_s=6.0, limit_s=50.0)


class Compiled(NamedTuple):
    """A model in one precision: from patches on the device to scores, and what memory it needs."""

    run: Callable[[Any], Any]
    memory_mib: Callable[[Any], float | None]


def gpu_name() -> str | None:
    """Name of the GPU that Keras's backend uses, or None."""
    if BACKEND == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else str(device.device_kind)
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name))


@contextlib.contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Compute products of float32 exactly, or else with the 10 bits of TF32."""
    exact = precision == "float32"
    if BACKEND == "jax":
        import jax

        with jax.default_matmul_precision("float32" if exact else "tensorfloat32"):
            yield
        return
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(not exact)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def compiled(model: keras.Model, precision: str) -> Compiled:
    """Compile a model; it must be run within :func:`arithmetic` of the same precision."""
    if precision == "bfloat16":
        model = with_precision(model, precision)
    if BACKEND == "jax":
        import jax

        weights = [
            [variable.value for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        ]
        function = jax.jit(lambda w, x: model.stateless_call(*w, x, training=False)[0])

        @cache
        def of_shape(shape: tuple[int, ...]) -> Any:
            return function.lower(weights, jax.ShapeDtypeStruct(shape, np.float32)).compile()

        def needed_mib(x: Any) -> float | None:
            found = of_shape(x.shape).memory_analysis()
            if found is None:
                return None
            sizes = found.temp_size_in_bytes, found.argument_size_in_bytes
            return float(sum(sizes) + found.output_size_in_bytes) / _MEBIBYTE

        return Compiled(lambda x: of_shape(x.shape)(weights, x), needed_mib)
    import tensorflow as tf

    signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(signature)

    def peak_mib(x: Any) -> float | None:
        if not tf.config.list_physical_devices("GPU"):
            return None
        tf.config.experimental.reset_memory_stats("GPU:0")
        np.asarray(graph(x))
        return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / _MEBIBYTE

    return Compiled(graph, peak_mib)


def seconds(call: Callable[[], Any], plan: Plan) -> float:
    """Return the median time of a call, which must end with its result on the host."""
    call()
    started = time.perf_counter()
    call()
    repeats = max(1, round(plan.round_s / (time.perf_counter() - started)))
    rounds = []
    for _ in range(plan.rounds):
        started = time.perf_counter()
        for _ in range(repeats):
            call()
        rounds.append((time.perf_counter() - started) / repeats)
    return statistics.median(rounds)


class Benchmark:
    """All parts, and what they found."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._deadline = time.monotonic() + plan.limit_s
        self._model = load_model(MODEL)
        samples = self._model.zoo_config.grid.patch_samples
        random = np.random.default_rng(0)
        self._patches = random.normal(0, 0.1, (max(plan.batches), samples)).astype(np.float32)
        self._patch_s = samples / self._model.zoo_config.input.sample_rate
        self.found: dict[str, Any] = {"left_out": []}

    def parity(self) -> None:
        """Compare each bundled model with its ONNX graph."""
        found = self.found["parity"] = {}
        for name in (preset.name for preset in PRESETS.values() if preset.graph is not None):
            if self._is_late(f"parity of {name}"):
                continue
            model, graph = load_model(name), find_pretrained(name).graph
            assert graph is not None
            signals = probes(model.zoo_config)
            expected = OnnxEngine(bundled(graph)).run(signals, ("output",))["output"]
            with arithmetic("float32"):
                received = compiled(model, "float32").run(keras.ops.convert_to_tensor(signals))
                found[name] = difference(expected, np.asarray(received))
        rows = [[name, f"{value:.1e}"] for name, value in found.items()]
        _show("parity", report.table(["model", "largest difference"], rows))

    def throughput(self) -> None:
        """Time batches of patches in each precision."""
        found: list[dict[str, Any]] = []
        self.found["throughput"] = found
        for precision in PRECISIONS:
            model = compiled(self._model, precision)
            for batch in self._plan.batches:
                if self._is_late(f"{precision}, batch {batch}"):
                    continue
                measured = self._measured(model, precision, batch)
                found.append({"precision": precision, "batch": batch, **measured})
        rows = [
            [
                f"{row['precision']}, {row['batch']}", f"{row['on_device']:.0f}",
                f"{row['from_host']:.0f}", f"{row['on_device'] * self._patch_s:.0f}",
                _shown(row["memory_mib"]),
            ]
            for row in found
        ]  # fmt: skip
        header = ["precision, batch", "patches/s", "from the host", "× real time", "memory, MiB"]
        _show(f"throughput of {MODEL}", report.table(header, rows))

    def _measured(self, model: Compiled, precision: str, batch: int) -> dict[str, float | None]:
        patches = self._patches[:batch]
        with arithmetic(precision):
            x = keras.ops.convert_to_tensor(patches)
            on_device = seconds(lambda: np.asarray(model.run(x)), self._plan)
            from_host = seconds(
                lambda: np.asarray(model.run(keras.ops.convert_to_tensor(patches))), self._plan
            )
            memory_mib = model.memory_mib(x)
        return {
            "on_device": batch / on_device, "from_host": batch / from_host,
            "memory_mib": memory_mib,
        }  # fmt: skip

    def files(self) -> None:
        """Tag files, and do the parts of that alone."""
        if self._is_late("files"):
            return
        plan = self._plan
        with tempfile.TemporaryDirectory() as folder:
            paths = make_files(Path(folder), [plan.file_s] * plan.files)
            audio_s = plan.files * plan.file_s

            def decode() -> int:
                with ThreadPoolExecutor(reading_threads()) as pool:
                    return sum(len(audio.samples) for audio in pool.map(load_audio, paths))

            tagger = Tagger(MODEL, engine=BACKEND)

            def tag() -> None:
                for result in tagger.tag_files(paths, isolate=False):
                    result.unwrap()

            once = plan._replace(rounds=min(3, plan.rounds), round_s=0)
            times = {"tagging": seconds(tag, once), "decoding": seconds(decode, once)}
        batch = min(64, max(plan.batches))
        patches = self._patches[:batch]
        with arithmetic("TF32"):  # as the engine leaves it
            logmel = keras.Model(self._model.input, self._model.get_layer("logmel").output)
            for name, part in (("network", self._model), ("log-mel", logmel)):
                run = compiled(part, "TF32").run
                x = keras.ops.convert_to_tensor(patches)
                a_batch_s = seconds(lambda run=run, x=x: np.asarray(run(x)[0, 0]), plan)
                times[name] = a_batch_s / batch * audio_s / self._patch_s
        share = times["network"] / times["tagging"]
        self.found["files"] = {
            "audio_s": audio_s, "seconds": times, "network_share": share,
            "logmel_share_of_network": times["log-mel"] / times["network"],
        }  # fmt: skip
        rows = [
            [name, f"{value:.2f}", f"{audio_s / value:.0f}", f"{value / times['tagging']:.3f}"]
            for name, value in times.items()
        ]
        header = [f"{plan.files} files of {plan.file_s:.0f} s", "s", "× real time", "share"]
        _show("files", report.table(header, rows))

    def _is_late(self, what: str) -> bool:
        late = time.monotonic() > self._deadline
        if late:
            self.found["left_out"].append(what)
        return late


def _shown(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


def _show(title: str, table: str) -> None:
    click.echo(f"\n## {title}\n\n{table}")


@click.command()
@click.option("--dry-run", is_flag=True, help="A little of everything, on a CPU too.")
@click.option("--output", type=click.Path(path_type=Path), help="Write all numbers: .json.")
def main(dry_run: bool, output: Path | None) -> None:
    """Measure the models on a GPU; see `python -m pydoc benchmarks.gpu`."""
    if BACKEND not in ("jax", "tensorflow"):
        raise click.UsageError(f"needs KERAS_BACKEND jax or tensorflow; received {BACKEND}")
    gpu = gpu_name()
    if gpu is None and not dry_run:
        raise click.UsageError(f"{BACKEND} sees no GPU here; --dry-run needs none")
    machine = {**report.machine(), "gpu": gpu, "backend": BACKEND, "keras": keras.__version__}
    click.echo("\n".join(f"- {key}: {value}" for key, value in machine.items()))
    benchmark = Benchmark(DRY if dry_run else FULL)
    benchmark.parity()
    benchmark.throughput()
    benchmark.files()
    if output is not None:
        results = {"machine": machine, **benchmark.found}
        output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for what in benchmark.found["left_out"]:
        click.echo(f"left out, for lack of time: {what}", err=True)
    far = [name for name, value in benchmark.found["parity"].items() if not value <= TOLERANCE]
    if far:
        raise click.ClickException(f"more than {TOLERANCE} from the graph: {', '.join(far)}")


if __name__ == "__main__":
    main()
