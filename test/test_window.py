"""Points between pixels, and which keyframes of a window stay."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from oracle import OracleModel, World, look_at

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.camera import on_rays, pinhole
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.alignment import Edge, PairAlignment
from sab3r_ros.mapping.depth_grid import PixelEdge
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.matching import between_descriptors, points_at
from sab3r_ros.mapping.window import Window
from sab3r_ros.types import View

K = pinhole(50.0, 48, 64)


def depths(z):
    return on_rays(np.repeat(np.asarray(z, np.float32)[..., None], 3, 2), K)


def test_a_point_between_pixels_of_a_slanted_plane_lies_on_it():
    rows = np.arange(48)[:, None] * np.ones((1, 64))
    points = depths(1 / (0.3 + 0.002 * rows))  # a plane: its inverse depth is linear over the image
    uv = np.array([[20.5, 30.5], [7.25, 11.75], [63.0, 47.0]])
    z = 1 / (0.3 + 0.002 * uv[:, 1])
    truth = np.c_[(uv - K[:2, 2]) / 50.0 * z[:, None], z]
    assert points_at(points, uv) == pytest.approx(truth, rel=1e-3, abs=1e-4)


def test_no_point_floats_between_two_surfaces():
    z = np.where(np.arange(64) < 32, 1.0, 3.0) * np.ones((48, 1))
    found = points_at(depths(z), np.array([[31.4, 20.5], [31.6, 20.5]]))
    assert found[:, 2] == pytest.approx([1.0, 3.0], rel=1e-3)


@pytest.mark.parametrize(
    ("agreeing", "step_m", "kept"), [(60, 0.1, [0, 3, 4]), (40, 0.1, [1, 3, 4]), (60, 1.0, [1, 3, 4])]
)
def test_the_oldest_keyframe_stays_while_it_sees_half_as_much_as_its_neighbours_from_near_by(
    agreeing, step_m, kept
):
    image, ahead = np.zeros((48, 64, 3), np.uint8), np.tile([0.0, 0, 2.0], (4, 1))
    window = Window(None, AlignmentConfig())
    window.keyframes = [Keyframe(n, float(n), image, K, object()) for n in range(5)]
    for n, count, t in ((0, agreeing, step_m), (1, 90, 0.1), (2, 100, 0.1)):
        window._edges[n, 3] = Edge(n, 3, ahead, ahead, np.ones(4))
        window._pairs[n, 3] = PairAlignment(Sim3(1.0, np.eye(3), np.array([t, 0, 0])), 1.0, count, np.eye(7))
    gone = window.keyframes[2]
    window.keep_anchors(2, waiting=window.keyframes[4:])
    assert [k.id for k in window.keyframes] == kept
    assert gone.encoding is None and all(k.encoding is not None for k in window.keyframes)


def test_likeness_peaks_between_descriptors():
    # Number 6 stands at −0.025, a quarter of a step before the peak.
    angle = np.linspace(-0.6, 0.6, 13) - 0.025
    along = np.stack([np.cos(angle), np.sin(angle)], 1)
    view = View(np.zeros((10, 26, 3)), np.ones((10, 26)), np.tile(along, (5, 1, 1)), np.ones((5, 13)), None)
    uv = between_descriptors(np.array([[1.0, 0.0]]), view, np.array([2 * 13 + 6]))
    assert uv[0] == pytest.approx([2 * 6.25 + 0.5, 2 * 2 + 0.5], abs=0.01)


def test_the_peak_of_descriptors_that_change_fast_is_not_drawn_to_the_nearest_one():
    likeness = np.exp(-((np.arange(13) - 6.25) ** 2) / (2 * 0.8**2))  # of a parabola it would be at 6.17
    along = np.stack([likeness, np.sqrt(1 - likeness**2)], 1)
    view = View(np.zeros((10, 26, 3)), np.ones((10, 26)), np.tile(along, (5, 1, 1)), np.ones((5, 13)), None)
    uv = between_descriptors(np.array([[1.0, 0.0]]), view, np.array([2 * 13 + 6]))
    assert uv[0, 0] == pytest.approx(2 * 6.25 + 0.5, abs=1e-3)


class Wavering:
    """A two-view network that sees a wall 2 m ahead, a tenth of the upper half nearer or farther by the partner, and guesses
    the scale anew for each pair."""

    monocular = False

    def decode(self, first, second):
        z = np.full((48, 64), 2.0)
        z[:24] *= 1.1 ** ((-1) ** second)
        descriptors = np.random.default_rng(0).normal(size=(24, 32, 24)).astype(np.float32)
        descriptors /= np.linalg.norm(descriptors, axis=2, keepdims=True)
        ones = np.ones((48, 64), np.float32)
        view = View(depths(z * (1 + second)), ones, descriptors, ones[::2, ::2], None)
        return view, view


def test_a_keyframe_that_is_decoded_with_several_others_is_the_mean_of_what_they_show():
    window = Window(Wavering(), AlignmentConfig())
    window.keyframes = [Keyframe(n, float(n), np.zeros((48, 64, 3), np.uint8), K, n) for n in range(3)]
    first, second, third = window.keyframes
    window.edge(second, third)  # its own decoding is with the second, the nearest
    assert window.view(third).points[40, 0, 2] / window.view(third).points[4, 0, 2] == pytest.approx(
        1.1, rel=1e-3
    )
    window.edge(first, third)
    assert window.view(third).points[40, 0, 2] / window.view(third).points[4, 0, 2] == pytest.approx(
        1.0, rel=1e-3
    )
    assert window.view(third).points[40, 0, 2] == pytest.approx(4.0, rel=0.05)  # the first decoding's scale


def test_what_stands_in_the_map_is_not_changed_by_later_decodings():
    window = Window(Wavering(), AlignmentConfig())
    window.keyframes = [Keyframe(n, float(n), np.zeros((48, 64, 3), np.uint8), K, n) for n in range(3)]
    first, second, third = window.keyframes
    third.T_WK = Sim3.identity()
    before = window.view(third).points.copy()
    window.edge(second, third)
    window.edge(first, third)
    assert (window.view(third).points == before).all()


@pytest.mark.parametrize(
    ("given", "in_the_map", "bends"), [(True, False, True), (False, False, False), (True, True, False)]
)
def test_only_new_keyframes_whose_intrinsics_are_given_bend(given, in_the_map, bends):
    tilted = np.linspace(0.9, 1.1, 64) * np.ones((48, 1))  # a smooth error that bending finds
    uv = np.stack(np.meshgrid(np.arange(4, 60, 4), np.arange(4, 44, 4)), -1).reshape(-1, 2).astype(float)
    points = {0: depths(np.full((48, 64), 2.0)), 1: depths(2 * tilted)}
    window = Window(None, AlignmentConfig())
    for n, X in points.items():
        k = K if given and n else None
        window.add(Keyframe(n, float(n), np.zeros((48, 64, 3), np.uint8), k, None))
        window._views[n] = View(X.astype(np.float32), np.ones((48, 64), np.float32), None, None, None)
    window.keyframes[1].T_WK = Sim3.identity() if in_the_map else None
    sampled = [points_at(X, uv) for X in points.values()]
    edge = PixelEdge(0, 1, *sampled, np.ones(len(uv)), uv, uv, (48, 64))
    poses = {0: Sim3.identity(), 1: Sim3.identity()}
    loose = window._loose(poses)
    assert bool(loose) is bends
    if loose:
        window._bend(poses, [edge], 0, loose)
    assert np.array_equal(window.view(window.keyframes[0]).points, points[0].astype(np.float32))
    assert np.array_equal(window.view(window.keyframes[1]).points, points[1].astype(np.float32)) is not bends


class Together(OracleModel):
    """A monocular oracle whose views alone have descriptors of nothing; of a pair they are right. Counts its pairs."""

    pairs, blind = 0, True

    def decode(self, first, second):
        if first is not second:
            self.pairs += 1
            return first, second
        if self.blind:
            noise = np.random.default_rng(int(first.points.sum() * 1e3)).normal(size=first.descriptors.shape)
            noise = (noise / np.linalg.norm(noise, axis=2, keepdims=True)).astype(np.float32)
            return replace(first, descriptors=noise), replace(first, descriptors=noise)
        return first, first


@pytest.mark.parametrize("blind", [True, False])
def test_two_views_are_looked_at_together_where_their_own_descriptors_do_not_settle_it(blind):
    world = World()
    model = Together(world)
    model.blind = blind
    poses = [look_at(np.array([1.2 + 0.2 * n, 0.8, 1.4]), [3.0, 2.4, 0.6]) for n in range(2)]
    window = Window(model, AlignmentConfig())
    for n, T_WC in enumerate(poses):
        image = world.image(T_WC)
        window.add(Keyframe(n, float(n), image, oracle.K, model.encode(image)))
    found = window.solve(np.random.default_rng(0))
    truth = np.linalg.inv(poses[0]) @ poses[1]
    assert found[1].angle_to(Sim3(1.0, truth[:3, :3], truth[:3, 3])) < 0.01
    assert model.pairs == (1 if blind else 0)


def test_rivals_are_judged_by_what_two_views_show_together(monkeypatch):
    world = World()
    model = Together(world)
    window = Window(model, AlignmentConfig())
    for n in range(2):
        image = world.image(look_at(np.array([1.2 + 0.2 * n, 0.8, 1.4]), [3.0, 2.4, 0.6]))
        window.add(Keyframe(n, float(n), image, oracle.K, model.encode(image)))
    asked = []
    monkeypatch.setattr("sab3r_ros.mapping.window.doubtful", lambda *pair: True)
    monkeypatch.setattr(
        "sab3r_ros.mapping.window.best_rival", lambda *given: asked.append(given[:2]) or given[3]
    )
    window.pair(*window.keyframes, np.random.default_rng(0))
    for surface, keyframe in zip(asked[0], window.keyframes, strict=True):
        assert (surface.view.descriptors == keyframe.encoding.descriptors).all()
        assert surface.view.points is window.view(keyframe).points


@pytest.mark.parametrize(("probability", "believed"), [(0.2, False), (0.9, True)])
def test_a_pair_of_a_network_that_sees_both_views_needs_right_matches(monkeypatch, probability, believed):
    ahead = np.tile([0.0, 0, 2.0], (60, 1))
    window = Window(OracleModel(World(), monocular=False), AlignmentConfig())
    a, b = (Keyframe(n, float(n), np.zeros((48, 64, 3), np.uint8), K, None) for n in range(2))
    window._edges[0, 1] = Edge(0, 1, ahead, ahead, np.full(60, probability))
    chance = PairAlignment(Sim3.identity(), 0.6, 36, np.eye(7))
    monkeypatch.setattr(Window, "_aligned", lambda *_: chance)
    assert window.pair(a, b, np.random.default_rng(0)) is (chance if believed else None)


def test_the_newest_keyframe_that_the_map_holds_stays_where_it_is_and_the_older_ones_tell_whether_the_window_fits():
    window, view = Window(None, AlignmentConfig()), View(depths(np.full((48, 64), 2.0)), *[None] * 4)
    older, newer = Sim3(1.0, np.eye(3), np.array([0.1, 0, 0])), Sim3(2.0, np.eye(3), np.array([1.0, 0, 0]))
    for n, T_WK in enumerate((older, newer, None)):
        window.add(Keyframe(n, float(n), np.zeros((48, 64, 3), np.uint8), K, None, T_WK))
        window._views[n] = replace(view, confidence=np.ones((48, 64), np.float32))
    poses = {n: Sim3(1.0, np.eye(3), np.array([0.5 * n, 0, 0])) for n in range(3)}
    T_WV, misfit = window.place(poses, np.random.default_rng(0))
    assert (T_WV @ poses[1]).matrix() == pytest.approx(newer.matrix())
    assert misfit > 0.1  # the map holds the older one at half the scale
    window.keyframes[0].T_WK = T_WV @ poses[0]
    assert window.place(poses, np.random.default_rng(0))[1] == pytest.approx(0, abs=1e-6)
    window.keyframes[0].T_WK = window.keyframes[1].T_WK = None
    assert window.place(poses, np.random.default_rng(0)) is None
