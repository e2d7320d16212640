"""Data sets of images with depth, in the folders in which their authors publish them.

A new one: write a function from its folder to `DepthData`, name it in LAYOUTS, and test it on a folder that the test makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.errors import ConfigError
from sab3r_ros.evaluation.depth import DepthImage

NYU_CROP = (slice(45, 471), slice(41, 601))  # Eigen et al. 2014: inside the white frame of undistorted images
NYU_RANGE_M, KITTI_RANGE_M = 10.0, 80.0
KITTI_UNIT_M = 1 / 256
GARG_CROP = (0.40810811, 0.99189189, 0.03594771, 0.96405229)  # top, bottom, left, right (Garg et al. 2016)
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class DepthData:
    """A data set whose images are read one at a time. about: which images and which pixels count, for the table."""

    about: str
    length: int
    load: Callable[[int], DepthImage]


def read_color(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright whatever EXIF says. Raises ConfigError."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ConfigError(f"{path} is missing or no image: is the data set complete?")
    return np.ascontiguousarray(image[..., ::-1])


def read_depth(path: Path, unit_m: float, most_m: float) -> np.ndarray:
    """A 16-bit image of depths → (H, W) float32 metres, 0 where there is none or it is farther than most_m."""
    units = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if units is None or units.dtype != np.uint16 or units.ndim != 2:
        raise ConfigError(f"{path} is missing or no 16-bit image of depths: is the data set complete?")
    depth = units.astype(np.float32) * np.float32(unit_m)
    return np.where(depth < most_m, depth, 0)


def nyu_v2(folder: Path) -> DepthData:
    """`nyu_depth_v2_labeled.mat` and `splits.mat` (Silberman et al. 2012): the 654 test images, inside Eigen's crop."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ImportError("NYUv2's file needs h5py: pip install h5py") from error
    from scipy.io import loadmat

    labelled, splits = folder / "nyu_depth_v2_labeled.mat", folder / "splits.mat"
    for path in (labelled, splits):
        if not path.is_file():
            raise ConfigError(f"{path} is missing: get it from cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html")
    chosen = np.sort(loadmat(splits)["testNdxs"].ravel().astype(int)) - 1
    file = h5py.File(labelled, "r")

    def load(k: int) -> DepthImage:
        n = chosen[k]
        image = np.ascontiguousarray(file["images"][n].transpose(2, 1, 0))  # MATLAB's order: 3, width, height
        whole = file["depths"][n].T
        depth = np.zeros(whole.shape, np.float32)
        depth[NYU_CROP] = np.where(whole < NYU_RANGE_M, whole, 0)[NYU_CROP]
        return DepthImage(f"{n + 1:04d}", image, depth)

    return DepthData("NYUv2, labelled test split, Eigen's crop, depths below 10 m", len(chosen), load)


def kitti(folder: Path) -> DepthData:
    """`val_selection_cropped/{image,groundtruth_depth}` of KITTI's depth benchmark (Uhrig et al. 2017): 1000 images."""
    root = folder / "val_selection_cropped" if (folder / "val_selection_cropped").is_dir() else folder
    truths = sorted((root / "groundtruth_depth").glob("*.png"))
    if not truths:
        raise ConfigError(
            f"{root / 'groundtruth_depth'} holds no images: give the folder depth_selection of KITTI's depth data"
        )

    def load(k: int) -> DepthImage:
        name = truths[k].name.replace("_groundtruth_depth_", "_image_")
        depth = read_depth(truths[k], KITTI_UNIT_M, KITTI_RANGE_M)
        return DepthImage(Path(name).stem, read_color(root / "image" / name), depth)

    return DepthData("KITTI, selected validation images, depths below 80 m", len(truths), load)


def kitti_eigen(folder: Path) -> DepthData:
    """Eigen's test split: `eigen_test_files.txt`, the raw data's DATE/DRIVE/image_0X/data, and the improved truth of
    KITTI's depth benchmark, DRIVE/proj_depth/groundtruth/image_0X, in `train`, `val` or beside the raw data.

    Lines are "DATE/DRIVE FRAME SIDE" (r or l) or "DATE/DRIVE/image_0X/data/FRAME.png …". Images whose truth was never
    improved are left out: 652 of 697 remain.
    """
    listed = folder / "eigen_test_files.txt"
    if not listed.is_file():
        raise ConfigError(f"{listed} is missing: put Eigen's list of test images there")
    found: list[tuple[Path, Path]] = []
    for line in filter(None, map(str.strip, listed.read_text().splitlines())):
        first, *rest = line.split()
        if first.endswith(IMAGE_ENDINGS):
            date, drive, camera, _, file = first.split("/")[-5:]
            stem = Path(file).stem
        else:
            date, drive = first.split("/")[-2:]
            stem, camera = f"{int(rest[0]):010d}", "image_03" if rest[1:] == ["r"] else "image_02"
        place = Path(drive, "proj_depth", "groundtruth", camera, f"{stem}.png")
        truth = next(
            (p for top in ("val", "train", date, ".") if (p := folder / top / place).is_file()), None
        )
        images = [folder / date / drive / camera / "data" / (stem + e) for e in IMAGE_ENDINGS]
        if truth is not None:
            found.append((next((p for p in images if p.is_file()), images[0]), truth))
    if not found:
        raise ConfigError(
            f"no image of {listed} has its improved depth in {folder}: DRIVE/proj_depth/groundtruth"
        )

    def load(k: int) -> DepthImage:
        image, truth = read_color(found[k][0]), read_depth(found[k][1], KITTI_UNIT_M, KITTI_RANGE_M)
        h, w = truth.shape
        top, bottom, left, right = (int(side * n) for side, n in zip(GARG_CROP, (h, h, w, w), strict=True))
        depth = np.zeros_like(truth)
        depth[top:bottom, left:right] = truth[top:bottom, left:right]
        return DepthImage("/".join(found[k][1].parts[-5:]), image, depth)

    return DepthData(
        "KITTI, Eigen's test split with improved depth, Garg's crop, below 80 m", len(found), load
    )


def seven_scenes(folder: Path) -> DepthData:
    """A sequence of 7-Scenes: frame-000000.color.png (or .jpg), .depth.png, .pose.txt; depth registered to colour."""
    from sab3r_ros.training.layouts import seven_scenes as frames
    from sab3r_ros.training.rgbd import registered

    names = sorted(p.name.removesuffix(".pose.txt") for p in folder.glob("frame-*.pose.txt"))
    if not names:
        raise ConfigError(f"{folder} is no sequence of 7-Scenes: it holds no frame-000000.pose.txt")

    def load(k: int) -> DepthImage:
        n = int(names[k].removeprefix("frame-"))
        frame = next(frames(folder, n, n + 1))
        image, depth, _ = registered(frame, frame.color.shape[:2])
        return DepthImage(names[k], image, depth.astype(np.float32))

    return DepthData("7-Scenes sequence, depth registered to colour", len(names), load)


def folders(folder: Path, unit_m: float) -> DepthData:
    """Any `color/NAME.png|jpg` beside `depth/NAME.png`, registered, 16 bits of unit_m metres each."""
    truths = sorted((folder / "depth").glob("*.png"))
    if not truths:
        raise ConfigError(
            f"{folder / 'depth'} holds no images: this layout is color/NAME.png and depth/NAME.png"
        )

    def load(k: int) -> DepthImage:
        colors = [folder / "color" / (truths[k].stem + e) for e in IMAGE_ENDINGS]
        image = read_color(next((p for p in colors if p.is_file()), colors[0]))
        return DepthImage(truths[k].stem, image, read_depth(truths[k], unit_m, float("inf")))

    return DepthData(f"{folder.name}, all pixels with depth", len(truths), load)


LAYOUTS: dict[str, Callable[[Path], DepthData]] = {
    "nyuv2": nyu_v2,
    "kitti": kitti,
    "kitti-eigen": kitti_eigen,
    "7scenes": seven_scenes,
}


def chosen(length: int, most: int | None) -> Sequence[int]:
    """All of 0..length − 1, or `most` of them evenly spread."""
    if most is None or most >= length:
        return range(length)
    return np.linspace(0, length - 1, most).round().astype(int).tolist()
