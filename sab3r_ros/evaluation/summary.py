"""What a run leaves for people: table.md (the same digits whatever run it was), results.json, report.html."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from sab3r_ros.evaluation.groups import SIZES
from sab3r_ros.evaluation.outcome import BARS, Outcome
from sab3r_ros.evaluation.record import finite, machine
from sab3r_ros.evaluation.report import report_html
from sab3r_ros.evaluation.table import Row, class_table, cost_table, published_table, quality_tables
from sab3r_ros.mapping.map_file import write_whole


def write_summary(outcome: Outcome, out: Path) -> str:
    """Writes the files; returns the tables as text."""
    tables = quality_text(outcome)
    cost = "".join(
        f"\n### Cost: {name}\n\n{cost_table(rows, outcome.costs)}" for name, rows in outcome.rows.items()
    )
    record = {
        "configuration": asdict(outcome.config),
        "systems": {s.name: s.identity for s in outcome.systems},
        "missing": outcome.missing,
        "machine": machine(),
        "costs": {name: asdict(c) if c else None for name, c in outcome.costs.items()},
        "data": {s.name: s.about for s in outcome.sets},
        "figures": {
            name: {row.name: row_as_json(row) for row in rows} for name, rows in outcome.rows.items()
        },
    }
    write_whole(out / "table.md", tables.encode())
    write_whole(out / "results.json", json.dumps(finite(record), indent=1).encode())
    write_whole(out / "report.html", report_html(outcome).encode())
    return tables + cost


def quality_text(outcome: Outcome) -> str:
    out = []
    for data in outcome.sets:
        rows = outcome.rows[data.name]
        out.append(f"## {data.name}: {data.about}\n\n{quality_tables(rows, outcome.missing)}\n")
        out.append(class_table(rows, data.classes, BARS) + "\n")
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
