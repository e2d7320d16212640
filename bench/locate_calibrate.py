"""The score's logistic regression, fitted on the validation rooms, and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from locate_judge import IOU, Tally, absent, alike, present
from locate_maps import RoomMap
from tqdm import tqdm

from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.prepared import PreparedMap
from sab3r_ros.querying.regions import Regions, best_disjoint
from sab3r_ros.querying.score import Scorer, traits
from sab3r_ros.querying.text import TextEncoder

RIDGE = 0.01
BINS = 10


@dataclass
class Query:
    """One query's candidates. right: (R,) each is one of the things; known: (R,) its rightness can be told."""

    regions: Regions
    traits: np.ndarray
    right: np.ndarray
    known: np.ndarray


class Recorder(Scorer):
    """A scorer that keeps the candidates of the last query: traits, and rows of the map of each. None if there were none."""

    last: tuple[Regions, np.ndarray, list[np.ndarray]] | None = None

    def likely(self, prepared: PreparedMap, *rest: object) -> tuple[np.ndarray, np.ndarray]:
        found = super().likely(prepared, *rest)
        self._prepared, self._likely = prepared, found[0]
        return found

    def score(self, regions: Regions, common: float) -> np.ndarray:
        members = [self._likely[np.sort(regions.evidence.members(cells))] for cells in regions.cells]
        self.last = regions, traits(regions, common), [self._prepared.rows_of(m)[0] for m in members]
        return super().score(regions, common)


def candidates_of(rooms: list[RoomMap], names: list[str], text: TextEncoder) -> list[Query]:
    """All candidates of all present and absent names."""
    out = []
    for room in tqdm(rooms, desc="candidates", disable=None):
        locator = Locator(room.basis, text)
        locator.searcher.scorer = recorder = Recorder(room.basis, text, locator.config)
        here = present(room)
        for name in [*here, *absent(room, names, text)]:
            recorder.last = None
            locator.locate(room.snapshot, name)
            if recorder.last is not None and len(recorder.last[0]):
                regions, values, rows = recorder.last
                things = here.get(name, [])
                right = np.max(
                    [overlaps(rows, t.rows, len(room.snapshot)) for t in things] or [np.zeros(len(rows))], 0
                )
                unsure = alike(room, name, things, text)
                other = np.array([unsure[r].mean() <= 0.5 for r in rows])
                out.append(Query(regions, values, right >= IOU, (right >= IOU) | other))
    return out


def overlaps(parts: list[np.ndarray], rows: np.ndarray, count: int) -> np.ndarray:
    """(P,) intersection over union of each part with rows, all of `count` voxels."""
    inside = np.zeros(count, bool)
    inside[rows] = True
    both = np.array([inside[p].sum() for p in parts])
    return both / (len(rows) + np.array([len(p) for p in parts]) - both)


def fitted(queries: list[Query]) -> np.ndarray:
    """(len(WEIGHTS),) fitted on all candidates, then stretched to the objects that are returned."""
    X = np.concatenate([q.traits[q.known] for q in queries])
    weights = logistic(X, np.concatenate([q.right[q.known] for q in queries]))
    logits, right = [], []
    for q in queries:
        logit = q.traits @ weights[:-1] + weights[-1]
        best = [k for k in best_disjoint(q.regions, 1 / (1 + np.exp(-logit))) if q.known[k]]
        logits += logit[best].tolist()
        right += q.right[best].tolist()
    slope, offset = logistic(np.array(logits)[:, None], np.array(right))
    return np.concatenate([slope * weights[:-1], [slope * weights[-1] + offset]])


def logistic(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights of the columns of X (N, F) and an offset, by Newton's method with a little ridge."""
    A, w = np.column_stack([X, np.ones(len(X))]), np.zeros(X.shape[1] + 1)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(A @ w, -50, 50)))
        hessian = A.T @ (A * (p * (1 - p))[:, None]) + RIDGE * np.eye(len(w))
        w += np.linalg.solve(hessian, A.T @ (y - p) - RIDGE * w)
    return w


def draw_reliability(path: Path, tallies: dict[str, Tally]) -> None:
    """An SVG: of the objects with a score, how many are right? A dot's area is the number of objects."""
    colors = ("#1f77b4", "#d62728")
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-46 -16 300 290" width="450" height="435" '
        'font-family="sans-serif" font-size="9">',
        '<rect x="-46" y="-16" width="300" height="290" fill="white"/>',
        '<path d="M0 0V200H200M0 200L200 0" fill="none" stroke="#999"/>',
        '<text x="70" y="226">score of an object</text>',
        '<text transform="translate(-30 140) rotate(-90)">share that is right</text>',
    ]
    for k in range(0, 11, 2):
        parts.append(f'<text x="{20 * k - 6}" y="212">{k / 10:g}</text>')
        parts.append(f'<text x="-18" y="{203 - 20 * k}">{k / 10:g}</text>')
    for n, (name, tally) in enumerate(tallies.items()):
        scores, right = np.array(tally.scores), np.array(tally.right, float)
        bins = np.minimum((scores * BINS).astype(int), BINS - 1)
        dots = [
            (200 * scores[bins == b].mean(), 200 - 200 * right[bins == b].mean(), (bins == b).sum())
            for b in np.unique(bins)
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in dots)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colors[n]}"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{np.sqrt(c):.1f}" fill="{colors[n]}" fill-opacity="0.5"/>'
            for x, y, c in dots
        ]
        parts.append(
            f'<text x="0" y="{244 + 12 * n}" fill="{colors[n]}">{name}: ECE {tally.ece:.3f}, '
            f"{len(scores)} objects</text>"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")
