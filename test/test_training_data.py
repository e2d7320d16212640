"""Pairs, matches and targets on a tiny shard whose geometry is known: a wall two metres ahead, seen by shifted cameras."""

import json

import numpy as np
import pytest

from sab3r_ros.errors import ConfigError
from sab3r_ros.training.pairs import (
    PairStream,
    correspondences,
    halve_depth,
    make_batch,
    mirrored,
    visibility,
)
from sab3r_ros.training.shards import Shard, View, Vocabulary

H, W, F, Z = 32, 48, 40.0, 2.0
K = np.array([[F, 0, (W - 1) / 2], [0, F, (H - 1) / 2], [0, 0, 1]])


def pose(x: float) -> np.ndarray:
    """A camera that looks along world +z from (x, 0, 0)."""
    T = np.eye(4)
    T[0, 3] = x
    return T


def write_wall(folder, shifts, rooms):
    """Frames of a textured wall; room ids as given."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (H, 4 * W, 3), np.uint8)
    with (
        open(folder / "images.u8", "wb") as images,
        open(folder / "depth.f16", "wb") as depths,
        open(folder / "instance.u16", "wb") as ids,
        open(folder / "frames.jsonl", "w") as lines,
    ):
        for x, room in zip(shifts, rooms, strict=True):
            start = W + round(x * F / Z)
            images.write(texture[:, start : start + W].tobytes())
            depths.write(np.full((H, W), Z, np.float16).tobytes())
            ids.write(np.full((H, W), 3, np.uint16).tobytes())
            what = {"3": {"caption": "a white wall", "name": "wall", "nyu40": "wall"}}
            row = {"room": room, "view": 0, "K": K.tolist(), "T_WC": pose(x).tolist(), "instances": what}
            lines.write(json.dumps(row) + "\n")
    return folder


def wall_view(x: float) -> View:
    blank = np.zeros((H, W, 3), np.uint8)
    return View(blank, np.full((H, W), Z, np.float32), np.zeros((H, W), np.int64), K, pose(x))


def test_correspondences_of_a_shifted_camera_are_shifted_by_f_x_over_z():
    matches, valid = correspondences(wall_view(0), wall_view(0.5), 100, np.random.default_rng(0))
    assert valid.any()
    assert np.allclose(matches[valid, 1] - matches[valid, 0], [-0.5 * F / Z, 0], atol=1e-4)


def test_overlap_of_a_shifted_camera_is_the_share_of_columns_left(tmp_path):
    shift_columns = 12
    shard = Shard(write_wall(tmp_path / "s", [0, shift_columns * Z / F], [1, 1]), Vocabulary(), (H, W))
    assert shard.overlaps == pytest.approx([0.75, 0.75], abs=0.05)


def test_a_room_that_is_still_being_written_waits(tmp_path):
    folder = write_wall(tmp_path / "s", [0, 0.1, 0, 0.1], [1, 1, 2, 2])
    shard = Shard(folder, Vocabulary(), (H, W))
    assert len(shard.frames) == 2
    with open(folder / "frames.jsonl", "a") as f:
        line = (folder / "frames.jsonl").read_text().splitlines()[0]
        f.write(line.replace('"room": 1', '"room": 3') + "\n" + '{"half a li')
    shard.refresh()
    assert [f["room"] for f in shard.frames] == [1, 1, 2, 2]


def test_labels_are_captions_and_zero_is_none(tmp_path):
    vocabulary = Vocabulary()
    shard = Shard(write_wall(tmp_path / "s", [0, 0.1], [1, 1]), vocabulary, (H, W))
    assert (shard.view(0).labels == 0).all()
    assert vocabulary.entries == [("a white wall", "wall", "wall")]


def test_halved_depth_takes_the_mean_of_a_surface_and_the_nearest_at_an_edge():
    depth = np.array([[1.0, 1.02, 1.0, 2.0], [1.0, 1.02, 1.0, 0.0]])[None].repeat(1, 0)
    assert halve_depth(depth)[0, 0] == pytest.approx([1.01, 0.0])
    assert halve_depth(np.array([[[1.0, 3.0], [3.0, 3.0]]]))[0, 0, 0] == 1.0


def test_a_mirrored_pair_keeps_its_matches(tmp_path):
    shard = Shard(write_wall(tmp_path / "s", [0, 0.3], [1, 1]), Vocabulary(), (H, W))
    pair = shard.view(0), shard.view(1)
    for seed in range(4):
        batch = make_batch([pair], 64, np.random.default_rng(seed), augment=False)
        check_same_colours(batch)
    flipped = mirrored(pair[0]), mirrored(pair[1])
    assert (flipped[0].image[:, 0] == pair[0].image[:, -1]).all()


def test_what_the_other_view_sees_is_told_at_every_fourth_pixel_of_the_mirror_image_too(tmp_path):
    shard = Shard(write_wall(tmp_path / "s", [0, 0.3], [1, 1]), Vocabulary(), (H, W))
    a, b = shard.view(0), shard.view(1)
    a.depth[:4, :9] = 0
    told = visibility(a, b)
    v, u = np.mgrid[2:H:4, 2:W:4]
    # A wall 2 m away and a step of .3 m to the right: what lies in the first image's left part has left the second.
    shift = a.K[0, 0] * 0.3 / a.depth[v, u].max()
    expected = np.where(a.depth[v, u] == 0, -1, u - shift > -0.5)
    assert (told == expected).all() and set(told.ravel()) == {-1, 0, 1}
    from_the_right = W - 1 - u
    flipped = visibility(a, b, mirror=True)
    expected = np.where(a.depth[v, from_the_right] == 0, -1, from_the_right - shift > -0.5)
    assert (flipped == expected).all()


def check_same_colours(batch):
    uv = batch.matches[0][batch.matched[0]].round().long()
    first = batch.images[0][:, uv[:, 0, 1], uv[:, 0, 0]]
    second = batch.images[1][:, uv[:, 1, 1], uv[:, 1, 0]]
    assert (first == second).all()


def test_stream_is_the_same_for_the_same_seed_and_ends_its_thread(tmp_path):
    folder = write_wall(tmp_path / "s", [0, 0.1, 0.2], [1, 1, 1])

    def first_batch():
        stream = iter(PairStream([(Shard(folder, Vocabulary(), (H, W)), 1.0)], 2, 16, (0.1, 1.0), seed=5))
        batch = next(stream)
        stream.close()
        return batch

    a, b = first_batch(), first_batch()
    assert (a.images == b.images).all() and (a.matches == b.matches).all()


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="write rooms there first"):
        Shard(tmp_path, Vocabulary(), (H, W))
