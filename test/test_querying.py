"""Scores, objects and answers on maps whose truth is known by construction."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from small_maps import ToyText, box_points, snapshot_of

from sab3r_ros.config import LocateConfig
from sab3r_ros.errors import QueryError
from sab3r_ros.mapping.semantic_map import SemanticMap
from sab3r_ros.querying import calibration, prepared
from sab3r_ros.querying.calibration import TRAITS, WEIGHTS, calibration_of, calibrations
from sab3r_ros.querying.cells import cell_numbers
from sab3r_ros.querying.compiled import connected_pieces
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.objects import point_on, upright_box, without_crumbs
from sab3r_ros.querying.recent import Recent
from sab3r_ros.querying.regions import Regions
from sab3r_ros.querying.score import SMALL, Scorer, traits
from sab3r_ros.querying.sketch import Sketcher
from sab3r_ros.querying.text import MiniLm, OpenClip
from sab3r_ros.types import MapSnapshot, Trajectory
from sab3r_ros.voxels import Voxels

BASIS = (
    np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0].astype(np.float32) * 3
)  # orthogonal, not unit
EYE = np.eye(8, dtype=np.float32)


def stored(word: str) -> np.ndarray:
    """The stored feature (8,) whose language vector is the word's."""
    return np.linalg.solve(BASIS, ToyText().encode([word])[0])


@pytest.fixture
def room():
    return snapshot_of(
        [
            (box_points((0, 0, 0), (4, 4, 0.1)), stored("floor")),
            (box_points((1, 1, 0.5), (1.6, 0.6, 0.6)), stored("sofa")),
            (box_points((-1, 1, 0.5), (0.5, 0.5, 0.5)), stored("chair")),
            (box_points((-1, -1, 0.5), (0.5, 0.5, 0.5)), stored("chair")),
        ]
    )


@pytest.fixture
def locator():
    return Locator(BASIS, ToyText())


def test_probability_is_the_softmax_over_cosines_of_language_vectors():
    rng = np.random.default_rng(1)
    basis, features = rng.normal(size=(8, 5)).astype(np.float32), rng.normal(size=(40, 5)).astype(np.float16)
    scorer = Scorer(basis, ToyText(), LocateConfig(temperature=0.1))
    phrases = scorer.phrases("couch", ("mug",))
    assert "sofa" not in phrases.names and phrases.names[:2] == ("couch", "mug")
    vectors = ToyText().encode(list(phrases.names))
    language = features.astype(np.float64) @ basis.T
    cosine = language / np.linalg.norm(language, axis=1, keepdims=True) @ vectors.T
    expected = np.exp(cosine[:, 0] / 0.1) / np.exp(cosine / 0.1).sum(1)
    np.testing.assert_allclose(scorer.share(features, phrases), expected, rtol=1e-4)
    ready = scorer.prepare(featured(features))
    cells = np.array([0, 3, 39])
    rows, cell = ready.rows_of(cells)
    every, share = scorer.likely(ready, phrases, 1e-9)
    assert every.tolist() == list(range(40))
    exact = share[cells][cell]
    np.testing.assert_allclose(
        exact, scorer.share(ready.snapshot.features_of(rows), phrases), rtol=0.02, atol=1e-4
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["couch", "sofa", "mug", "zebra"]), st.floats(0.01, 0.9))
def test_pruning_finds_what_an_exact_look_at_every_cell_finds(seed, query, least):
    rng = np.random.default_rng(seed)
    words = ToyText().encode(["sofa", "couch", "mug", "chair", "stuff", "door"])
    mixed = rng.dirichlet(np.full(6, 0.3), 300) @ words + 0.05 * rng.normal(size=(300, 8))
    scorer = Scorer(BASIS, ToyText(), LocateConfig())
    ready = scorer.prepare(featured(np.linalg.solve(BASIS, mixed.T).T))
    phrases = scorer.phrases(query, ("chair",))
    every = np.arange(300)
    features = ready.snapshot.features_of(every)
    exact = scorer.share(features, phrases)
    cells, share = scorer.likely(ready, phrases, least)
    clear = np.abs(exact / least - 1) > 0.01
    assert set(every[(exact >= least) & clear]) == set(cells[clear[cells]].tolist())
    np.testing.assert_allclose(share, exact[cells], rtol=5e-3)
    logit = scorer.cosines(features, phrases.directions[:, :1])[:, 0] / scorer.temperature
    ranks = logit - ready.competition
    for wanted in (1, 20, 500):
        nearest = scorer.nearest(ready, phrases, wanted)
        others = np.setdiff1d(every, nearest)
        assert len(nearest) == min(wanted, 300) and (np.diff(nearest) > 0).all()
        assert ranks[nearest].min() > ranks[others].max(initial=-np.inf) - 0.01


def featured(*parts):
    """A map of blocks with the given features, a metre from one voxel to the next."""
    one = np.ones(len(np.concatenate(parts)))
    points = np.outer(np.cumsum(one), [1, 0, 0])
    trajectory = Trajectory(np.zeros(0), np.zeros((0, 4, 4)))
    whole = MapSnapshot.of_arrays(
        points, 0 * points, np.concatenate(parts), one, one, 0.1, trajectory, "m", 1
    )
    cuts = np.cumsum([0, *map(len, parts)])
    rows = [np.arange(a, b) for a, b in itertools.pairwise(cuts)]
    return replace(whole, blocks=tuple(whole.blocks[0].take(r) for r in rows))


def held(ready):
    """Place → what a prepared map says of the living cell there, and its voxels' rows."""
    return {
        (int(ready.looks_of(np.array([k]))[0][0]), *ready.rows_of(np.array([k]))[0].tolist()): (
            pytest.approx(ready.gain[k], abs=1e-3),
            pytest.approx(ready.competition[k], abs=1e-3),
        )
        for k in np.flatnonzero(ready.alive)
    }


def test_a_map_that_grows_is_prepared_as_if_it_were_new_and_only_where_it_changed(monkeypatch):
    rng = np.random.default_rng(3)
    world, scorer = SemanticMap(0.1, 8), Scorer(BASIS, ToyText(), LocateConfig())
    points = rng.uniform(0, 40, (4000, 3))
    trajectory = Trajectory(np.zeros(0), np.zeros((0, 4, 4)))
    looked, look = [], prepared.gathered
    monkeypatch.setattr(
        prepared, "gathered", lambda blocks, cell_m: looked.append(len(blocks)) or look(blocks, cell_m)
    )
    monkeypatch.setattr(prepared, "FEW_DEAD", 64)  # dead cells are swept out early
    sizes = []
    for n in range(40):
        here = points[100 * n : 100 * (n + 1)] if n % 2 else points[:200] + rng.normal(0, 0.01, (200, 3))
        world.integrate(
            here, np.zeros((len(here), 3)), rng.normal(size=(len(here), 8)), np.ones(len(here)), 0
        )
        snapshot = MapSnapshot(world.blocks(), 8, 0.1, trajectory, "m", n)
        again = scorer.prepare(snapshot)
        sizes.append(len(again.gain))
    assert max(looked[2:40:2]) < 300 < len(world.blocks())  # the tiles that the 200 points seen again lie in
    assert held(again) == held(Scorer(BASIS, ToyText(), LocateConfig()).prepare(snapshot))
    assert (np.diff(sizes) < 0).any() and sizes[-1] < 2 * again.living + 64


def test_what_was_prepared_stays_as_it_was_while_the_map_goes_on():
    rng = np.random.default_rng(2)
    scorer = Scorer(BASIS, ToyText(), LocateConfig())
    old = featured(*rng.normal(size=(3, 50, 8)))
    first = scorer.prepare(old)
    before = held(first)
    other = featured(*rng.normal(size=(40, 70, 8)))
    for k in range(0, 40, 8):
        scorer.prepare(replace(other, blocks=(old.blocks[2], *other.blocks[k : k + 8])))
    assert held(first) == before
    assert held(scorer.prepare(old)) == before  # asked again after its blocks were forgotten


def test_a_score_grows_with_strength_and_falls_where_much_of_the_map_fits():
    scorer = Scorer(EYE, ToyText(), LocateConfig())
    scorer.calibration = np.array([2.0, 0, 1, -1, 0, 0, 0, 0.5])
    one = np.ones(2)
    regions = Regions(np.array([1.0, 0.0]), np.zeros(2), one, one, [np.arange(1)] * 2, None)
    logits = np.array([0.5 + 2 - 1, 0.5 + 0 - 1 - 1])  # offset + 2 strength + lead − common
    np.testing.assert_allclose(scorer.score(regions, 1.0), 1 / (1 + np.exp(-logits)))
    assert (scorer.score(regions, 0.0) > scorer.score(regions, 1.0)).all()


def test_a_candidate_is_worth_less_for_being_small_and_no_more_for_being_huge():
    sizes = np.array([SMALL / 10, SMALL, 10 * SMALL])
    regions = Regions(np.zeros(3), np.zeros(3), sizes, np.ones(3), [np.arange(1)] * 3, None)
    small = traits(regions, 0.0)[:, TRAITS.index("small")]
    np.testing.assert_allclose(small, [-np.log(10), 0, 0])


def test_a_map_in_one_block_answers_exactly_as_in_many_that_came_one_by_one():
    rng = np.random.default_rng(4)
    floor = np.mgrid[:140, :140].reshape(2, -1).T  # more cells than a query looks at one by one
    tile = (floor[:, 0] // 16) * 9 + floor[:, 1] // 16
    features = (
        ToyText().encode(["table"])[0] + rng.normal(size=(len(floor), 8)) / rng.uniform(2, 5, (len(floor), 1))
    ) @ np.linalg.inv(BASIS).T
    whole = Voxels.of(
        np.column_stack([floor * 0.05 + 0.025, np.full(len(floor), 0.025)]),
        rng.integers(0, 256, (len(floor), 3)),
        features,
        np.ones(len(floor)),
        np.ones(len(floor)),
    )
    blocks = [whole.take(np.flatnonzero(tile == t)) for t in rng.permutation(81)]
    trajectory = Trajectory(np.zeros(1), np.eye(4)[None])
    grown, loaded = Locator(BASIS, ToyText()), Locator(BASIS, ToyText())
    for k in range(1, len(blocks) + 1, 7):
        many = MapSnapshot(tuple(blocks[:k]), 8, 0.04, trajectory, "m", k)
        grown.prepare(many)
    one = replace(many, blocks=(many.voxels(),))
    a, b = (locator.scorer.prepare(m) for locator, m in ((grown, many), (loaded, one)))
    numbers = [p.looks_of(np.arange(len(p.gain)))[0] for p in (a, b)]
    points = a.snapshot.points_of(np.array([a.rows_of(np.array([k]))[0][0] for k in range(len(a.gain))]))
    np.testing.assert_array_equal(numbers[0], cell_numbers(points, a.cell_m))
    orders = [np.argsort(n) for n in numbers]
    np.testing.assert_array_equal(*(n[order] for n, order in zip(numbers, orders, strict=True)))
    for name in ("gain", "competition", "top"):
        np.testing.assert_array_equal(
            *(getattr(p, name)[order] for p, order in zip((a, b), orders, strict=True))
        )
    search = grown.searcher.search(many, grown.scorer.phrases("table"), 0.0)
    assert search.evidence.scale > 1
    for query in ("table", "a red table", "sofa"):
        x, y = (locator.locate(m, query, min_score=0.0) for locator, m in ((grown, many), (loaded, one)))
        assert x.message == y.message
        for p, q in zip(x.objects, y.objects, strict=True):
            assert p.score == q.score and np.array_equal(p.indices, q.indices)
            assert np.array_equal(p.centroid, q.centroid)


def test_each_language_space_has_its_weights_and_an_unknown_one_those_of_clip(tmp_path, monkeypatch):
    own, clip = calibration_of(MiniLm.space), calibration_of(OpenClip.space)
    assert np.isfinite([own, clip]).all() and not np.array_equal(own, clip)
    assert np.array_equal(calibration_of("never heard of"), clip)
    assert np.array_equal(Scorer(EYE, ToyText(), LocateConfig()).calibration, clip)
    monkeypatch.setattr(calibration, "FILE", tmp_path / "calibration.json")
    try:
        calibration.write("new", np.arange(len(WEIGHTS)))
        assert calibration_of("new").tolist() == list(range(len(WEIGHTS)))
        assert np.array_equal(calibration_of(MiniLm.space), own)
    finally:
        calibrations.cache_clear()


def test_a_voxel_without_a_feature_is_unlikely_to_be_anything():
    scorer = Scorer(EYE, ToyText(), LocateConfig())
    assert scorer.share(np.zeros((1, 8), np.float16), scorer.phrases("mug"))[0] < 0.05


def test_both_chairs_and_nothing_else(room, locator):
    answer = locator.locate(room, "a chair")
    assert answer.success and len(answer.objects) == 2 and answer.best_score > 0.9
    assert sorted(np.round(o.box_center[1]).astype(int).tolist() for o in answer.objects) == [-1, 1]
    for o in answer.objects:
        np.testing.assert_allclose(o.box_center[[0, 2]], [-1, 0.5], atol=0.03)
        np.testing.assert_allclose(o.box_size, 0.45, atol=0.02)
        assert o.label == "chair" and len(o.indices) == 1000
        assert np.linalg.norm(room.points[o.indices] - o.centroid, axis=1).min() < 1e-6
    assert "2 objects found for 'chair'" in answer.message


def test_a_synonym_finds_what_its_name_finds(room, locator):
    assert np.array_equal(
        locator.locate(room, "couch").objects[0].indices, locator.locate(room, "the sofa").objects[0].indices
    )


def test_an_absent_thing_names_the_nearest_miss(room, locator):
    answer = locator.locate(room, "mug")
    assert not answer.success and answer.objects == ()
    assert (
        "no 'mug' found" in answer.message
        and "Nearest" in answer.message
        and "that is needed" in answer.message
    )


def test_a_distractor_takes_what_it_names(room, locator):
    assert not locator.locate(room, "couch", distractors=["sofa"], min_score=0.9).success


def test_limits_of_the_request(room, locator):
    assert len(locator.locate(room, "chair", max_objects=1).objects) == 1
    assert "the first 1 returned" in locator.locate(room, "chair", max_objects=1).message
    assert not locator.locate(room, "chair", min_score=1.0).success


@pytest.mark.parametrize(
    ("query", "arguments", "text"),
    [
        ("", {}, "empty"),
        ("   ", {}, "empty"),
        ("x" * 10_000, {}, "10000 characters"),
        ("mug", {"min_score": 1.5}, "0..1"),
        ("mug", {"min_score": float("nan")}, "0..1"),
        ("mug", {"max_objects": 0}, "1 or more"),
    ],
)
def test_bad_requests_say_what_to_do(room, locator, query, arguments, text):
    with pytest.raises(QueryError, match=text):
        locator.locate(room, query, **arguments)


def test_maps_that_cannot_answer(locator):
    with pytest.raises(QueryError, match="empty"):
        locator.locate(snapshot_of([]), "mug")
    with pytest.raises(QueryError, match="no language features"):
        locator.locate(snapshot_of([(box_points((0, 0, 0), (0.2, 0.2, 0.2)), np.zeros(0))]), "mug")
    with pytest.raises(QueryError, match="3 dimensions"):
        locator.locate(snapshot_of([(box_points((0, 0, 0), (0.2, 0.2, 0.2)), np.ones(3))]), "mug")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_pieces_agree_with_a_brute_force_twin(seed, count):
    points = np.random.default_rng(seed).uniform(-0.5, 0.5, (count, 3))
    cells = np.floor(points / 0.1).astype(int)
    expected = np.arange(count)
    for _ in range(count):
        for a in range(count):
            touching = np.abs(cells - cells[a]).max(1) <= 1
            expected[touching] = expected[touching].min()
    found = connected_pieces(points, 0.1)
    assert np.array_equal(found[:, None] == found, expected[:, None] == expected)


def test_a_turned_box_is_recovered():
    local = box_points((0, 0, 0), (2.0, 0.5, 1.0)).astype(float)
    yaw = np.deg2rad(30)
    R = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    box = upright_box(local @ R.T + [3, -2, 1])
    np.testing.assert_allclose(box.center, [3, -2, 1], atol=0.02)
    np.testing.assert_allclose(box.size, [1.95, 0.45, 0.95], atol=0.06)
    np.testing.assert_allclose(np.abs(box.R.T @ R), np.eye(3), atol=0.02)
    assert np.linalg.det(box.R) == pytest.approx(1)


def test_the_centroid_of_a_ring_lies_on_it():
    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    point = point_on(ring, np.ones(100))
    assert cKDTree(ring).query(point)[0] == 0


def test_crumbs_near_a_larger_part_go_and_small_things_elsewhere_stay():
    big, crumb, lamp = (
        box_points((0, 0, 0), (1, 1, 0.5)),
        box_points((0.8, 0, 0), (0.2, 0.2, 0.2)),
        box_points((3, 0, 0), (0.2, 0.2, 0.2)),
    )
    points = np.concatenate([crumb, big, lamp, lamp[:3] + 5])
    ends = np.cumsum([len(crumb), len(big), len(lamp), 3])
    parts = np.split(np.arange(len(points)), ends[:-1])
    one = np.ones(len(points), int)
    kept = without_crumbs(parts, points, one, 20, 0.15, 0.5)
    assert [len(p) for p in kept] == [len(big), len(lamp)]
    assert without_crumbs([np.arange(0)], points, one, 20, 0.15, 0.5) == []


def test_a_map_that_is_asked_while_the_next_is_prepared_is_not_prepared_again(room, locator, monkeypatch):
    newer = replace(room, version=room.version + 1)
    locator.prepare(room)
    locator.prepare(newer)
    monkeypatch.setattr(locator.scorer, "prepare", None)
    assert locator.locate(room, "a chair").success and locator.locate(newer, "a chair").success


def test_a_query_asked_again_finds_what_it_finds_the_first_time():
    rng = np.random.default_rng(5)
    scorer, words = (
        Scorer(BASIS, ToyText(), LocateConfig()),
        ToyText().encode(["sofa", "mug", "door", "chair"]),
    )
    blocks = featured(*np.linalg.solve(BASIS, words[rng.integers(0, 4, 900)].T).T.reshape(9, 100, 8))
    looked = []
    for kept in ([0, 1, 2], [0, 2, 3], [3, 0, 4, 5], [1, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8]):
        part = replace(blocks, blocks=tuple(blocks.blocks[k] for k in kept))
        ready, fresh = scorer.prepare(part), Scorer(BASIS, ToyText(), LocateConfig())
        looked.append(len(ready.gain))
        answers = []
        for one, prepared_map in ((scorer, ready), (fresh, fresh.prepare(part))):
            cells, share = one.likely(prepared_map, one.phrases("couch"), 0.1)
            assert (np.diff(cells) > 0).all()
            answers.append(dict(zip(prepared_map.looks_of(cells)[0].tolist(), share.tolist(), strict=True)))
        assert answers[0] == answers[1] and len(answers[0]) > 10
    assert looked == sorted(looked)


def test_what_a_query_found_is_remembered_also_where_dead_cells_are_swept_out(monkeypatch):
    monkeypatch.setattr(prepared, "FEW_DEAD", 0)
    rng = np.random.default_rng(7)
    scorer, words = Scorer(BASIS, ToyText(), LocateConfig()), ToyText().encode(["sofa", "mug", "door"])
    blocks = featured(*np.linalg.solve(BASIS, words[rng.integers(0, 3, 800)].T).T.reshape(8, 100, 8)).blocks
    old = featured(np.zeros((1, 8)))
    asked, ask = [], scorer._looked
    monkeypatch.setattr(scorer, "_looked", lambda *a: asked.append(a[0].serials[a[3]].tolist()) or ask(*a))
    sizes = []
    for k in range(5):
        ready = scorer.prepare(replace(old, blocks=blocks[k : k + 4]))
        cells, _ = scorer.likely(ready, scorer.phrases("couch"), 0.1)
        sizes.append(len(ready.starts))
        fresh = Scorer(BASIS, ToyText(), LocateConfig())
        again = fresh.prepare(ready.snapshot)
        expected, _ = fresh.likely(again, fresh.phrases("couch"), 0.1)
        numbers = [p.looks_of(c)[0] for p, c in ((ready, cells), (again, expected))]
        np.testing.assert_array_equal(*map(np.sort, numbers))
        assert len(cells) > 50
    assert sizes == [4] * 5  # swept each time
    assert asked == [[0, 1, 2, 3], [4], [5], [6], [7]]


def test_what_was_not_asked_for_longest_is_forgotten():
    recent = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)


def test_the_answer_to_the_same_query_stays_the_same_also_on_a_map_that_grew(room, locator):
    shelf = snapshot_of([(box_points((4, 4, 0.5), (0.5, 0.5, 1)), stored("shelf"))])
    whole = room.blocks[0]
    halves = [
        whole.take(np.flatnonzero(whole.points[:, 1] > 1)),
        whole.take(np.flatnonzero(whole.points[:, 1] <= 1)),
    ]
    orders = ((whole,), (whole,), (*shelf.blocks, whole), halves, halves[::-1])
    for version, blocks in enumerate(orders):
        world = replace(room, blocks=tuple(blocks), version=version)
        again = locator.locate(world, "a chair")
        fresh = Locator(BASIS, ToyText()).locate(world, "a chair")
        assert again.message == fresh.message and len(again.objects) == 2
        for a, b in zip(again.objects, fresh.objects, strict=True):
            assert a.id == b.id and np.array_equal(a.indices, b.indices)
            np.testing.assert_array_equal(world.points[a.indices].mean(0), world.points[b.indices].mean(0))
            np.testing.assert_allclose([*a.box_size, *a.centroid], [*b.box_size, *b.centroid], atol=1e-6)


def test_a_sketch_bounds_every_cosine_and_often_closely():
    rng = np.random.default_rng(6)
    basis, words = rng.normal(size=(32, 12)), rng.normal(size=(32, 40))
    vectors = rng.normal(size=(12, 500)) * (0.5 ** np.arange(12))[:, None]
    lengths = np.linalg.norm(basis @ vectors, axis=0)
    features, queries = (vectors / lengths).T.astype(np.float32), words / np.linalg.norm(words, axis=0)
    sketcher = Sketcher(basis.T @ basis, basis.T @ queries)
    sketch = sketcher.sketch(np.concatenate([features, np.zeros((1, 12), np.float32)]))
    for query in queries.T:
        weights, slack = sketcher.bound(basis.T @ query)
        most, cosine = sketch @ weights + slack, np.append(features @ basis.T @ query, 0)
        assert (most >= cosine).all() and np.median(most - cosine) < 0.5
