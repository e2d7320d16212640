"""What a run leaves for people: table.md (the same digits whatever run it was), results.json, report.html."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from sab3r_ros import __version__
from sab3r_ros.config import MapAndLocateConfig
from sab3r_ros.evaluation.cost import Cost, cost_of_model
from sab3r_ros.evaluation.data_sets import DataSet
from sab3r_ros.evaluation.groups import SIZES
from sab3r_ros.evaluation.systems import System
from sab3r_ros.evaluation.table import Row, class_table, cost_table, published_table, quality_tables, rows_of
from sab3r_ros.mapping.map_file import write_whole

BARS = 3  # views of the per-class table and bars, as in the paper's Fig. 4


@dataclass(frozen=True)
class Summary:
    """results: by data set, of all its scenes. missing: rows that cannot be had, and why."""

    sets: Sequence[DataSet]
    results: dict[str, list[dict]]
    systems: Sequence[System]
    missing: dict[str, str]
    config: MapAndLocateConfig


def machine() -> dict[str, str]:
    """What the figures of time depend on, and the versions that the others may."""
    return {
        "sab3r_ros": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{processor()}, {torch.get_num_threads()} thread a process",
    }


def processor() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def costs_of(summary: Summary) -> dict[str, Cost | None]:
    """Of each system, for the first data set's images."""
    scene = summary.sets[0].scenes[0]
    view = next(v for k in range(scene.frames) if (v := scene.load(k)) is not None)
    return {s.name: cost_of_model(s.model([view], scene.classes), view.image) for s in summary.systems}


def write_summary(summary: Summary, out: Path) -> str:
    """Writes the files; returns the tables as text."""
    names = [s.name for s in summary.systems]
    rows = {name: rows_of(results, names) for name, results in summary.results.items()}
    tables = quality_text(summary, rows)
    costs = costs_of(summary)
    cost = "".join(f"\n### Cost: {name}\n\n{cost_table(found, costs)}" for name, found in rows.items())
    write_whole(out / "table.md", tables.encode())
    record = {
        "configuration": asdict(summary.config),
        "systems": {s.name: s.identity for s in summary.systems},
        "missing": summary.missing,
        "machine": machine(),
        "costs": {name: asdict(c) if c else None for name, c in costs.items()},
        "data": {s.name: s.about for s in summary.sets},
        "figures": {name: {r.name: row_as_json(r) for r in found} for name, found in rows.items()},
    }
    write_whole(out / "results.json", json.dumps(record, indent=1).encode())
    return tables + cost


def quality_text(summary: Summary, rows: dict[str, list[Row]]) -> str:
    out = []
    for data in summary.sets:
        out.append(f"## {data.name}: {data.about}\n\n{quality_tables(rows[data.name], summary.missing)}\n")
        out.append(class_table(rows[data.name], data.classes, BARS) + "\n")
    return "".join(out) + published_table()


def row_as_json(row: Row) -> dict:
    return {
        "seconds": row.seconds,
        "cpu_seconds": row.cpu_seconds,
        **{
            str(n): {
                **asdict(row.figures[n]),
                "iou": row.figures[n].iou.tolist(),
                "points": row.figures[n].points.tolist(),
                "placed": row.placed[n],
            }
            for n in SIZES
        },
    }
