"""From measurements to Markdown and plain data."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.schedule import Measured


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table, the first column of texts, the others of numbers."""
    rule = ["---", *("--:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def timing(
    measured: dict[str, Measured], unit: str, in_unit: Callable[[float], float]
) -> tuple[str, dict[str, Any]]:
    """Return the ratios to the first candidate, and the medians in some unit."""
    rows, data = [], {}
    first = next(iter(measured), "")
    for name, one in measured.items():
        ratio, low, high = one.ratio(measured[first])
        data[name] = {"seconds": one.seconds, "ratio": ratio, "spread": [low, high]}
        rows.append([name, f"{ratio:.2f}", f"{low:.2f}–{high:.2f}", f"{in_unit(one.median_s):.3g}"])
    return table(["candidate", f"time, {first} = 1", "spread", unit], rows), data


def agreement(
    measured: dict[str, Measured], what: str, rows: slice
) -> tuple[str, dict[str, dict[str, float]]]:
    """Compare some rows of scores of each candidate with those of the first."""
    scores = {name: np.array(one.answer["scores"])[rows] for name, one in measured.items()}
    first = next(iter(scores), "")
    data = {}
    for name in list(scores)[1:]:
        difference = np.abs(scores[name] - scores[first])
        same = scores[name].argmax(axis=1) == scores[first].argmax(axis=1)
        data[name] = {
            "same_top_tag": float(same.mean()),
            "mean_difference": float(difference.mean()),
            "largest_difference": float(difference.max()),
        }
    lines = [[name, *(f"{value:.2g}" for value in one.values())] for name, one in data.items()]
    header = [f"{what}, compared with {first}", "same top tag", "mean difference", "largest"]
    return table(header, lines), data


def machine() -> dict[str, Any]:
    """Describe the machine."""
    described: dict[str, Any] = {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpuinfo.exists():
        lines = [line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line]
        facts = {key.strip(): value.strip() for key, value in lines}
        flags = facts.get("flags", "").split()
        described["processor"] = facts.get("model name", described["processor"])
        described["instructions"] = [
            flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if flag in flags
        ]
    if meminfo.exists():
        described["memory_gib"] = round(int(meminfo.read_text().split()[1]) / 1024**2, 1)
    if hasattr(os, "getloadavg"):
        described["load_at_start"] = round(os.getloadavg()[0], 2)
    return described
