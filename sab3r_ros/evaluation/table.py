"""Map and Locate's results as tables that a person reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sab3r_ros.evaluation.cost import Cost
from sab3r_ros.evaluation.groups import SIZES
from sab3r_ros.evaluation.map_and_locate import Figures, figures
from sab3r_ros.evaluation.record import table
from sab3r_ros.evaluation.runner import score_from_json
from sab3r_ros.evaluation.systems import PUBLISHED

QUALITY = (
    "mIoU %", "Acc %", "mComp", "mdComp", "mComp m", "mdComp m", "≤ 5 cm %", "≤ 10 cm %", "coverage %", "views placed %",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One system. figures: by group size. placed: share of views by group size. seconds, cpu_seconds: medians a frame."""

    name: str
    figures: dict[int, Figures]
    placed: dict[int, float]
    seconds: float
    cpu_seconds: float


def rows_of(results: Sequence[dict], names: Sequence[str]) -> list[Row]:
    """results: of all scenes, as result files have them."""
    rows = []
    for name in names:
        groups = [g for result in results for g in result["groups"]]
        by_size = {n: [g["rows"][name] for g in groups if len(g["views"]) == n] for n in SIZES}
        every = [row for found in by_size.values() for row in found]
        classes = len(results[0]["classes"]) if results else 0
        rows.append(
            Row(
                name,
                {n: figures([score_from_json(r, classes) for r in rs], classes) for n, rs in by_size.items()},
                {
                    n: float(np.mean([r["placed"] / n for r in rs])) if rs else math.nan
                    for n, rs in by_size.items()
                },
                float(np.median([r["seconds"] for r in every])) if every else math.nan,
                float(np.median([r["cpu_seconds"] for r in every])) if every else math.nan,
            )
        )
    return rows


def shown(value: float, factor: float = 1, digits: int = 2) -> str:
    return "–" if math.isnan(value) else f"{factor * value:.{digits}f}"


def quality_cells(row: Row, size: int) -> list[str]:
    f = row.figures[size]
    return [
        shown(f.miou, 100), shown(f.accuracy, 100), shown(f.mcomp), shown(f.mdcomp), shown(f.mcomp_m, 1, 3),
        shown(f.mdcomp_m, 1, 3), shown(f.near[0], 100, 1), shown(f.near[1], 100, 1), shown(f.coverage[1], 100, 1),
        shown(row.placed[size], 100, 1),
    ]  # fmt: skip


def quality_tables(rows: Sequence[Row], missing: dict[str, str]) -> str:
    """One table a group size, and why rows are empty. The same results give the same digits: no time is in it."""
    out = []
    for size in SIZES:
        groups = max((row.figures[size].groups for row in rows), default=0)
        body = [[row.name, *quality_cells(row, size)] for row in rows]
        body += [[name, "not here", *["–"] * (len(QUALITY) - 1)] for name in missing]
        out.append(f"{size} views, {groups} groups\n\n{table(('', *QUALITY), body)}")
    out.append("".join(f"- {name}: {why}\n" for name, why in missing.items()))
    return "\n".join(out)


def class_table(rows: Sequence[Row], classes: Sequence[str], size: int) -> str:
    """IoU a class in per cent, of classes that the truth has, the commonest first; with their shares of the true points."""
    points = rows[0].figures[size].points if rows else np.zeros(0)
    order = [k for k in np.argsort(-points, kind="stable") if points[k] > 0]
    body = [
        [
            classes[k],
            shown(points[k] / points.sum(), 100, 1),
            *(shown(r.figures[size].iou[k], 100, 1) for r in rows),
        ]
        for k in order
    ]
    return table((f"IoU %, {size} views", "of points %", *(r.name for r in rows)), body)


def cost_table(rows: Sequence[Row], costs: dict[str, Cost | None]) -> str:
    """Parameters, FLOPs, and time on this machine, which no two runs share."""
    body = [
        [
            row.name,
            f"{cost.parameters / 1e6:.1f} M" if (cost := costs.get(row.name)) else "–",
            f"{cost.flops / 1e9:.1f} G" if cost else "–",
            shown(row.seconds, 1, 3),
            shown(row.cpu_seconds, 1, 3),
        ]
        for row in rows
    ]
    return table(("", "parameters", "FLOPs a frame", "s a frame", "CPU s a frame"), body)


def published_table() -> str:
    """The paper's own rows (Table 3, ScanNet), quoted."""
    head = ["quoted from the paper, ScanNet", "parameters", "FLOPs a frame"]
    head += [f"{n} views: mIoU / Acc / mComp / mdComp" for n in SIZES]
    body = [
        [
            p.name,
            p.parameters,
            p.flops,
            *(" / ".join(f"{v:.2f}" for v in f) if f else "–" for f in p.figures),
        ]
        for p in PUBLISHED
    ]
    return table(head, body)
