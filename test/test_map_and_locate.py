"""The Map and Locate benchmark: its metrics, groups, bounds and rows, each against something independent."""

import numpy as np
import open3d as o3d
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rule import fill
from scipy.spatial.transform import Rotation
from sklearn.metrics import confusion_matrix, jaccard_score
from small_heads import small_heads  # noqa: F401
from small_rooms import CLASSES, ROOM, box_room, box_view, box_views

from sab3r_ros.config import MapAndLocateConfig
from sab3r_ros.errors import QueryError
from sab3r_ros.evaluation.bounds import Chance, Oracle
from sab3r_ros.evaluation.cost import cost_of_model
from sab3r_ros.evaluation.groups import draw_groups, overlaps, unprojected
from sab3r_ros.evaluation.map_and_locate import figures, higher_is_better, score_group, true_points
from sab3r_ros.evaluation.prediction import classify, labelled_points, place_in_world, predict
from sab3r_ros.evaluation.runner import camera_steps, run_group, score_as_json, score_from_json
from sab3r_ros.evaluation.systems import CHANCE, ORACLE, ROWS, System, load_systems, network_system
from sab3r_ros.evaluation.voc import cost_of
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.network_model import MonocularModel, TwoViewModel
from sab3r_ros.model.two_models import TwoModelPipeline

CPU = torch.device("cpu")
CONFIG = MapAndLocateConfig(max_overlap=0.95)


class Axes:
    """A language in which each phrase is its own direction."""

    space, dim, spread = "axes", 32, 1.0

    def encode(self, phrases):
        return np.stack([np.random.default_rng(len(p)).normal(size=self.dim) for p in phrases]).astype(
            np.float32
        )


def labelled_cloud(rng, count, classes=4):
    return rng.uniform(0, 2, (count, 3)), rng.integers(0, classes, count).astype(np.int16)


def cloud(points):
    return o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))


def test_metrics_agree_with_scikit_learn_and_open3d():
    rng = np.random.default_rng(0)
    truth, guess = labelled_cloud(rng, 400), labelled_cloud(rng, 300)
    score = score_group(truth, guess, 4)
    tree = o3d.geometry.KDTreeFlann(cloud(guess[0]))
    told = guess[1][[tree.search_knn_vector_3d(x, 1)[1][0] for x in truth[0]]]
    assert (score.counts[:, :4] == confusion_matrix(truth[1], told, labels=range(4))).all()
    result = figures([score], 4)
    assert result.miou == pytest.approx(jaccard_score(truth[1], told, average="macro"))
    assert result.accuracy == pytest.approx((truth[1] == told).mean())
    for label in range(4):
        pair = cloud(guess[0][guess[1] == label]), cloud(truth[0][truth[1] == label])
        d = np.asarray(pair[0].compute_point_cloud_distance(pair[1]))
        found = score.distances[label]
        assert (found.mean_m, found.median_m) == pytest.approx((d.mean(), np.median(d)))
        assert found.near == pytest.approx(((d < 0.05).mean(), (d < 0.1).mean()))
    reach = np.asarray(cloud(truth[0]).compute_point_cloud_distance(cloud(guess[0])))
    assert score.coverage == pytest.approx(((reach < 0.05).mean(), (reach < 0.1).mean()))
    assert result.mcomp == pytest.approx(np.mean([1 - score.distances[k].mean_m for k in range(4)]))


def test_metrics_by_hand():
    truth = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([0, 0, 1])
    guess = np.array([[0.0, 0.03, 0], [1, 0.2, 0], [2, 0.4, 0]]), np.array([0, 1, 0])
    score = score_group(truth, guess, 3)
    assert score.counts.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    zero, one = score.distances[0], score.distances[1]
    assert zero.mean_m == pytest.approx((0.03 + np.hypot(1, 0.4)) / 2) and one.mean_m == pytest.approx(
        np.hypot(1, 0.2)
    )
    result = figures([score], 3)
    assert result.miou == pytest.approx((1 / 3 + 0) / 2) and result.accuracy == pytest.approx(1 / 3)
    assert result.mcomp == pytest.approx((1 - zero.mean_m) / 2)  # label 1 is more than a metre off
    assert result.near == pytest.approx((0.25, 0.25))  # half of label 0's points, none of label 1's
    assert result.points.tolist() == [2, 1, 0]


def test_a_label_that_is_not_predicted_scores_nothing_and_has_no_metres():
    truth = np.zeros((2, 3)), np.array([0, 1])
    result = figures([score_group(truth, (np.zeros((1, 3)), np.array([0])), 2)], 2)
    assert result.mcomp == pytest.approx(0.5) and result.mcomp_m == 0 and result.near[1] == pytest.approx(0.5)
    assert [higher_is_better(d) for d in (0, 0.25, 1, 9)] == [1, 0.75, 0, 0]


def test_perfect_scores_one_and_shuffled_scores_chance():
    rng = np.random.default_rng(1)
    points, labels = rng.uniform(0, 2, (20_000, 3)), rng.choice(4, 20_000, p=(0.5, 0.25, 0.15, 0.1))
    perfect = figures([score_group((points, labels), (points, labels), 4)], 4)
    assert (perfect.miou, perfect.accuracy, perfect.mcomp, perfect.mdcomp) == (1, 1, 1, 1)
    assert perfect.near == (1, 1) and perfect.coverage == (1, 1)
    shuffled = figures([score_group((points, labels), (points, rng.permutation(labels)), 4)], 4)
    p = np.array([0.5, 0.25, 0.15, 0.1])
    assert shuffled.accuracy == pytest.approx((p**2).sum(), abs=0.01)
    assert shuffled.miou == pytest.approx((p**2 / (2 * p - p**2)).mean(), abs=0.01)


@given(seed=st.integers(0, 10**6), angle=st.floats(-3, 3), shift=st.floats(-9, 9))
@settings(max_examples=15, deadline=None)
def test_metrics_do_not_depend_on_the_frame(seed, angle, shift):
    rng = np.random.default_rng(seed)
    truth, guess = labelled_cloud(rng, 60), labelled_cloud(rng, 50)
    T = Sim3(1.0, Rotation.from_rotvec([0, angle, 0.2]).as_matrix(), np.array([shift, 0, 1]))
    here, there = (
        score_group((f(truth[0]), truth[1]), (f(guess[0]), guess[1]), 4) for f in (lambda x: x, T.apply)
    )
    assert (here.counts == there.counts).all() and here.coverage == there.coverage
    assert here.distances[truth[1][0]].mean_m == pytest.approx(there.distances[truth[1][0]].mean_m)


def test_scores_survive_their_file():
    rng = np.random.default_rng(2)
    score = score_group(labelled_cloud(rng, 50, 3), labelled_cloud(rng, 40, 2), 4)
    back = score_from_json(score_as_json(score), 4)
    assert (
        (back.counts == score.counts).all()
        and back.distances == score.distances
        and back.coverage == score.coverage
    )


def test_true_points_lie_on_the_walls_and_void_is_left_out():
    X, labels = true_points([box_view((2, 1.5, 1.2), (1, 0.3, 0.3))], 10**6)
    off = np.minimum(np.abs(X), np.abs(X - ROOM))
    assert (off.min(1) < 1e-5).all() and set(labels.tolist()) <= {0, 1}
    assert np.allclose(X[labels == 1, 2], 0, atol=1e-5)


def test_overlap_of_views():
    still, turned, behind = (box_view((2, 1.5, 1.2), d) for d in ((1, 0, 0), (1, 0.25, 0), (-1, 0, 0)))
    shared = overlaps([still, still, turned, behind])
    assert shared[0, 1] == 1 and 0.4 < shared[0, 2] < 0.9 and shared[0, 3] == 0
    assert (shared == shared.T).all() and (np.diag(shared) == 0).all()


def test_groups_follow_their_rules_and_their_seed():
    scene = box_room(count=12)
    groups = draw_groups(scene, CONFIG)
    assert (
        groups
        == draw_groups(scene, CONFIG)
        != draw_groups(scene, MapAndLocateConfig(seed=1, max_overlap=0.95))
    )
    assert sorted((len(g.views), g.set) for g in groups) == [(n, s) for n in (2, 3, 4) for s in (0, 1)]
    shared = overlaps([scene.load(k) for k in range(12)])
    for group in groups:
        inside = shared[np.ix_(group.views, group.views)]
        assert (inside.max(0) >= CONFIG.min_overlap).all() and inside.max() <= CONFIG.max_overlap
    assert len({frozenset(g.views) for g in groups}) == len(groups)


def test_too_few_views_that_follow_the_rules_give_fewer_groups(caplog):
    assert draw_groups(box_room(count=1), CONFIG) == []
    assert "no set 1 of 2 views" in caplog.text


def test_camera_steps_of_a_turn_by_hand():
    a, b = box_view((1, 1, 1), (1, 0, 0)), box_view((1, 1.3, 1.4), (0, 1, 0))
    assert camera_steps([a, b]) == [pytest.approx((0.5, 90))]


@pytest.fixture(scope="module")
def views():
    return box_views(8)[::3]


def test_the_oracle_passes_through_the_whole_seam(views):
    oracle = Oracle(ORACLE, views, CLASSES, Axes())
    row = run_group(views, CLASSES, System("o", ORACLE, lambda v, c: oracle, Axes()), CONFIG)
    result = figures([score_from_json(row, 3)], 3)
    assert row["placed"] == 3 and result.miou > 0.97 and result.mcomp > 0.97 and result.near[0] > 0.95


def test_chance_is_chance(views):
    chance = Chance(CHANCE, views, CLASSES, Axes())
    row = run_group(views, CLASSES, System("c", CHANCE, lambda v, c: chance, Axes()), CONFIG)
    result = figures([score_from_json(row, 3)], 3)
    assert row["placed"] == 1 and result.accuracy == pytest.approx(1 / 3, abs=0.05)


def test_one_true_depth_and_pose_give_scale_and_frame(views):
    class Shrunk(Oracle):
        def encode(self, image):
            view = super().encode(image)
            view.points[:] *= 0.25
            return view

    model = Shrunk(ORACLE, views, CLASSES, Axes())
    prediction = predict(model, [v.image for v in views], 0)
    T_WV = place_in_world(prediction, views[0], model)
    assert T_WV.s == pytest.approx(4, rel=1e-3) and np.allclose(T_WV.rigid(), views[0].T_WC, atol=1e-3)
    X, _ = labelled_points(prediction, T_WV, np.zeros((3, 3), np.float32), 10**6)
    assert (np.minimum(np.abs(X), np.abs(X - ROOM)).min(1) < 0.03).mean() > 0.95


def test_pixels_that_say_nothing_are_void():
    features = np.zeros((2, 2, 3), np.float16)
    features[0, 0] = [0, 1, 0]
    assert classify(features, np.eye(3, dtype=np.float32), (2, 2)).tolist() == [[1, -1], [-1, -1]]


def test_unprojection_of_the_middle_pixel():
    view = box_view((2, 1.5, 1.2), (1, 0, 0), size=(95, 127))
    assert np.allclose(unprojected(view, np.array([47]), np.array([63])), [[4, 1.5, 1.2]])


TINY = SAB3RConfig(
    encoder_width=64,
    encoder_depth=2,
    encoder_heads=1,
    decoder_width=64,
    decoder_depth=4,
    decoder_heads=1,
    features=(("clip", 32),),
)


@pytest.fixture(scope="module")
def tiny():
    return TwoViewModel(fill(SAB3R(TINY)), "tiny", CPU, torch.float32, long_side=64)


def every_row(tiny):
    def semantics(images):
        return torch.nn.functional.avg_pool2d(images, 8).repeat(1, 11, 1, 1)[:, :32]

    semantics.parameters, semantics.flops = 5, 7
    torch.manual_seed(0)
    mini = MonocularModel(SAB3R(SAB3RConfig.mini()), "mini-test", CPU, long_side=64)
    return {
        "two views": tiny,
        "two models": TwoModelPipeline(tiny, semantics, 32, "rule"),
        "monocular": mini,
        "monocular and another": TwoModelPipeline(mini, semantics, 32, "rule", "axes"),
    }


@pytest.mark.parametrize("kind", ["two views", "two models", "monocular", "monocular and another"])
def test_every_kind_of_network_is_a_row(kind, tiny, views):
    model = every_row(tiny)[kind]
    text = Axes()
    text.dim = model.feature_basis.shape[0]
    row = run_group(views, CLASSES, network_system(kind, model, text), CONFIG)
    result = figures([score_from_json(row, 3)], 3)
    assert 1 <= row["placed"] <= 3 and 0 <= result.accuracy <= 1 and row["seconds"] > 0
    cost = cost_of_model(model, views[0].image)
    assert cost.parameters > 10_000 and cost.flops > 1e6


def test_cost_of_convolutions_by_hand():
    class Tflite:
        def get_tensor_details(self):
            shapes = ((1, 20, 20, 4), (8, 3, 3, 4), (8,), (1, 10, 10, 8), (1, 3, 3, 8), (1, 5, 5, 8))
            return [{"index": k, "shape": shape} for k, shape in enumerate(shapes)]

        def _get_ops_details(self):
            return [
                {"op_name": "CONV_2D", "inputs": [0, 1, 2], "outputs": [3]},
                {"op_name": "DEPTHWISE_CONV_2D", "inputs": [3, 4, -1], "outputs": [5]},
                {"op_name": "RELU", "inputs": [5], "outputs": [5]},
            ]

    assert cost_of(Tflite()) == (8 * 9 * 4 + 8 + 72, 2 * (8 * 9 * 4 * 100 + 72 * 25))


def test_costs_add_up(tiny, views):
    rows = every_row(tiny)
    alone, both = (cost_of_model(rows[k], views[0].image) for k in ("monocular", "monocular and another"))
    assert (both.parameters, both.flops) == (alone.parameters + 5, alone.flops + 7)
    assert alone.parameters == sum(p.numel() for p in rows["monocular"].network.parameters())


def test_a_network_without_language_cannot_locate():
    config = SAB3RConfig(**{**TINY.__dict__, "features": ()})
    model = TwoViewModel(fill(SAB3R(config)), "plain", CPU, torch.float32, long_side=64)
    with pytest.raises(QueryError, match="language"):
        predict(model, [np.zeros((64, 64, 3), np.uint8)] * 2, 0)


def test_rows_that_cannot_be_had_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found, missing = load_systems(ROWS, None)
    assert {s.name for s in found} == {"mini", "Oracle", "Chance"}
    assert "sab3r weights fetch sab3r" in missing["SAB3R (CD)"] and "--row" in missing["SAB3R (C)"]
    assert "--deeplab" in missing["mini + DeepLab"] and "weights fetch" in missing["MASt3R + FeatUp MaskCLIP"]
