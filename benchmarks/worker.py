"""One candidate in a process of its own, under whatever interpreter has its libraries.

    python worker.py CANDIDATE OPTIONS          jobs by standard input, one JSON a line
    python worker.py CANDIDATE OPTIONS PATH     tag one file and end

Knows nothing but the standard library until a candidate is loaded.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[[Any], Any]
"""From patches, or from a list of paths, to a row of scores for each, as the model's tags."""

_LIBRARIES = (
    "numpy", "tensorflow", "keras", "tf-keras", "kapre", "onnxruntime", "torch",
    "librosa", "soxr", "soundfile", "av", "essentia-tensorflow", "musicnn",
)  # fmt: skip


def load_keras(options: dict[str, Any]) -> Run:
    """Load the plain Keras graph, for patches."""
    if not options.get("onednn", True):
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    import tensorflow as tf

    from musicnn_zoo import load_model

    model = load_model(options["model"])
    graph = tf.function(lambda windows: model(windows, training=False))
    return lambda patches: graph(patches).numpy()


def load_engine(options: dict[str, Any]) -> Run:
    """Load what this project computes patches with."""
    from musicnn_zoo import Tagger

    engine = Tagger(options["model"], engine=options["engine"]).engine_for(("output",))
    return lambda patches: engine.run(patches, ("output",))["output"]


def load_onnxruntime(options: dict[str, Any]) -> Run:
    """Load a bare session on the whole model's graph, for patches."""
    import onnxruntime

    session = onnxruntime.InferenceSession(options["graph"], providers=["CPUExecutionProvider"])
    return lambda patches: session.run(None, {session.get_inputs()[0].name: patches})[0]


def load_torch(options: dict[str, Any]) -> Run:
    """Write the same network in PyTorch, for patches; weights from :mod:`benchmarks.export`."""
    import numpy as np
    import torch
    from torch.nn import functional as F  # noqa: N812

    w = {name: torch.from_numpy(values) for name, values in np.load(options["weights"]).items()}
    axes = {4: (3, 2, 0, 1), 3: (2, 1, 0), 2: (1, 0)}  # of kernels, Keras's in PyTorch's order
    for name in w:
        if name.endswith("/kernel"):
            w[name] = w[name].permute(axes[w[name].ndim]).contiguous()
    window = torch.hann_window(512)

    def norm(x: Any, layer: str) -> Any:
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        return F.batch_norm(x, *(w[f"{layer}/{name}"] for name in names), eps=1e-3)

    def conv(x: Any, layer: str, norm_layer: str, padding: Any = "same") -> Any:
        convolve = F.conv2d if x.ndim == 4 else F.conv1d
        x = convolve(x, w[f"{layer}/kernel"], w[f"{layer}/bias"], padding=padding)
        return norm(F.relu(x), norm_layer)

    def dense(x: Any, layer: str) -> Any:
        return F.linear(x, w[f"{layer}/kernel"], w[f"{layer}/bias"])

    def forward(patches: Any) -> Any:
        waveform = torch.from_numpy(patches)
        stft = torch.stft(waveform, 512, 256, window=window, center=False, return_complex=True)
        mel = torch.log10(10000 * (w["mel"] @ stft.abs().square()) + 1)
        x = norm(mel.transpose(1, 2)[:, None], "input_bn")  # batch, 1, frames, bands
        shapes: dict[str, Any] = {"timbral_38": (3, 0), "timbral_67": (3, 0)}
        shapes |= {"temporal_128": "same", "temporal_64": "same", "temporal_32": "same"}
        branches = [
            conv(x, f"frontend_{shape}", f"frontend_{shape}_bn", padding).amax(dim=3)
            for shape, padding in shapes.items()
        ]
        features = torch.cat(branches, dim=1)
        cnn1 = conv(features, "midend_conv1", "cnn1")
        cnn2 = cnn1 + conv(cnn1, "midend_conv2", "midend_conv2_bn")
        cnn3 = cnn2 + conv(cnn2, "midend_conv3", "midend_conv3_bn")
        features = torch.cat([features, cnn1, cnn2, cnn3], dim=1)
        pooled = torch.stack([features.amax(dim=2), features.mean(dim=2)], dim=2).flatten(1)
        x = norm(F.relu(dense(norm(pooled, "backend_bn"), "backend_dense")), "penultimate")
        return torch.sigmoid(dense(x, "logits")).numpy()

    run: Run = torch.inference_mode()(forward)
    return run


def load_project(options: dict[str, Any]) -> Run:
    """Load this project, for files."""
    from musicnn_zoo import Tagger

    tagger = Tagger(options["model"], engine=options["engine"])

    def run(paths: list[str]) -> list[list[float]]:
        results = tagger.tag_files(paths, top_k=len(tagger.tags))
        scores = [dict(result.unwrap()) for result in results]
        return [[one[tag] for tag in tagger.tags] for one in scores]

    return run


def load_essentia(options: dict[str, Any]) -> Run:
    """Load Essentia with a graph of :mod:`benchmarks.export`, for files."""
    import essentia
    import numpy as np
    from essentia import standard

    essentia.log.infoActive = essentia.log.warningActive = False
    predict = standard.TensorflowPredictMusiCNN(graphFilename=options["graph"], patchHopSize=187)

    def scores(path: str) -> Any:
        audio = standard.MonoLoader(filename=path, sampleRate=16000, resampleQuality=4)()
        return predict(audio).mean(axis=0)

    return lambda paths: np.array([scores(path) for path in paths])


def load_original(options: dict[str, Any]) -> Run:
    """Load the original musicnn, for files."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import numpy as np
    from musicnn.extractor import extractor

    def scores(path: str) -> Any:
        return extractor(path, model=options["model"], extract_features=False)[0].mean(axis=0)

    return lambda paths: np.array([scores(path) for path in paths])


def _do(run: Run, job: dict[str, Any]) -> dict[str, Any]:
    given = job.get("paths")
    if given is None:
        import numpy as np

        noise = np.random.default_rng(0).normal(0, 0.1, (job["batch"], 48128))
        given = noise.astype(np.float32)
    start = time.perf_counter()
    for _ in range(job.get("repeats", 1)):
        scores = run(given)
    seconds = time.perf_counter() - start
    rows = scores if isinstance(scores, list) else scores.tolist()
    return {"seconds": seconds, "scores": rows, "peak_mib": _peak_mib()}


def _peak_mib() -> float:
    """Peak resident memory; Linux's ``ru_maxrss`` begins with that of the parent process."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def _versions() -> dict[str, str]:
    found = importlib.metadata.distributions()
    installed = {one.metadata["Name"].replace("_", "-"): one.version for one in found}
    kept = {name: installed[name] for name in _LIBRARIES if name in installed}
    return {"python": sys.version.split()[0], **kept}


def main() -> None:
    """Load the candidate and do what is asked."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries may print what they like
    sys.path.pop(0)  # the folder of this script
    _, candidate, options, *paths = sys.argv
    run: Run = globals()[f"load_{candidate}"](json.loads(options))
    if paths:
        run(paths)
        return
    print(json.dumps({"versions": _versions()}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_do(run, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
