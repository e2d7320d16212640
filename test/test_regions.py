"""Candidates cut out of a likelihood: where it fades, where colours change, where something hides the middle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_maps import box_points

from sab3r_ros.querying import regions
from sab3r_ros.querying.cells import cell_numbers, coordinates
from sab3r_ros.querying.compiled import Cells, addresses, connected_pieces, grouped, parts, smoothed
from sab3r_ros.querying.regions import Evidence, Regions, best_disjoint

CELL = 0.05


def evidence(*parts, colors=None):
    """parts: (points, logit). Points are voxels, one or more in a cell."""
    points = np.concatenate([p for p, _ in parts])
    logit = np.concatenate([np.broadcast_to(v, len(p)) for p, v in parts]).astype(float)
    rgb = np.concatenate(
        [
            np.tile(np.uint8(c), (len(p), 1))
            for (p, _), c in zip(parts, colors or [(90, 90, 90)] * len(parts), strict=True)
        ]
    )
    return Evidence(cell_numbers(points, CELL), np.ones(len(points), int), rgb, logit, 0.5)


def rows(found):
    """Of each candidate, its voxels."""
    return [found.evidence.members(cells) for cells in found.cells]


def test_a_strong_thing_in_weak_surroundings_is_a_candidate_of_its_own():
    thing, table = box_points((0, 0, 0.2), (0.3, 0.3, 0.3)), box_points((0, 0, 0), (1.5, 1.5, 0.1))
    found = evidence((table, -3.0), (thing, 3.0), colors=[(120, 80, 50), (200, 30, 30)]).candidates(20)
    overlaps = [len(np.setxor1d(r, len(table) + np.arange(len(thing)))) for r in rows(found)]
    assert min(overlaps) <= 0.2 * len(thing) and any(len(r) == len(table) + len(thing) for r in rows(found))


def test_evidence_flows_along_one_colour_and_stops_at_another():
    row = np.stack([np.arange(40) * CELL, np.zeros(40), np.zeros(40)], 1) + CELL / 2
    numbers = cell_numbers(row, CELL)
    lab = np.where(np.arange(40)[:, None] < 20, np.float32([40, 60, 40]), np.float32([30, 50, -80]))
    out = smoothed(np.where(np.arange(40) < 10, 1.0, 0.0), lab, numbers, 5.0, 20)
    assert out[12] > 0.1 and out[20:].max() < 1e-6
    assert out.min() >= 0 and out.max() <= 1


def test_a_hidden_middle_does_not_cut_a_thing():
    seat, legs = box_points((0, 0, 0.5), (0.4, 0.4, 0.1)), box_points((0, 0, 0.25), (0.4, 0.4, 0.3))
    found = evidence((seat, 2.0), (legs, 2.0)).candidates(20)
    assert max(map(len, rows(found))) == len(seat) + len(legs)


def test_levels_are_nested_and_the_best_of_what_overlaps_is_taken():
    rng = np.random.default_rng(0)
    points = box_points((0, 0, 0), (1.0, 1.0, 0.1))
    found = evidence((points, rng.normal(0, 3, len(points)))).candidates(1)
    for a in found.cells:
        for b in found.cells:
            assert len(np.intersect1d(a, b)) in (0, len(a), len(b))
    scores = 1 / (1 + np.exp(-found.strength))
    chosen = best_disjoint(found, scores)
    cells = np.concatenate([found.cells[k] for k in chosen])
    assert len(cells) == len(np.unique(cells)) and (np.diff(scores[chosen]) <= 0).all()


@pytest.mark.parametrize(("whole", "chosen"), [(0.45, [1]), (0.41, [0])])
def test_a_whole_may_score_a_little_less_than_its_best_tenth(whole, chosen):
    square = evidence((box_points((0.25, 0.25, 0.025), (0.5, 0.5, 0.05)), 1.0))  # 100 cells
    cells, size = [np.arange(10), np.arange(100)], np.array([10.0, 100.0])
    found = Regions(*np.zeros((2, 2)), size, np.ones(2), cells, square)
    scores = np.array(
        [0.6, whole]
    )  # logit 0.405; ten times as large is worth 0.3 · ln 10 = 0.69: 0.43 is as good
    assert best_disjoint(found, scores) == chosen
    assert best_disjoint(found, scores, 0.5) == [0]  # what is not good enough hides nothing
    assert best_disjoint(found, scores, 0.7) == [0]  # the best alone where none is good enough


def test_traits_of_a_flat_square_by_hand():
    square = box_points((0.25, 0.25, 0.025), (0.5, 0.5, 0.05))  # 10 × 10 × 1 cells
    found = evidence((square, 1.5)).candidates(1)
    assert len(found) == 1 and found.size[0] == 100
    assert found.strength[0] == pytest.approx(1.5) and found.mean[0] == pytest.approx(1.5)
    assert found.fill[0] == pytest.approx(1)


def test_much_that_may_be_it_is_cut_from_larger_cells(monkeypatch):
    wall, thing = box_points((0, 0, 1), (4, 0.05, 2)), box_points((0, 1, 0.3), (0.4, 0.4, 0.4))
    fine = evidence((wall, 1.0), (thing, 3.0)).candidates(20)
    monkeypatch.setattr(regions, "MOST_CELLS", 1000)
    found = evidence((wall, 1.0), (thing, 3.0))
    coarse = found.candidates(20)
    assert found.scale == 2 and len(found.numbers) < 1100 < len(wall) + len(thing)
    sizes = sorted({len(r) for r in rows(coarse)})
    assert sizes == sorted({len(r) for r in rows(fine)}) == [len(thing), len(wall)]
    assert coarse.size.max() == pytest.approx(fine.size.max(), rel=0.1)


def random_cells(rng, count):
    """Ascending numbers, and which of them touch, (C, C)."""
    numbers = np.unique(cell_numbers(rng.uniform(-0.2, 0.2, (count, 3)), CELL))
    place = coordinates(numbers).T
    return numbers, np.abs(place[:, None] - place[None]).max(2) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 80))
def test_cells_are_where_their_points_are(seed, count):
    points = np.random.default_rng(seed).uniform(-0.2, 0.2, (count, 3))
    place = coordinates(np.unique(cell_numbers(points, CELL))).T
    assert set(map(tuple, place.tolist())) == set(map(tuple, np.floor(points / CELL).astype(int).tolist()))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 80), st.integers(0, 4))
def test_smoothing_agrees_with_a_brute_force_twin(seed, count, rounds):
    rng = np.random.default_rng(seed)
    numbers, touch = random_cells(rng, count)
    lab = rng.uniform(0, 10, (len(numbers), 3)).astype(np.float32)
    values = expected = rng.normal(size=len(numbers))
    flow = np.eye(len(numbers)) + touch * np.exp(-np.linalg.norm(lab[:, None] - lab[None], axis=2) / 5)
    for _ in range(rounds):
        expected = flow @ expected / flow.sum(1)
    np.testing.assert_allclose(smoothed(values, lab, numbers, 5.0, rounds), expected, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 120), st.integers(0, 1))
def test_parts_agree_with_a_twin_that_looks_at_each_level_anew(seed, count, halvings):
    rng = np.random.default_rng(seed)
    numbers, _ = random_cells(rng, count)
    values = rng.normal(size=len(numbers)).round(1).astype(np.float32)
    voxels, logits = rng.integers(1, 5, len(numbers)), rng.normal(size=len(numbers))
    levels, place = [1.0, 0.3, 0.0, -0.5, values.min()], coordinates(numbers)
    expected, above = [], set()
    for level in levels:
        here = set()
        inside = np.flatnonzero(values >= level)
        points = (place[:, inside].T // 2**halvings + 0.5) * CELL
        for piece in range(connected_pieces(points, CELL).max() + 1 if len(inside) else 0):
            cells = inside[connected_pieces(points, CELL) == piece]
            if len(cells) >= 2 and voxels[cells].sum() >= 6:
                here.add(frozenset(cells.tolist()))
        expected += sorted(here - above, key=sorted)
        above = here
    order = np.argsort(-values, kind="stable")
    traits, found = parts(numbers, order, values, voxels.astype(float), logits, halvings, levels, 0.4, 6, 2)
    assert sorted(map(sorted, expected)) == sorted(sorted(cells.tolist()) for cells in found)
    for (strength, mean, size, fill), cells in zip(traits, found, strict=True):
        assert (np.diff(values[cells]) <= 0).all() and size == len(cells)
        best = cells[: int(np.ceil(0.4 * len(cells)))]
        assert strength == pytest.approx(np.average(values[best], weights=voxels[best]), abs=1e-5)
        assert mean == pytest.approx(logits[cells].sum() / voxels[cells].sum())
        extent = np.sort(np.ptp(place[:, cells], axis=1) + 1)
        assert fill == pytest.approx(min(1, len(cells) / (extent[1] * extent[2])))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 200), st.integers(0, 3))
def test_cells_are_grouped_by_the_larger_ones_that_hold_them(seed, count, halvings):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (count, 3))
    voxels, logits = rng.integers(1, 9, count), rng.normal(size=count).astype(np.float32)
    colors = rng.integers(0, 256, (count, 3)).astype(np.uint8)
    found = grouped(cell_numbers(points, CELL), halvings, voxels, logits, colors)
    expected, holder = np.unique(cell_numbers(points, CELL * 2**halvings), return_inverse=True)
    np.testing.assert_array_equal(found[0], expected)
    for k, (number, order, start, size, logit, rgb) in enumerate(
        (found[0][k], found[1], found[2], found[3][k], found[4][k], found[5][k]) for k in range(len(expected))
    ):
        mine = np.flatnonzero(holder == k)
        assert number == expected[k] and order[start[k] : start[k + 1]].tolist() == mine.tolist()
        assert size == voxels[mine].sum() and logit == pytest.approx(voxels[mine] @ logits[mine], abs=1e-4)
        np.testing.assert_allclose(rgb, np.average(colors[mine], axis=0, weights=voxels[mine]), rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([np.uint16, np.int32]))
def test_rows_of_cells_agree_with_a_twin(seed, kind):
    rng = np.random.default_rng(seed)
    cells_of_block = rng.integers(1, 6, 7)
    own = np.append(0, np.cumsum(cells_of_block)).astype(np.int32)
    counts = rng.integers(1, 9, own[-1])
    first = np.append(0, np.cumsum(counts)).astype(np.int32)
    sizes = np.add.reduceat(counts, own[:-1])
    place = rng.permutation(7)  # of the blocks in the map
    starts = np.empty(7, np.int64)
    starts[place] = np.append(0, np.cumsum(sizes[place])[:-1])
    rows = np.concatenate([rng.permutation(n) for n in sizes]).astype(kind)
    chosen = np.flatnonzero(rng.random(own[-1]) < 0.5)
    block = np.repeat(np.arange(7), cells_of_block)
    expected = sorted(
        (int(starts[block[c]]) + int(row), k)
        for k, c in enumerate(chosen.tolist())
        for row in rows[first[c] : first[c + 1]]
    )
    cells = Cells(first, own, rows)
    found = cells.rows_of(chosen, starts)
    assert list(zip(*(f.tolist() for f in found), strict=True)) == expected
    points = [rng.normal(size=(n, 3)).astype(np.float32) for n in sizes]
    confidence = [rng.random(n).astype(np.float16) for n in sizes]
    most = int(rng.integers(1, 30))
    thing = cells.thing(chosen, starts, addresses(points), addresses(confidence), most)
    some = np.arange(min(most, len(found[0]))) * len(found[0]) // max(min(most, len(found[0])), 1)
    whole = [np.concatenate([column[k] for k in np.argsort(starts)]) for column in (points, confidence)]
    np.testing.assert_array_equal(thing[0], found[0])
    for mine, expected in zip(thing[1:3], whole, strict=True):
        np.testing.assert_array_equal(mine, expected[found[0][some]])
    np.testing.assert_array_equal(thing[3], found[1][some])
