"""Data sets with depth and poses, read as their authors publish them: one function a layout, each a stream of `RgbdFrame`.

To add one: write `(folder) -> Iterator[RgbdFrame]` that yields frames in order, `scene` naming what may be paired, and name it
in LAYOUTS. Depth is z in metres, 0 = none; T_WC is world from camera, RDF. What has no finite pose is left out.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from sab3r_ros.errors import ConfigError

NO_OFFSET = np.zeros(3)
POSE_WITHIN_S = (
    0.02  # an ARKitScenes image takes the pose of the trajectory that is at most so far away in time
)


@dataclass(frozen=True)
class RgbdFrame:
    """color (H, W, 3) uint8 RGB with K; depth (h, w) metres, 0 = none, with K_depth; X_color = X_depth + offset (3,).

    scene: frames of different scenes are never paired.
    """

    color: np.ndarray
    K: np.ndarray
    depth: np.ndarray
    K_depth: np.ndarray
    offset: np.ndarray
    T_WC: np.ndarray
    scene: str = ""


def read_color(file: Path) -> np.ndarray:
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise ConfigError(f"{file} is missing or no image: the layout wants it")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_millimetres(file: Path) -> np.ndarray:
    """A 16-bit PNG of millimetres → metres; 0 and 65535 = none."""
    depth = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if depth is None or depth.dtype != np.uint16:
        raise ConfigError(f"{file} is missing or no 16-bit depth image: the layout wants it")
    return np.where(depth == 65535, 0, depth) / 1000


def cleaned(depth: np.ndarray) -> np.ndarray:
    """Not a number, infinite and negative depths become 0."""
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0)


def scaled(K: np.ndarray, depth: np.ndarray, color: np.ndarray) -> np.ndarray:
    """The colour camera's K in pixels of a depth image of another size that shares its view."""
    (h, w), (H, W) = depth.shape, color.shape[:2]
    K = np.diag([w / W, h / H, 1.0]) @ K
    K[:2, 2] += 0.5 * (np.array([w / W, h / H]) - 1)  # integers are pixel centres in both
    return K


def registered_frame(
    color: np.ndarray, K: np.ndarray, depth: np.ndarray, T_WC: np.ndarray, scene: str
) -> RgbdFrame:
    """A frame whose depth is seen from the colour camera, at any size."""
    return RgbdFrame(color, K, depth, scaled(K, depth, color), NO_OFFSET, T_WC, scene)


def seven_scenes(folder: Path, first: int = 0, last: int = 10**9) -> Iterator[RgbdFrame]:
    """Frames first ≤ n < last of a 7-Scenes sequence. Its colour is not registered to its depth: f = 525, 2.5 cm apart."""
    K_depth = np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]])
    K = np.array([[525.0, 0, 320], [0, 525, 240], [0, 0, 1]])
    offset = np.array([-0.025, 0, 0])
    for pose in sorted(folder.glob("frame-*.pose.txt")):
        if not first <= int(pose.name[6:12]) < last:
            continue
        stem = pose.name.removesuffix(".pose.txt")
        color = read_color(next(iter(sorted(folder.glob(f"{stem}.color.*"))), folder / f"{stem}.color.png"))
        T_WC = np.loadtxt(pose)
        T_WC[:3, 3] -= T_WC[:3, :3] @ offset  # the recording gives the depth camera's pose
        yield RgbdFrame(color, K, read_millimetres(folder / f"{stem}.depth.png"), K_depth, offset, T_WC)


def posed_folder(folder: Path) -> Iterator[RgbdFrame]:
    """Any RGB-D recording in ScanNet's exported layout.

    color/N.jpg|png, depth/N.png (millimetres, seen from the colour camera), pose/N.txt (4 × 4 world from camera, RDF),
    intrinsic/intrinsic_color.txt (3 × 3 or 4 × 4 pixels of the colour image) and, where depth has another camera matrix,
    intrinsic/intrinsic_depth.txt.
    """
    K = np.loadtxt(needed(folder / "intrinsic" / "intrinsic_color.txt"))[:3, :3]
    own = folder / "intrinsic" / "intrinsic_depth.txt"
    K_depth = np.loadtxt(own)[:3, :3] if own.is_file() else None
    for pose in sorted((folder / "pose").glob("*.txt"), key=lambda f: (len(f.stem), f.stem)):
        T_WC = np.loadtxt(pose)
        if not np.isfinite(T_WC).all():
            continue
        color = read_color(
            next(
                iter(sorted((folder / "color").glob(f"{pose.stem}.*"))), folder / "color" / f"{pose.stem}.jpg"
            )
        )
        depth = read_millimetres(folder / "depth" / f"{pose.stem}.png")
        K_here = scaled(K, depth, color) if K_depth is None else K_depth
        yield RgbdFrame(color, K, depth, K_here, NO_OFFSET, T_WC, folder.name)


def arkit_scenes(folder: Path) -> Iterator[RgbdFrame]:
    """One video of ARKitScenes (raw): lowres_wide, lowres_depth, lowres_wide_intrinsics, lowres_wide.traj.

    The trajectory's lines are 'time rotation-vector translation' of the camera from the world.
    """
    rows = np.loadtxt(needed(folder / "lowres_wide.traj"), ndmin=2)
    for file in sorted((folder / "lowres_wide").glob("*.png")):
        video, _, stamp = file.stem.rpartition("_")
        nearest = rows[np.abs(rows[:, 0] - float(stamp)).argmin()]
        if abs(nearest[0] - float(stamp)) > POSE_WITHIN_S:
            continue
        names = [f"{video}_{float(stamp) + d:.3f}.pincam" for d in (0.0, -0.001, 0.001)]  # rounded apart
        camera = next((f for n in names if (f := folder / "lowres_wide_intrinsics" / n).is_file()), None)
        if camera is None:
            continue
        _, _, fx, fy, cx, cy = np.loadtxt(camera)
        T_CW = np.eye(4)
        T_CW[:3, :3], T_CW[:3, 3] = Rotation.from_rotvec(nearest[1:4]).as_matrix(), nearest[4:7]
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        depth = read_millimetres(folder / "lowres_depth" / file.name)
        yield registered_frame(read_color(file), K, depth, np.linalg.inv(T_CW), video)


def scannet_pp(folder: Path) -> Iterator[RgbdFrame]:
    """The iPhone recording of one ScanNet++ scene, its frames extracted: iphone/rgb, iphone/depth, iphone/colmap (text)."""
    phone = folder / "iphone"
    cameras = {}
    for line in needed(phone / "colmap" / "cameras.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            number, _, _, _, fx, fy, cx, cy, *_ = line.split()
            # COLMAP's pixel centres are at 0.5
            cameras[number] = np.array(
                [[float(fx), 0, float(cx) - 0.5], [0, float(fy), float(cy) - 0.5], [0, 0, 1]]
            )
    lines = needed(phone / "colmap" / "images.txt").read_text().splitlines()
    images = [line.split() for line in lines if line and not line.startswith("#")]
    images = sorted((i for i in images if len(i) == 10 and "." in i[9]), key=lambda i: i[9])
    for _, qw, qx, qy, qz, tx, ty, tz, number, name in images:
        T_CW = np.eye(4)
        T_CW[:3, :3] = Rotation.from_quat([float(q) for q in (qx, qy, qz, qw)]).as_matrix()
        T_CW[:3, 3] = [float(t) for t in (tx, ty, tz)]
        color = read_color(phone / "rgb" / Path(name).name)
        depth = read_millimetres(phone / "depth" / f"{Path(name).stem}.png")
        yield registered_frame(color, cameras[number], depth, np.linalg.inv(T_CW), folder.name)


def blended_mvs(folder: Path) -> Iterator[RgbdFrame]:
    """One scene of BlendedMVS: blended_images, cams (camera from world), rendered_depth_maps. Its metres are arbitrary."""
    for file in sorted((folder / "cams").glob("*_cam.txt")):
        numbers = [float(x) for x in file.read_text().split() if not x.isalpha()]
        T_CW, K = np.array(numbers[:16]).reshape(4, 4), np.array(numbers[16:25]).reshape(3, 3)
        stem = file.name.removesuffix("_cam.txt")
        depth = cv2.imread(str(needed(folder / "rendered_depth_maps" / f"{stem}.pfm")), cv2.IMREAD_UNCHANGED)
        color = read_color(folder / "blended_images" / f"{stem}.jpg")
        yield registered_frame(color, K, cleaned(depth), np.linalg.inv(T_CW), folder.name)


def co3d(folder: Path) -> Iterator[RgbdFrame]:
    """One category of Co3Dv2 with its frame_annotations.jgz. Its metres are arbitrary.

    Cameras are PyTorch3D's (x left, y up, row vectors), focal lengths in its isotropic normalised coordinates.
    """
    with gzip.open(needed(folder / "frame_annotations.jgz"), "rt") as f:
        rows = json.load(f)
    flip = np.diag([-1.0, -1, 1])
    for row in sorted(rows, key=lambda r: (r["sequence_name"], r["frame_number"])):
        view = row["viewpoint"]
        if not row.get("depth") or view is None:
            continue
        H, W = row["image"]["size"]
        # "ndc_isotropic" scales both axes by the shorter side, the older "ndc_norm_image_bounds" each by its own.
        isotropic = view.get("intrinsics_format", "ndc_norm_image_bounds") == "ndc_isotropic"
        half = np.full(2, min(H, W) / 2) if isotropic else np.array([W, H]) / 2
        fx, fy = np.array(view["focal_length"]) * half
        cx, cy = np.array([W, H]) / 2 - np.array(view["principal_point"]) * half - 0.5
        T_CW = np.eye(4)
        T_CW[:3, :3], T_CW[:3, 3] = flip @ np.array(view["R"]).T, flip @ np.array(view["T"])
        raw = cv2.imread(str(needed(folder.parent / row["depth"]["path"])), cv2.IMREAD_UNCHANGED)
        depth = cleaned(raw.view(np.float16).astype(float) * row["depth"]["scale_adjustment"])
        color = read_color(folder.parent / row["image"]["path"])
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        yield registered_frame(color, K, depth, np.linalg.inv(T_CW), row["sequence_name"])


def habitat(folder: Path) -> Iterator[RgbdFrame]:
    """Rendered pairs in CroCo's layout, any depth of folders: N_1.jpeg, N_1_depth.exr, N_1_camera_params.json, and N_2."""
    for file in sorted(folder.rglob("*_camera_params.json")):
        stem = file.name.removesuffix("_camera_params.json")
        camera = json.loads(file.read_text())
        T_WC = np.eye(4)
        T_WC[:3, :3], T_WC[:3, 3] = camera["R_cam2world"], np.ravel(camera["t_cam2world"])
        color = read_color(file.with_name(f"{stem}.jpeg"))
        depth = cleaned(read_exr(needed(file.with_name(f"{stem}_depth.exr"))))
        pair = f"{file.parent}/{stem.rpartition('_')[0]}"
        yield registered_frame(color, np.array(camera["camera_intrinsics"], float), depth, T_WC, pair)


def read_exr(file: Path) -> np.ndarray:
    """The first channel of an OpenEXR image, (H, W). Raises ImportError that names the package."""
    try:
        import OpenEXR
    except ImportError as error:
        raise ImportError("depth in .exr files needs OpenEXR: pip install OpenEXR") from error
    with OpenEXR.File(str(file)) as image:
        pixels = next(iter(image.channels().values())).pixels
    return np.array(pixels[..., 0] if pixels.ndim == 3 else pixels, float)


def needed(file: Path) -> Path:
    """The file. Raises ConfigError if it is not there."""
    if not file.is_file():
        raise ConfigError(f"{file} is missing: the layout wants it")
    return file


LAYOUTS: dict[str, Callable[[Path], Iterator[RgbdFrame]]] = {
    "7scenes": seven_scenes,
    "folder": posed_folder,
    "arkitscenes": arkit_scenes,
    "scannetpp": scannet_pp,
    "blendedmvs": blended_mvs,
    "co3d": co3d,
    "habitat": habitat,
}
