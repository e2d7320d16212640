"""Light of rooms: computed at half resolution, spread over the surfaces it belongs to."""

import json

import numpy as np
import pytest

from sab3r_ros.errors import ConfigError
from sab3r_ros.rooms.clip import RULES
from sab3r_ros.rooms.pieces import TEXTURE_SIZE
from sab3r_ros.rooms.render import Light, Renderer, alike, mipmaps, smooth_alike, spread_light, texel_size
from sab3r_ros.rooms.scene import Scene
from sab3r_ros.rooms.trajectory import look
from sab3r_ros.rooms.write import ShardWriter

UP, SIDE = np.array([0.0, 0, 1], np.float32), np.array([1.0, 0, 0], np.float32)


def two_walls(height: int, width: int, edge: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light, normals and depth of two surfaces that meet at column `edge`: the left one bright, the right one dark."""
    left = np.arange(width) < edge
    normal = np.where(left[None, :, None], UP, SIDE) * np.ones((height, 1, 1), np.float32)
    light = np.where(left, 1.0, 0.1)[None, :, None] * np.ones((height, 1, 3))
    return light.astype(np.float32), normal, np.full((height, width), 2.0, np.float32)


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (6, 9), (1, 1)])
@pytest.mark.parametrize("edge", [3, 4])
def test_an_edge_between_surfaces_stays_sharp_at_full_resolution(size, edge):
    light, normal, depth = two_walls(*size, edge)
    assert spread_light(light[::2, ::2], normal, depth) == pytest.approx(light, abs=0.02)


def test_on_one_surface_light_between_two_pixels_is_their_mean():
    _, normal, depth = two_walls(1, 5, 9)
    lit = np.float32([[[0.0], [1.0], [0.5]]]).repeat(3, 2)
    assert spread_light(lit, normal, depth)[0, :, 0] == pytest.approx([0, 0.5, 1, 0.75, 0.5])


def test_smoothing_means_over_nine_pixels_and_not_over_an_edge():
    tile = np.tile(np.arange(9, dtype=np.float32).reshape(3, 3) / 8, (4, 4))[..., None]
    normal, depth = np.broadcast_to(UP, (12, 12, 3)), np.full((12, 12), 2.0)
    inner = smooth_alike(tile, alike(normal, depth))[1:-1, 1:-1]
    assert inner == pytest.approx(0.5, abs=1e-5)
    light, normal, depth = two_walls(6, 8, 4)
    assert smooth_alike(light, alike(normal, depth)) == pytest.approx(light, abs=0.02)


def test_a_table_shades_the_floor_below_a_lamp():
    scene, white = Scene(np.array([4.0, 4, 3])), np.full((4, 4, 3), 255, np.uint8)
    X, Y = np.array([4.0, 0, 0]), np.array([0, 4.0, 0])
    scene.add_surface(np.zeros(3), X, Y, white, 1.0, "floor", np.ones(3))
    scene.add_surface(np.array([1.5, 1.5, 1.0]), X / 4, Y / 4, white, 1.0, "table", np.ones(3))
    renderer = Renderer(scene, np.random.default_rng(0))
    renderer.lights, renderer.ambient = [Light(np.array([2.0, 2, 2.5]), np.ones(3), 0.05)], np.full(3, 0.2)
    K = np.array([[60.0, 0, 63.5], [0, 60, 47.5], [0, 0, 1]])
    T_WC = look(np.array([2.0, 0.2, 0.9]), np.array([0.0, 1, -0.6]))
    shot = renderer.shot(K, T_WC, 128, 96)
    v, u = np.nonzero(shot.instance == 1)
    X_C = np.stack([(u - 63.5) / 60, (v - 47.5) / 60, np.ones(len(u))], 1) * shot.depth[v, u, None]
    place, light = X_C @ T_WC[:3, :3].T + T_WC[:3, 3], shot.radiance[v, u, 0]
    # Seen from the lamp, the table's 0.5 m half edge at 1.5 m below it covers 0.83 m on the floor.
    away = np.abs(place[:, :2] - 2).max(1)
    assert light[away < 0.6].max() < 0.21 < 0.3 < light[(away > 1.05) & (away < 1.5)].min()


def test_textures_shrink_by_means_and_start_where_the_last_level_ends():
    checker = np.indices((TEXTURE_SIZE, TEXTURE_SIZE)).sum(0) % 2 * np.uint8(255)
    plain = np.full_like(checker, 40)
    texels, start = mipmaps([np.stack([t] * 3, -1).astype(np.uint8) for t in (checker, plain)])
    assert start[:2].tolist() == [0, 2 * TEXTURE_SIZE**2]
    half = texels[start[1] : start[2]].reshape(2, TEXTURE_SIZE // 2, TEXTURE_SIZE // 2, 3)
    assert (np.abs(half[0].astype(int) - 127.5) < 1).all() and (half[1] == 40).all()


def test_a_texel_of_a_wall_is_its_tile_over_the_texture():
    corners = np.array([[[0.0, 0, 0], [3, 0, 0], [3, 2, 0]]])
    uv = np.array([[0, 0, 1.5, 0, 1.5, 1.0]])  # a tile of two metres
    assert texel_size(corners, uv) == pytest.approx([2 / TEXTURE_SIZE])


def test_a_fine_pattern_far_away_is_grey_and_near_it_is_not():
    scene = Scene(np.array([20.0, 20, 3]))
    checker = np.repeat((np.indices((TEXTURE_SIZE, TEXTURE_SIZE)).sum(0) % 2 * 255)[..., None], 3, 2).astype(
        np.uint8
    )
    X, Z = np.array([20.0, 0, 0]), np.array([0, 0, 3.0])
    scene.add_surface(np.array([0.0, 20, 0]), X, Z, checker, 2.0, "wall", np.ones(3))
    renderer = Renderer(scene, np.random.default_rng(0))
    renderer.lights, renderer.ambient = [], np.ones(3)
    K = np.array([[60.0, 0, 15.5], [0, 60, 11.5], [0, 0, 1]])

    def contrast(away: float) -> float:
        return float(
            renderer.shot(
                K, look(np.array([10, 20 - away, 1.5]), np.array([0.0, 1, 0])), 32, 24
            ).radiance.std()
        )

    assert contrast(4.0) < 0.02 < 0.2 < contrast(0.3)


def test_a_shard_is_not_continued_by_other_rules(tmp_path):
    row = {"room": 1, "view": 0, "views": 1, "rules": RULES}
    (tmp_path / "frames.jsonl").write_text(json.dumps(row) + "\n")
    ShardWriter(tmp_path, (4, 4)).close()
    del row["rules"]
    (tmp_path / "frames.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ConfigError, match="another folder"):
        ShardWriter(tmp_path, (4, 4))
