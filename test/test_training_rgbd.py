"""Recordings become shards: depth lands on the colour camera's pixels."""

import json
from dataclasses import replace

import numpy as np
import pytest

from sab3r_ros.training.layouts import RgbdFrame
from sab3r_ros.training.rgbd import cropped, registered, write_shard
from sab3r_ros.training.shards import Shard, Vocabulary

K = np.array([[40.0, 0, 31.5], [0, 40.0, 23.5], [0, 0, 1]])


def frame(depth: np.ndarray, offset=(0.0, 0, 0), n: int = 0) -> RgbdFrame:
    color = np.random.default_rng(n).integers(0, 255, (48, 64, 3), np.uint8)
    T_WC = np.eye(4)
    T_WC[0, 3] = 0.05 * n
    return RgbdFrame(color, K, depth, K, np.array(offset), T_WC)


def test_one_camera_registers_to_itself():
    depth = np.full((48, 64), 2.0)
    depth[10:20, 30:40] = 0
    image, moved, K_out = registered(frame(depth), (48, 64))
    assert (moved == depth).all() and np.allclose(K_out, K) and image.shape == (48, 64, 3)


def test_a_camera_beside_sees_the_wall_shifted_by_f_b_over_z():
    depth = np.zeros((48, 64))
    depth[:, 20] = 2.0
    _, moved, _ = registered(frame(depth, offset=(0.25, 0, 0)), (48, 64))
    assert (moved[:, 25] == 2.0).all() and (moved > 0).sum() == 48  # 40 · 0.25 / 2 = 5 pixels


def test_of_two_surfaces_on_one_pixel_the_nearest_is_kept():
    depth = np.zeros((48, 64))
    depth[:, 20], depth[:, 15] = 2.0, 1.0
    _, moved, _ = registered(frame(depth, offset=(0.25, 0, 0)), (48, 64))
    assert (moved[:, 25] == 1.0).all()


def test_half_the_size_keeps_pixel_centres():
    _, _, K_out = registered(frame(np.full((48, 64), 2.0)), (24, 32))
    assert K_out[0, 0] == 20.0
    assert K_out[0, 2] == pytest.approx((31.5 + 0.5) / 2 - 0.5)


def test_a_recording_is_written_as_a_shard_with_its_labels(tmp_path):
    frames = [frame(np.full((48, 64), 2.0), n=n) for n in range(4)]
    labels = np.zeros((48, 64), np.uint16)
    labels[:, :32] = 9
    assert write_shard(iter(frames), tmp_path / "s", (48, 64), lambda image: labels) == 4
    vocabulary = Vocabulary()
    shard = Shard(tmp_path / "s", vocabulary, (48, 64))
    assert vocabulary.entries == [("a chair", "chair", "chair")]
    assert (shard.view(0).labels[:, :32] == 0).all() and (shard.view(0).labels[:, 32:] == -1).all()
    assert json.loads((tmp_path / "s" / "frames.jsonl").read_text().splitlines()[1])["T_WC"][0][
        3
    ] == pytest.approx(0.05)


def test_frames_of_two_scenes_are_two_rooms(tmp_path):
    frames = [replace(frame(np.full((48, 64), 2.0), n=n), scene="ab"[n // 2]) for n in range(4)]
    write_shard(iter(frames), tmp_path / "s", (48, 64))
    rooms = [json.loads(line)["room"] for line in (tmp_path / "s" / "frames.jsonl").read_text().splitlines()]
    assert rooms == [0, 0, 1, 1]


def test_a_portrait_image_is_cropped_to_landscape_around_the_principal_point():
    color = np.arange(80 * 40 * 3).reshape(80, 40, 3)
    K = np.array([[50.0, 0, 19.5], [0, 50, 29.5], [0, 0, 1]])
    part, K_part = cropped(color, K, 4 / 3)
    assert part.shape == (30, 40, 3) and (part == color[15:45]).all()
    assert K_part[:2, 2].tolist() == [19.5, 14.5] and K_part[0, 0] == 50


def test_an_image_of_the_right_shape_stays_whole():
    color = np.zeros((48, 64, 3))
    K = np.array([[50.0, 0, 31.9], [0, 50, 23.9], [0, 0, 1]])  # 0.4 pixels beside the centre
    part, K_part = cropped(color, K, 4 / 3)
    assert part.shape == color.shape and (K_part == K).all()
