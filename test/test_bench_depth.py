"""`sab3r bench depth`: figures against an independent implementation, loaders on small folders of the published layouts."""

import json

import cv2
import numpy as np
import pytest
from bench_models import PaintedModel, painted
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_percentage_error

from sab3r_ros.cli import main
from sab3r_ros.errors import ConfigError
from sab3r_ros.evaluation.depth import DepthImage, judge_depth, predict_depth
from sab3r_ros.evaluation.depth_data import LAYOUTS, NYU_CROP, chosen, folders
from sab3r_ros.evaluation.depth_metrics import depth_errors


def test_depth_errors_by_hand():
    z, truth = np.array([1.0, 2.0, 3.0, 9.0]), np.array([2.0, 2.0, 6.0, 0.0])
    assert depth_errors(z, truth, scaled=False) == pytest.approx(((0.5 + 0 + 0.5) / 3, 1 / 3))
    assert depth_errors(2 * z, 2 * truth)[0] == depth_errors(z, truth)[0]
    assert np.isnan(depth_errors(z, np.zeros(4))).all()
    assert (
        depth_errors(np.array([-1.0]), np.array([2.0]), scaled=False)[1] == 0
    )  # behind the camera: no crash, wrong


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_abs_rel_equals_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    truth, z = rng.uniform(0.5, 9, 200), rng.uniform(0.5, 9, 200)
    abs_rel, delta = depth_errors(z, truth, scaled=False)
    assert abs_rel == pytest.approx(mean_absolute_percentage_error(truth, z))
    assert delta == pytest.approx(sum(0.8 < a / b < 1.25 for a, b in zip(z, truth, strict=True)) / 200)
    scale = rng.uniform(0.1, 10)
    assert depth_errors(scale * truth, truth) == pytest.approx((0, 1))


def test_a_true_network_is_perfect_and_a_shuffled_one_is_not():
    depth = np.repeat(np.repeat(np.random.default_rng(0).integers(1, 50, (6, 8)), 16, 0), 16, 1).astype(
        np.float32
    )
    sample = DepthImage("a", painted(depth), depth)
    figures = judge_depth(PaintedModel(), sample)
    assert (figures.abs_rel, figures.delta, figures.covered) == (0, 1, 1)
    assert (figures.abs_rel_metres, figures.delta_metres) == (0, 1)
    wrong = judge_depth(PaintedModel(), DepthImage("b", sample.image, np.roll(depth, (32, 48), (0, 1))))
    assert wrong.abs_rel > 0.5 and wrong.delta < 0.3
    assert figures.abs_rel_flat > 0 and figures.delta_flat < 1


def test_what_the_crop_left_out_is_not_judged():
    """100 × 70 pixels: the network sees 96 × 64 of them, and what it says lies where it saw it."""
    depth = np.tile(np.arange(1.0, 101)[None], (70, 1)).astype(np.float32)
    z = predict_depth(PaintedModel(), painted(depth))
    seen = np.isfinite(z)
    assert seen.sum() == 96 * 64 and seen[3:67, 2:98].all()
    assert np.array_equal(z[seen], depth[seen])
    assert judge_depth(PaintedModel(), DepthImage("a", painted(depth), depth)).covered == pytest.approx(
        96 * 64 / 7000
    )


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


GREY = np.full((100, 300, 3), 90, np.uint8)


def test_nyu_v2(tmp_path):
    h5py = pytest.importorskip("h5py")
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (3, 3, 640, 480), dtype=np.uint8)  # as MATLAB's file looks from outside
    depths = rng.uniform(1, 12, (3, 640, 480)).astype(np.float32)
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["depths"] = images, depths
    savemat(
        tmp_path / "splits.mat", {"testNdxs": np.array([[3], [1]], np.uint16), "trainNdxs": np.array([[2]])}
    )
    data = LAYOUTS["nyuv2"](tmp_path)
    first, last = data.load(0), data.load(1)
    assert (data.length, first.name, last.name) == (2, "0001", "0003")
    assert first.image.shape == (480, 640, 3) and first.image[7, 9].tolist() == images[0, :, 9, 7].tolist()
    inside = np.zeros((480, 640), bool)
    inside[NYU_CROP] = True
    assert not first.depth[~inside].any()
    near = inside & (depths[0].T < 10)
    assert np.array_equal(first.depth[near], depths[0].T[near]) and not first.depth[~near].any()


def test_kitti_selection(tmp_path):
    root = tmp_path / "val_selection_cropped"
    truth = np.zeros((100, 300), np.uint16)
    truth[10, 20], truth[10, 21] = 256 * 5, 256 * 81
    write(
        root / "groundtruth_depth" / "2011_09_26_drive_0002_sync_groundtruth_depth_0000000005_image_02.png",
        truth,
    )
    write(root / "image" / "2011_09_26_drive_0002_sync_image_0000000005_image_02.png", GREY)
    data = LAYOUTS["kitti"](tmp_path)
    sample = data.load(0)
    assert data.length == 1 and sample.name == "2011_09_26_drive_0002_sync_image_0000000005_image_02"
    assert sample.image.shape == (100, 300, 3)
    assert sample.depth[10, 20] == 5 and sample.depth[10, 21] == 0 and (sample.depth > 0).sum() == 1


@pytest.mark.parametrize(
    "line",
    [
        "2011_09_26/2011_09_26_drive_0002_sync 0000000069 l",
        "2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069.png 2011_09_26_drive_0002_sync/x.png 721.5",
    ],
)
def test_kitti_eigen(tmp_path, line):
    missing = line.replace("0000000069", "0000000001")
    (tmp_path / "eigen_test_files.txt").write_text(f"{line}\n{missing}\n")
    drive = "2011_09_26_drive_0002_sync"
    write(tmp_path / "2011_09_26" / drive / "image_02" / "data" / "0000000069.png", GREY)
    truth = np.full((100, 300), 512, np.uint16)
    write(tmp_path / "val" / drive / "proj_depth" / "groundtruth" / "image_02" / "0000000069.png", truth)
    data = LAYOUTS["kitti-eigen"](tmp_path)
    sample = data.load(0)
    assert data.length == 1  # the other was never improved
    assert sample.depth[40:99, 10:289].min() == 2 and not sample.depth[:40].any()  # Garg's crop
    assert not sample.depth[:, :10].any() and not sample.depth[:, 289:].any()


def test_seven_scenes_and_folders(tmp_path):
    depth = np.full((480, 640), 2000, np.uint16)
    depth[0, 0] = 65535
    write(tmp_path / "frame-000004.color.png", np.zeros((480, 640, 3), np.uint8))
    write(tmp_path / "frame-000004.depth.png", depth)
    np.savetxt(tmp_path / "frame-000004.pose.txt", np.eye(4))
    sample = LAYOUTS["7scenes"](tmp_path).load(0)
    assert sample.name == "frame-000004" and set(np.unique(sample.depth)) == {0, 2}
    write(tmp_path / "color" / "7.png", np.zeros((48, 64, 3), np.uint8))
    write(tmp_path / "depth" / "7.png", np.full((48, 64), 10000, np.uint16))
    assert (folders(tmp_path, 0.0002).load(0).depth == 2).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_something_else_is_explained(tmp_path, layout):
    with pytest.raises(ConfigError, match=str(tmp_path)):
        LAYOUTS[layout](tmp_path)


def test_some_of_the_images_are_evenly_spread():
    assert (
        list(chosen(10, 3)) == [0, 4, 9]
        and list(chosen(3, 5)) == [0, 1, 2]
        and list(chosen(3, None)) == [0, 1, 2]
    )


def test_the_command_writes_table_and_record(tmp_path, capsys):
    for k in range(3):
        write(tmp_path / "color" / f"{k}.png", np.full((192, 256, 3), 60 * k, np.uint8))
        write(tmp_path / "depth" / f"{k}.png", np.full((192, 256), 1000 + k, np.uint16))
    out = tmp_path / "out"
    assert (
        main(
            ["bench", "depth", "folders", str(tmp_path), "--limit", "2", "--device", "cpu", "--out", str(out)]
        )
        == 0
    )
    shown, record = capsys.readouterr().out, json.loads((out / "folders.json").read_text())
    assert (
        shown == (out / "folders.md").read_text() and "| one depth for all pixels | 0.00 | 100.00 |" in shown
    )
    assert list(record["items"]) == ["0", "2"] and record["configuration"]["limit"] == 2
    assert {"PyTorch", "processor", "sab3r_ros"} <= set(record["machine"])
    assert main(["bench", "depth", "nyuv2", str(tmp_path), "--out", str(out)]) == 2
