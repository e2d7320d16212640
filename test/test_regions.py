"""Candidates cut out of a likelihood: where it fades, where colours change, where something hides the middle."""

from __future__ import annotations

import numpy as np
import pytest
from small_maps import box_points

from sab3r_ros.querying.regions import Evidence, best_disjoint, smoothed, touching_cells

CELL = 0.05


def evidence(*parts, colors=None):
    """parts: (points, logit)."""
    points = np.concatenate([p for p, _ in parts])
    logit = np.concatenate([np.broadcast_to(v, len(p)) for p, v in parts]).astype(float)
    rgb = np.concatenate(
        [
            np.tile(np.uint8(c), (len(p), 1))
            for (p, _), c in zip(parts, colors or [(90, 90, 90)] * len(parts), strict=True)
        ]
    )
    return Evidence(np.arange(len(points)), points, rgb, logit, CELL, 0.5)


def test_a_strong_thing_in_weak_surroundings_is_a_candidate_of_its_own():
    thing, table = box_points((0, 0, 0.2), (0.3, 0.3, 0.3)), box_points((0, 0, 0), (1.5, 1.5, 0.1))
    found = evidence((table, -3.0), (thing, 3.0), colors=[(120, 80, 50), (200, 30, 30)]).candidates(20)
    overlaps = [len(np.setxor1d(r.rows, len(table) + np.arange(len(thing)))) for r in found]
    assert min(overlaps) <= 0.2 * len(thing) and any(len(r.rows) == len(table) + len(thing) for r in found)


def test_evidence_flows_along_one_colour_and_stops_at_another():
    row = np.stack([np.arange(40) * CELL, np.zeros(40), np.zeros(40)], 1) + CELL / 2
    cell, pairs = touching_cells(row, CELL)
    rgb = np.where(np.arange(40)[:, None] < 20, np.float32([200, 30, 30]), np.float32([30, 30, 200]))
    values = np.where(np.arange(40) < 10, 1.0, 0.0)
    out = smoothed(values, rgb[np.argsort(cell)], pairs)
    assert out[12] > 0.1 and out[20:].max() < 1e-6
    assert out.min() >= 0 and out.max() <= 1


def test_a_hidden_middle_does_not_cut_a_thing():
    seat, legs = box_points((0, 0, 0.5), (0.4, 0.4, 0.1)), box_points((0, 0, 0.25), (0.4, 0.4, 0.3))
    assert max(len(r.rows) for r in evidence((seat, 2.0), (legs, 2.0)).candidates(20)) == len(seat) + len(
        legs
    )


def test_levels_are_nested_and_the_best_of_what_overlaps_is_taken():
    rng = np.random.default_rng(0)
    points = box_points((0, 0, 0), (1.0, 1.0, 0.1))
    found = evidence((points, rng.normal(0, 3, len(points)))).candidates(1)
    for a in found:
        for b in found:
            common = len(np.intersect1d(a.rows, b.rows))
            assert common in (0, len(a.rows), len(b.rows))
    chosen = list(best_disjoint(found, np.array([r.strength for r in found])))
    rows = np.concatenate([r.rows for _, r in chosen])
    assert len(rows) == len(np.unique(rows)) and chosen[0][0] == max(r.strength for r in found)
    assert [s for s, _ in chosen] == sorted((s for s, _ in chosen), reverse=True)


def test_traits_of_a_flat_square_by_hand():
    square = box_points((0.25, 0.25, 0.025), (0.5, 0.5, 0.05))  # 10 × 10 × 1 cells
    (region,) = evidence((square, 1.5)).candidates(1)
    assert region.cells == 100 and region.strength == pytest.approx(1.5) and region.mean == pytest.approx(1.5)
    assert region.fill == pytest.approx(0.25 / 0.5**2, rel=0.01)
