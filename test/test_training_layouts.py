"""Published data sets: a small folder of each layout, written from a known camera, is read as that camera."""

import gzip
import json
import sys

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sab3r_ros.errors import ConfigError
from sab3r_ros.training import layouts, rgbd
from sab3r_ros.training.layouts import LAYOUTS
from sab3r_ros.training.shards import Shard, Vocabulary

H, W = 48, 64
K = np.array([[50.0, 0, 33.5], [0, 52, 22.5], [0, 0, 1]])
COLORS = [np.full((H, W, 3), color, np.uint8) for color in ((200, 40, 40), (40, 60, 190))]  # RGB
DEPTHS = [1.5 + 0.01 * np.arange(W)[None] + 0.02 * np.arange(H)[:, None] + n for n in range(2)]


def pose(n: int) -> np.ndarray:
    """World from camera: turned about all axes, no two alike."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler("xyz", [20 + 10 * n, -35, 15], degrees=True).as_matrix()
    T[:3, 3] = [0.3 + 0.1 * n, -1.0, 2.0]
    return T


def write_color(file, n):
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), COLORS[n][..., ::-1])


def write_depth(file, n):
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.round(1000 * DEPTHS[n]).astype(np.uint16))


def write_text(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def numbers(matrix) -> str:
    return "\n".join(" ".join(map(repr, row)) for row in np.asarray(matrix, float).tolist()) + "\n"


def write_folder(root):
    write_text(root / "intrinsic" / "intrinsic_color.txt", numbers(np.pad(K, (0, 1))))
    for n in range(2):
        write_color(root / "color" / f"{n}.png", n)
        write_depth(root / "depth" / f"{n}.png", n)
        write_text(root / "pose" / f"{n}.txt", numbers(pose(n)))
    write_text(root / "pose" / "2.txt", numbers(np.full((4, 4), -np.inf)))  # where tracking was lost


def write_arkitscenes(root):
    lines = []
    for n in range(2):
        stamp, T_CW = 100.0 + n, np.linalg.inv(pose(n))
        write_color(root / "lowres_wide" / f"42_{stamp:.3f}.png", n)
        write_depth(root / "lowres_depth" / f"42_{stamp:.3f}.png", n)
        camera = f"{W} {H} {K[0, 0]} {K[1, 1]} {K[0, 2]} {K[1, 2]}\n"
        write_text(root / "lowres_wide_intrinsics" / f"42_{stamp + 0.001 * n:.3f}.pincam", camera)
        turn = Rotation.from_matrix(T_CW[:3, :3]).as_rotvec()
        lines.append(" ".join(map(repr, [stamp + 0.005, *turn.tolist(), *T_CW[:3, 3].tolist()])))
    write_text(root / "lowres_wide.traj", "\n".join(lines) + "\n")
    write_color(root / "lowres_wide" / "42_200.000.png", 0)  # no pose near


def write_scannetpp(root):
    phone, lines = root / "iphone", ["# image list"]
    for n in range(2):
        write_color(phone / "rgb" / f"frame_{n:06d}.jpg", n)
        write_depth(phone / "depth" / f"frame_{n:06d}.png", n)
        T_CW = np.linalg.inv(pose(n))
        x, y, z, w = Rotation.from_matrix(T_CW[:3, :3]).as_quat()
        values = " ".join(map(str, [n + 1, w, x, y, z, *T_CW[:3, 3], 1, f"frame_{n:06d}.jpg"]))
        lines += [values, "10.5 20.5 -1"]
    write_text(phone / "colmap" / "images.txt", "\n".join(lines) + "\n")
    camera = f"1 OPENCV {W} {H} {K[0, 0]} {K[1, 1]} {K[0, 2] + 0.5} {K[1, 2] + 0.5} 0 0 0 0\n"
    write_text(phone / "colmap" / "cameras.txt", "# cameras\n" + camera)


def write_blendedmvs(root):
    for n in range(2):
        write_color(root / "blended_images" / f"{n:08d}.jpg", n)
        (root / "rendered_depth_maps").mkdir(exist_ok=True)
        cv2.imwrite(str(root / "rendered_depth_maps" / f"{n:08d}.pfm"), DEPTHS[n].astype(np.float32))
        text = f"extrinsic\n{numbers(np.linalg.inv(pose(n)))}\nintrinsic\n{numbers(K)}\n1.0 0.1 128 9.0\n"
        write_text(root / "cams" / f"{n:08d}_cam.txt", text)


def write_co3d(root):
    rows, half = [], min(H, W) / 2
    for n in range(2):
        write_color(root / "seq" / "images" / f"frame{n:06d}.jpg", n)
        file = root / "seq" / "depths" / f"frame{n:06d}.jpg.geometric.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), (DEPTHS[n] / 2).astype(np.float16).view(np.uint16))
        T_CW = np.linalg.inv(pose(n))
        flip = np.diag([-1.0, -1, 1])
        viewpoint = {
            "R": (flip @ T_CW[:3, :3]).T.tolist(),
            "T": (flip @ T_CW[:3, 3]).tolist(),
            "focal_length": [K[0, 0] / half, K[1, 1] / half],
            "principal_point": [(W / 2 - K[0, 2] - 0.5) / half, (H / 2 - K[1, 2] - 0.5) / half],
            "intrinsics_format": "ndc_isotropic",
        }
        rows.append(
            {
                "sequence_name": "seq",
                "frame_number": n,
                "image": {"path": f"{root.name}/seq/images/frame{n:06d}.jpg", "size": [H, W]},
                "depth": {"path": f"{root.name}/seq/depths/{file.name}", "scale_adjustment": 2.0},
                "viewpoint": viewpoint,
            }
        )
    with gzip.open(root / "frame_annotations.jgz", "wt") as f:
        json.dump(rows, f)


def write_habitat(root):
    exr = pytest.importorskip("OpenEXR")
    for n in range(2):
        stem = root / "scene" / f"00000007_{n + 1}"
        write_color(stem.with_name(f"{stem.name}.jpeg"), n)
        header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
        exr.File(header, {"Y": DEPTHS[n].astype(np.float32)}).write(f"{stem}_depth.exr")
        T = pose(n)
        camera = {
            "camera_intrinsics": K.tolist(),
            "R_cam2world": T[:3, :3].tolist(),
            "t_cam2world": T[:3, 3].tolist(),
        }
        write_text(stem.with_name(f"{stem.name}_camera_params.json"), json.dumps(camera))


WRITERS = {
    "folder": write_folder,
    "arkitscenes": write_arkitscenes,
    "scannetpp": write_scannetpp,
    "blendedmvs": write_blendedmvs,
    "co3d": write_co3d,
    "habitat": write_habitat,
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "scene1").mkdir()
    return tmp_path / "scene1"


def test_every_layout_is_tested():
    assert set(WRITERS) | {"7scenes"} == set(LAYOUTS)


@pytest.mark.parametrize("layout", WRITERS)
def test_a_layout_is_read_as_the_camera_that_wrote_it(layout, root):
    WRITERS[layout](root)
    frames = list(LAYOUTS[layout](root))
    assert len(frames) == 2 and frames[0].scene == frames[1].scene != ""
    for n, frame in enumerate(frames):
        assert frame.color.astype(int) == pytest.approx(COLORS[n].astype(int), abs=4)
        assert pytest.approx(K) == frame.K and pytest.approx(K) == frame.K_depth
        assert frame.depth == pytest.approx(DEPTHS[n], abs=2e-3)
        assert pytest.approx(pose(n), abs=1e-6) == frame.T_WC


def test_co3d_cameras_project_as_pytorch3d_does(root):
    """By PyTorch3D's own rule: X @ R + T, then f · xy / z + p in coordinates that point left and up."""
    write_co3d(root)
    with gzip.open(root / "frame_annotations.jgz", "rt") as f:
        view = json.load(f)[0]["viewpoint"]
    X_W = pose(0)[:3, :3] @ [0.3, -0.2, 2.0] + pose(0)[:3, 3]
    x, y, z = X_W @ np.array(view["R"]) + view["T"]
    ndc = np.array(view["focal_length"]) * [x / z, y / z] + view["principal_point"]
    pixel = np.array([W, H]) / 2 - ndc * min(H, W) / 2 - 0.5
    frame = next(LAYOUTS["co3d"](root))
    X_C = np.linalg.inv(frame.T_WC) @ [*X_W, 1]
    assert (frame.K @ X_C[:3])[:2] / X_C[2] == pytest.approx(pixel)


def test_depth_of_half_the_size_shares_the_view():
    half = layouts.scaled(K, np.zeros((H // 2, W // 2)), COLORS[0])
    assert half[0, 0] == 25 and half[0, 2] == (K[0, 2] + 0.5) / 2 - 0.5


def test_the_command_writes_a_shard_for_training(root, tmp_path, monkeypatch):
    write_folder(root)
    out = tmp_path / "shard"
    monkeypatch.setattr(sys, "argv", ["rgbd", "folder", str(root), str(out), "--size", "24", "32"])
    rgbd.main()
    shard = Shard(out, Vocabulary(), (24, 32))
    assert len(shard.frames) == 2 and shard.view(1).depth.max() > 2.5
    empty = tmp_path / "empty"
    write_text(empty / "intrinsic" / "intrinsic_color.txt", numbers(K))
    monkeypatch.setattr(sys, "argv", ["rgbd", "folder", str(empty), str(out)])
    with pytest.raises(ConfigError, match="holds no frames of the layout 'folder'"):
        rgbd.main()


def test_a_missing_file_is_named(root):
    write_folder(root)
    (root / "depth" / "1.png").unlink()
    with pytest.raises(ConfigError, match=r"1\.png is missing"):
        list(LAYOUTS["folder"](root))
    with pytest.raises(ConfigError, match="frame_annotations"):
        list(LAYOUTS["co3d"](root))
