"""Flats, twins and L-shaped rooms: walls with doorways in them, and a tour that touches nothing."""

import numpy as np
import pytest

from sab3r_ros.errors import ConfigError
from sab3r_ros.rooms.clip import build_room, render_room
from sab3r_ros.rooms.flat import WALL_M, add_doorway, flat, twin_rooms
from sab3r_ros.rooms.scene import Scene
from sab3r_ros.rooms.shell import Gap, build_shell, cut_corner, wall_parts
from sab3r_ros.rooms.tour import resampled, shortest_way, tour
from sab3r_ros.rooms.trajectory import is_free, look

SIZE = (64, 48)
K_CENTRED = np.array([[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]])


def test_a_wall_with_a_doorway_is_two_posts_and_a_lintel():
    parts = wall_parts(4.0, 2.5, [Gap(0, 1.5, 1.0, 2.0)])
    assert parts == [(0.0, 1.0, 0.0, 2.5), (1.0, 2.0, 2.0, 2.5), (2.0, 4.0, 0.0, 2.5)]
    assert wall_parts(4.0, 2.5, []) == [(0.0, 4.0, 0.0, 2.5)]


def two_rooms() -> Scene:
    """A room of 4 × 3 × 2.5 m and, behind a doorway in the middle of its wall x = 4, one of 2 × 3 × 2.5 m."""
    rng, whole = np.random.default_rng(0), Scene(np.array([6 + WALL_M, 3.0, 2.5]))
    whole.spaces.clear()
    for size, x, wall in (((4.0, 3.0, 2.5), 0.0, 3), ((2.0, 3.0, 2.5), 4 + WALL_M, 2)):
        room = Scene(np.array(size))
        build_shell(room, rng, [Gap(wall, 1.5, 1.0, 2.0)])
        whole.add_scene(room, np.array([x, 0, 0]))
    add_doorway(whole, rng, np.zeros(2), np.array([4.0, 3.0]), Gap(3, 1.5, 1.0, 2.0))
    return whole


def test_through_a_doorway_one_sees_the_next_room_and_beside_it_the_wall():
    pytest.importorskip("open3d")
    from sab3r_ros.rooms.render import Renderer

    scene = two_rooms()
    renderer = Renderer(scene, np.random.default_rng(0))
    for y, z, distance, instance in ((1.5, 1.2, 5 + WALL_M, 12), (0.5, 1.2, 3.0, 6), (1.5, 2.2, 3.0, 6)):
        shot = renderer.shot(K_CENTRED, look(np.array([1.0, y, z]), np.array([1.0, 0, 0])), *SIZE)
        assert shot.depth[24, 32] == pytest.approx(distance, abs=1e-4)
        assert shot.instance[24, 32] == instance
    assert scene.labels[13]["name"] == "doorway" and len(scene.labels) == 13
    inside = renderer.shot(K_CENTRED, look(np.array([4.05, 1.5, 1.2]), np.array([0, 1.0, 0])), *SIZE)
    assert inside.depth[24, 32] == pytest.approx(0.5, abs=1e-4) and inside.instance[24, 32] == 13


def test_a_camera_fits_through_a_doorway_and_not_through_a_wall():
    scene = two_rooms()
    for x in np.linspace(0.2, 5.9, 40):
        assert is_free(scene, np.array([x, 1.5, 1.2]))
        assert is_free(scene, np.array([x, 0.5, 1.2])) == (x < 3.88 or x > 4.27)


@pytest.mark.parametrize("seed", range(2))
def test_a_tour_of_a_flat_visits_every_room_and_comes_back(seed):
    scene, rng = flat(seed, "train", rooms=4)
    poses = tour(scene, rng, 80)
    eyes = np.array([T[:3, 3] for T in poses])
    assert len(poses) > 64
    for low, high in scene.spaces:
        if (high - low)[:2].min() > 1.2:
            assert ((eyes > low) & (eyes < high)).all(1).any()
    assert all(is_free(scene, eye) for eye in eyes)
    assert np.linalg.norm(np.diff(eyes, axis=0), axis=1).max() < 1.2
    again = np.linalg.norm(eyes[:, None, :2] - eyes[None, :, :2], axis=2)[:10, 60:]
    assert again.min() < 0.4  # a loop to close


@pytest.mark.parametrize("seed", range(2))
def test_a_lap_looks_across_its_room_and_comes_back(seed):
    scene, rng = build_room("lap", seed, "train")
    poses = np.stack(tour(scene, rng, 60))
    eyes, forward = poses[:, :3, 3], poses[:, :3, 2]
    assert len(poses) > 48 and all(is_free(scene, eye) for eye in eyes)
    inward = scene.gaze[:2] - eyes[:, :2]
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    ahead = forward[:, :2] / np.linalg.norm(forward[:, :2], axis=1, keepdims=True)
    assert (inward * ahead).sum(1).min() > np.cos(np.deg2rad(40))
    for quarter in np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]):  # from all sides
        assert ((eyes[:, :2] - scene.gaze[:2]) * quarter > 0).all(1).any()
    assert np.linalg.norm(eyes[:10, None, :2] - eyes[None, 45:, :2], axis=2).min() < 0.3


def test_twins_are_alike_from_wherever_one_looks():
    pytest.importorskip("open3d")
    from sab3r_ros.rooms.render import Renderer

    scene, rng = twin_rooms(5, "train")
    renderer = Renderer(scene, rng)
    first, second = scene.tour[0], scene.tour[2]
    views = [
        renderer.shot(K_CENTRED, look(np.array([*xy, 1.6]), np.array([0.2, 1, -0.3])), *SIZE)
        for xy in (first, second)
    ]
    assert np.abs(views[0].depth - views[1].depth).max() < 1e-3
    seen = [{scene.labels[n]["caption"] for n in np.unique(v.instance).tolist()} for v in views]
    assert seen[0] == seen[1]
    assert not set(np.unique(views[0].instance)) & set(np.unique(views[1].instance))


def test_an_l_shaped_room_lacks_a_corner():
    scene = Scene(np.array([5.0, 4.0, 2.5]))
    corner, hidden = cut_corner(scene, np.random.default_rng(3))
    assert (corner.half * 2 < scene.size[:2] / 2).all()
    assert not is_free(scene, np.array([*corner.center, 1.2]))
    assert is_free(scene, np.array([*(scene.size[:2] - corner.center), 1.2]))
    for wall, share, half in hidden:
        length = scene.size[0 if wall < 2 else 1]
        ends = np.array([share * length - half, share * length + half])
        assert ends.min() == pytest.approx(0) or ends.max() == pytest.approx(length)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_stands_in_the_corner_of_an_l_shaped_room(seed):
    scene, _ = build_room("l-room", seed, "train")
    corner = next(o for o in scene.obstacles if o.height >= scene.size[2])
    for o in scene.obstacles:
        assert o is corner or not corner.overlaps(o.center, o.half, gap=0.0)


def test_kinds_of_rooms_render_by_seed_alone():
    pytest.importorskip("open3d")
    a, b = (render_room(2, views=12, size=(32, 24), kind="flat") for _ in range(2))
    assert len(a.images) > 6 and (a.images == b.images).all() and (a.T_WC == b.T_WC).all()
    assert set(np.unique(a.instance).tolist()) - {0} <= set(a.labels)
    with pytest.raises(ConfigError, match="twins"):
        render_room(0, kind="castle")
    with pytest.raises(ConfigError, match="val"):
        render_room(0, split="training")
    with pytest.raises(ConfigError, match="two rooms or more"):
        flat(0, "train", rooms=1)


def test_the_shortest_way_goes_round_a_wall():
    cost = np.ones((5, 5))
    cost[2, :4] = np.inf  # a wall with a gap at its end
    way = shortest_way(cost, np.array([0.05, 0.05]), np.array([0.45, 0.05]))
    assert np.allclose(way[0], [0.05, 0.05]) and np.allclose(way[-1], [0.45, 0.05])
    assert np.linalg.norm(way - [0.25, 0.45], axis=1).min() < 1e-9
    cost[2] = np.inf
    assert len(shortest_way(cost, np.array([0.05, 0.05]), np.array([0.45, 0.05]))) == 0


def test_resampled_points_lie_on_the_line_at_even_steps():
    points = resampled(np.array([[0.0, 0], [1, 0], [1, 1]]), 0.25)
    assert np.allclose(points[:5], [[0, 0], [0.25, 0], [0.5, 0], [0.75, 0], [1, 0]])
    assert np.allclose(points[5:], [[1, 0.25], [1, 0.5], [1, 0.75]])


def test_consecutive_views_of_a_tour_overlap_and_their_depths_agree():
    pytest.importorskip("open3d")
    clip = render_room(3, views=90, size=SIZE, kind="flat")
    shares, errors = [], []
    v, u = np.mgrid[: SIZE[1] : 2, : SIZE[0] : 2]
    for i in range(0, len(clip.images) - 1, 4):
        z = clip.depth[i][v, u].reshape(-1, 1)
        rays = np.stack([u, v, np.ones(u.shape)], -1).reshape(-1, 3) @ np.linalg.inv(clip.K).T
        T_JI = np.linalg.inv(clip.T_WC[i + 1]) @ clip.T_WC[i]
        X = (rays * z) @ T_JI[:3, :3].T + T_JI[:3, 3]
        pixel = np.round((X @ clip.K.T)[:, :2] / np.maximum(X[:, 2:], 1e-6)).astype(int)
        inside = (X[:, 2] > 0.05) & (pixel >= 0).all(1) & (pixel < SIZE).all(1)
        there = clip.depth[i + 1][pixel[inside, 1], pixel[inside, 0]]
        error = np.abs(there / X[inside, 2] - 1)
        shares.append((error < 0.03).sum() / len(X))
        errors.append(np.median(error[error < 0.1]))
    assert 0.4 < np.median(shares) < 0.85
    assert max(errors) < 0.01
