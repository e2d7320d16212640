"""What a benchmark leaves: a table for people, and a record of figures with all they depend on."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sab3r_ros import __version__
from sab3r_ros.mapping.map_file import write_whole

Cell = float | int | str


def machine() -> dict[str, str]:
    """Versions and the computer: what times depend on, and other figures may."""
    return {
        "sab3r_ros": __version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "PyTorch": torch.__version__,
        "processor": processor(),
        "threads": f"{torch.get_num_threads()} a process",
        "CUDA device": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def processor() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Cells as a Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown(rows: Mapping[str, Mapping[str, Cell]]) -> str:
    """Rows by name, their columns in the order in which they first occur. Floats with two digits, NaN and gaps as –."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))

    def shown(value: Cell) -> str:
        if isinstance(value, float):
            return "–" if math.isnan(value) else f"{value:.2f}"
        return str(value)

    return table(
        ("", *columns),
        [[name, *(shown(row.get(c, math.nan)) for c in columns)] for name, row in rows.items()],
    )


@dataclass(frozen=True)
class Record:
    """One run. title: benchmark and data. about: which reading of the protocol. configuration: everything that was chosen,
    seed and model included. rows: the table. items: figures of each image or scene, by name."""

    title: str
    about: str
    configuration: dict[str, Any]
    rows: dict[str, dict[str, Cell]]
    items: dict[str, dict[str, Any]] = field(default_factory=dict)

    def text(self) -> str:
        return f"## {self.title}\n\n{self.about}\n\n{markdown(self.rows)}"

    def write(self, folder: Path, stem: str) -> None:
        """STEM.md and STEM.json, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(finite(asdict(self) | {"machine": machine()}), indent=1) + "\n"
        for ending, text in ((".md", self.text()), (".json", content)):
            write_whole(folder / (stem + ending), text.encode())


def finite(value: Any) -> Any:
    """NaN and infinity become null, which JSON has."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
