"""One HTML file with everything: tables, per-class bars (paper Fig. 4), truth and prediction (Fig. 5, 7), camera distributions
(Fig. 6), features in 3D (Fig. 8), and what is needed to do it again.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from sab3r_ros.evaluation import groups, labels, map_and_locate
from sab3r_ros.evaluation.data_sets import DataSet
from sab3r_ros.evaluation.examples import Choice, Surface, choose, predicted_surface, true_surface, views_of
from sab3r_ros.evaluation.groups import SIZES
from sab3r_ros.evaluation.outcome import BARS, Outcome
from sab3r_ros.evaluation.pictures import (
    CUT,
    GUESS,
    PANEL,
    TRUTH,
    data_uri,
    draw,
    eye_of,
    feature_colors,
    framing,
    highlighted,
    only,
    thumbnail,
)  # fmt: skip
from sab3r_ros.evaluation.record import machine
from sab3r_ros.evaluation.systems import BOUNDS, PUBLISHED, System
from sab3r_ros.evaluation.table import QUALITY, Row, quality_cells, shown
from sab3r_ros.evaluation.voc import INDOOR
from sab3r_ros.viz.render import Parallel

ONE_OR_TWO = (("SAB3R (CD)", "MASt3R + FeatUp MaskCLIP"), ("mini", "mini + DeepLab"))
COLORS = ("#0b7a75", "#e08e0b", "#3d5a98", "#b5446e", "#6b8e23", "#7a5c99")  # of networks, in the rows' order
BINS = 14
MOST_CLASSES = 24  # of the bars, the commonest
FEATURES = 2  # examples whose features are shown
HEADLINE = ("mIoU", "Acc", "mComp", "mdComp")


def report_html(outcome: Outcome) -> str:
    """The page. Pictures are made anew from the networks, a few seconds each."""
    networks = [s for s in outcome.systems if s.identity not in BOUNDS]
    shown_by = networks[0] if networks else outcome.systems[0]
    environment = Environment(loader=PackageLoader("sab3r_ros.evaluation", "."), autoescape=True)
    return environment.get_template("report.html.j2").render(
        sets=[section(outcome, data, networks, shown_by) for data in outcome.sets],
        headline=HEADLINE,
        quality=QUALITY,
        sizes=SIZES,
        published=published(),
        costs=cost_rows(outcome),
        missing=outcome.missing,
        system=shown_by.name,
        identities={s.name: s.identity for s in outcome.systems},
        configuration=asdict(outcome.config),
        machine=machine(),
        readings=[m.__doc__ for m in (groups, map_and_locate, labels)],
        bars=BARS,
    )


def section(outcome: Outcome, data: DataSet, networks: list[System], shown_by: System) -> dict[str, Any]:
    """What the page says of one data set."""
    rows, results = outcome.rows[data.name], outcome.results[data.name]
    choices = choose(results, shown_by.name, BARS)
    return {
        "name": data.name,
        "about": data.about,
        "groups": {n: max((r.figures[n].groups for r in rows), default=0) for n in SIZES},
        "rows": [headline_row(row, row.name in {s.name for s in networks}) for row in rows],
        "details": {n: [(row.name, quality_cells(row, n)) for row in rows] for n in SIZES},
        "tiles": tiles(rows, shown_by.name),
        "series": [(s.name, color) for s, color in zip(networks, COLORS * len(networks), strict=False)],
        "bars": class_bars([r for r in rows if r.name in {s.name for s in networks}] or rows, data.classes),
        "cameras": camera_histograms(results),
        "examples": [example(outcome, data, c, shown_by, n < FEATURES) for n, c in enumerate(choices)],
        "claims": one_or_two(outcome, data),
    }


def headline_row(row: Row, network: bool) -> dict[str, Any]:
    cells = []
    for n in SIZES:
        f = row.figures[n]
        cells += [shown(f.miou, 100), shown(f.accuracy, 100), shown(f.mcomp), shown(f.mdcomp)]
    return {"name": row.name, "cells": cells, "network": network}


def tiles(rows: list[Row], name: str) -> list[tuple[str, str, str]]:
    """(figure, what it is, beside what) of the system that the pictures show."""
    row = next(r for r in rows if r.name == name)
    others = {r.name: r.figures[BARS] for r in rows if r.name != name}
    f = row.figures[BARS]

    def beside(key: str, factor: float, digits: int, unit: str) -> str:
        return " · ".join(f"{n} {shown(getattr(o, key), factor, digits)}{unit}" for n, o in others.items())

    cover = f"coverage {shown(f.coverage[1], 100, 0)} % within 10 cm"
    return [
        (f"{shown(f.miou, 100, 1)} %", f"mIoU, {BARS} views", beside("miou", 100, 1, " %")),
        (f"{shown(f.accuracy, 100, 1)} %", "points named right", beside("accuracy", 100, 1, " %")),
        (
            f"{shown(f.mdcomp_m, 100, 0)} cm",
            "median distance to the label",
            beside("mdcomp_m", 100, 0, " cm"),
        ),
        (f"{shown(row.placed[BARS], 100, 0)} %", "of views found their place", cover),
    ]


def class_bars(rows: list[Row], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Classes that the truth has, the commonest first: share of points and each row's IoU, per cent."""
    points = rows[0].figures[BARS].points
    order = [k for k in np.argsort(-points, kind="stable") if points[k] > 0][:MOST_CLASSES]
    return [
        {
            "name": classes[k],
            "share": 100 * float(points[k] / points.sum()),
            "values": [100 * float(np.nan_to_num(r.figures[BARS].iou[k])) for r in rows],
        }
        for k in order
    ]


def camera_histograms(results: list[dict]) -> list[dict[str, Any]]:
    """Distances and angles between the cameras of a group, by its size: bars in per cent of the tallest."""
    out = []
    steps = {
        n: np.array([c for r in results for g in r["groups"] if len(g["views"]) == n for c in g["cameras"]])
        for n in SIZES
    }
    every = [s for s in steps.values() if len(s)]
    for column, (what, unit) in enumerate((("translation", "m"), ("rotation", "°"))):
        most = max((float(s[:, column].max()) for s in every), default=1.0)
        for n, found in steps.items():
            if not len(found):
                continue
            counts, _ = np.histogram(found[:, column], BINS, (0, most))
            median = float(np.median(found[:, column]))
            out.append(
                {
                    "what": what,
                    "views": n,
                    "heights": (100 * counts / max(counts.max(), 1)).tolist(),
                    "most": f"{most:.1f} {unit}" if unit == "m" else f"{most:.0f}{unit}",
                    "median": f"{median:.2f} {unit}" if unit == "m" else f"{median:.0f}{unit}",
                    "at": 100 * median / most,
                    "pairs": len(found),
                }
            )
    return out


def example(
    outcome: Outcome, data: DataSet, choice: Choice, system: System, with_features: bool
) -> dict[str, Any]:
    """Truth and prediction with the object lit, and the object alone, from the same eye; and the prediction's features."""
    views = views_of(data, choice)
    truth, guess = true_surface(views), predicted_surface(views, data.classes, system, outcome.config)
    R = eye_of(views[0].T_WC)
    eye = framing(R, truth.points[np.unique(truth.faces)], PANEL)
    near = framing(R, truth.points[truth.labels == choice.label], CUT)
    return {
        "name": data.classes[choice.label],
        "scene": choice.scene,
        "iou": f"{100 * choice.iou:.0f}",
        "success": choice.success,
        "images": [data_uri(thumbnail(v.image)) for v in views],
        "panels": [
            (
                kind,
                data_uri(draw(eye, surface, highlighted(surface, choice.label, color))),
                data_uri(draw(near, only(surface, choice.label), surface.colors)),
            )
            for kind, surface, color in (("truth", truth, TRUTH), ("prediction", guess, GUESS))
        ],
        "features": feature_panels(eye, guess) if with_features else [],
    }


def feature_panels(eye: Parallel, guess: Surface) -> list[tuple[str, str]]:
    return [
        ("predicted points, the images' colours", data_uri(draw(eye, guess, guess.colors))),
        ("the same points, language features", data_uri(draw(eye, guess, feature_colors(guess.features)))),
    ]


def one_or_two(outcome: Outcome, data: DataSet) -> list[dict[str, Any]]:
    """The paper's claim, where both rows are here: one model beats two. Figures of each, and of the first against the second."""
    rows = {row.name: row for row in outcome.rows[data.name]}
    known = [k for k, name in enumerate(data.classes) if name in INDOOR]
    out = []
    for one, two in ONE_OR_TWO:
        if one not in rows or two not in rows:
            continue
        lines = []
        for name in (one, two):
            row, cost = rows[name], outcome.costs[name]
            iou = row.figures[BARS].iou[known]
            points = row.figures[BARS].points[known]
            shared = float(iou[points > 0].mean()) if (points > 0).any() else float("nan")
            lines.append(
                [
                    shown(row.figures[BARS].miou, 100, 1),
                    shown(shared, 100, 1),
                    f"{cost.parameters / 1e6:.1f} M",
                    f"{cost.flops / 1e9:.1f} G",
                    f"{shown(row.cpu_seconds)} s",
                ]
            )
        out.append({"one": one, "two": two, "lines": [[one, *lines[0]], [two, *lines[1]]]})
    return out


def cost_rows(outcome: Outcome) -> list[list[str]]:
    first = outcome.rows[outcome.sets[0].name]
    return [
        [
            row.name,
            f"{cost.parameters / 1e6:.1f} M",
            f"{cost.flops / 1e9:.1f} G",
            f"{shown(row.seconds, 1, 2)} s",
            f"{shown(row.cpu_seconds, 1, 2)} s",
        ]
        for row in first
        if (cost := outcome.costs[row.name])
    ]


def published() -> list[dict[str, Any]]:
    return [
        {
            "name": p.name,
            "cells": [
                c
                for f in p.figures
                for c in ([f"{f[0]:.2f}", f"{f[1]:.2f}", f"{f[2]:.2f}", f"{f[3]:.2f}"] if f else ["–"] * 4)
            ],
            "parameters": p.parameters,
            "flops": p.flops,
        }
        for p in PUBLISHED
    ]
