"""The benchmark of a GPU, which runs here without one, a little of everything."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BUNDLED, ROOT

COMMAND = [sys.executable, "-m", "benchmarks.gpu"]


def run(backend: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"}
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_all_parts_run_without_a_gpu(backend: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    output = tmp_path / "gpu.json"
    done = run(backend, "--dry-run", "--output", str(output))
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text(encoding="utf-8"))
    assert (found["machine"]["backend"], found["machine"]["gpu"]) == (backend, None)
    assert found["left_out"] == []
    assert set(found["parity"]) == set(BUNDLED)
    assert 0 < max(found["parity"].values()) < 1e-4
    measured = [(row["precision"], row["batch"]) for row in found["throughput"]]
    assert measured == [(p, b) for p in ("float32", "TF32", "bfloat16") for b in (1, 2)]
    assert all(row["on_device"] > 0 and row["from_host"] > 0 for row in found["throughput"])
    if backend == "jax":
        assert found["throughput"][1]["memory_mib"] > found["throughput"][0]["memory_mib"] > 3
    files = found["files"]
    assert set(files["seconds"]) == {"tagging", "decoding", "network", "log-mel"}
    assert files["network_share"] == files["seconds"]["network"] / files["seconds"]["tagging"]
    assert 0 < files["logmel_share_of_network"] < 1
    for title in ("## parity", "## throughput of MTT_musicnn", "## files"):
        assert title in done.stdout


def test_a_machine_without_a_gpu_is_refused() -> None:
    done = run("tensorflow")
    assert done.returncode == 2
    assert "tensorflow sees no GPU here; --dry-run needs none" in done.stderr
