"""Data sets of images with poses, in the folders in which their authors publish them; each scene gives a few images.

A new one: write a function from its folder to scenes, name it in LAYOUTS, and test it on a folder that the test makes.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from sab3r_ros.errors import ConfigError
from sab3r_ros.evaluation.depth_data import read_color
from sab3r_ros.evaluation.pose import PoseScene

# Co3Dv2's 41 categories on which pose benchmarks since RelPose (Zhang et al. 2022) report
CO3D_CATEGORIES = (
    "apple", "backpack", "banana", "baseballbat", "baseballglove", "bench", "bicycle", "bottle", "bowl", "broccoli", "cake",
    "car", "carrot", "cellphone", "chair", "cup", "donut", "hairdryer", "handbag", "hydrant", "keyboard", "laptop",
    "microwave", "motorcycle", "mouse", "orange", "parkingmeter", "pizza", "plant", "stopsign", "teddybear", "toaster",
    "toilet", "toybus", "toyplane", "toytrain", "toytruck", "tv", "umbrella", "vase", "wineglass",
)  # fmt: skip
LEAST_QUALITY = 0.5  # viewpoint_quality_score of a sequence
LEAST_FRAMES = 50  # listed images of a sequence
WILD_TRANSLATION = 1e5  # a sequence with a larger sum of T failed in its structure from motion
CLIP_FRAMES = 60  # of a video, from which a scene's images are drawn: far enough apart to differ, near enough to overlap


def drawn(count: int, n: int, seed: int, name: str) -> list[int]:
    """n of 0..count − 1, in order, the same for a seed and a scene's name whatever else is run."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return np.sort(rng.choice(count, n, replace=False)).tolist()


def co3d_pose(viewpoint: dict[str, Any]) -> np.ndarray:
    """PyTorch3D's R, T (rows: x_camera = x_world R + T; x left, y up, z forward) → T_WC (4, 4), RDF."""
    flip = np.diag([-1.0, -1.0, 1.0])
    T_CW = np.eye(4)
    T_CW[:3, :3], T_CW[:3, 3] = flip @ np.array(viewpoint["R"]).T, flip @ np.array(viewpoint["T"])
    return np.linalg.inv(T_CW)


def read_jgz(path: Path) -> Any:
    try:
        with gzip.open(path) as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): is the data set complete?") from error


def co3d(folder: Path, n: int, seed: int) -> Iterator[PoseScene]:
    """Co3Dv2: CATEGORY/{frame_annotations.jgz, sequence_annotations.jgz, set_lists/set_lists_fewview_dev.json}.

    Sequences of the "test" list with a viewpoint quality above one half and 50 listed images (RelPose's, PoseDiffusion's
    selection); n images of each. Categories that are not there are left out. Raises ConfigError.
    """
    categories = [c for c in CO3D_CATEGORIES if (folder / c / "frame_annotations.jgz").is_file()]
    if not categories:
        raise ConfigError(f"{folder} has none of Co3Dv2's categories: apple/frame_annotations.jgz and so on")
    for category in categories:
        root = folder / category
        try:
            listed = json.loads((root / "set_lists" / "set_lists_fewview_dev.json").read_text())["test"]
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{root}/set_lists/set_lists_fewview_dev.json cannot be used: {error!r}"
            ) from error
        good = {
            s["sequence_name"]
            for s in read_jgz(root / "sequence_annotations.jgz")
            if s["viewpoint_quality_score"] > LEAST_QUALITY
        }
        frames: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for sequence, number, path in listed:
            if sequence in good:
                frames[sequence].append((number, path))
        viewpoint = {
            (f["sequence_name"], f["frame_number"]): f["viewpoint"]
            for f in read_jgz(root / "frame_annotations.jgz")
            if f["sequence_name"] in frames
        }
        for sequence, images in sorted(frames.items()):
            views = [viewpoint[sequence, number] for number, _ in images]
            if len(images) < max(LEAST_FRAMES, n) or any(sum(v["T"]) > WILD_TRANSLATION for v in views):
                continue
            name = f"{category}/{sequence}"
            chosen = drawn(len(images), n, seed, name)
            paths = [folder / images[k][1] for k in chosen]
            T_WC = np.stack([co3d_pose(views[k]) for k in chosen])
            yield PoseScene(name, category, T_WC, lambda k, paths=paths: read_color(paths[k]))


def clips(
    name: str, paths: Sequence[Path], T_WC: np.ndarray, n: int, seed: int, length: int = CLIP_FRAMES
) -> Iterator[PoseScene]:
    """A video as scenes: n images of each run of `length` frames."""
    length = min(length, len(paths))
    if length < n:
        raise ConfigError(f"{name} has {len(paths)} images with poses, fewer than the {n} of a scene")
    for start in range(0, len(paths) - length + 1, length):
        part = f"{name}/{start}"
        chosen = [start + k for k in drawn(length, n, seed, part)]
        files = [paths[k] for k in chosen]
        yield PoseScene(part, name, T_WC[chosen], lambda k, files=files: read_color(files[k]))


def seven_scenes(folder: Path, n: int, seed: int) -> Iterator[PoseScene]:
    """A sequence of 7-Scenes: frame-000000.color.png (or .jpg) and .pose.txt."""
    stems = sorted(str(p).removesuffix(".pose.txt") for p in folder.glob("frame-*.pose.txt"))
    colors = [
        next((p for e in ("png", "jpg") if (p := Path(f"{s}.color.{e}")).is_file()), None) for s in stems
    ]
    kept = [(s, c) for s, c in zip(stems, colors, strict=True) if c is not None]
    if not kept:
        raise ConfigError(f"{folder} is no sequence of 7-Scenes: frame-000000.color.png and .pose.txt")
    T_WC = np.stack([np.loadtxt(f"{stem}.pose.txt") for stem, _ in kept])
    yield from clips(folder.name, [color for _, color in kept], T_WC, n, seed)


def tum(folder: Path, n: int, seed: int) -> Iterator[PoseScene]:
    """A sequence of TUM RGB-D: rgb/TIME.png and groundtruth.txt ("t tx ty tz qx qy qz qw"), interpolated in time."""
    from scipy.spatial.transform import Slerp

    images = sorted((p for p in (folder / "rgb").glob("*.[pj][np]g")), key=lambda p: float(p.stem))
    if not images or not (folder / "groundtruth.txt").is_file():
        raise ConfigError(f"{folder} is no sequence of TUM RGB-D: rgb/TIME.png and groundtruth.txt")
    rows = np.loadtxt(folder / "groundtruth.txt")
    stamps = np.array([float(p.stem) for p in images])
    inside = (stamps >= rows[0, 0]) & (stamps <= rows[-1, 0])
    images, stamps = [p for p, ok in zip(images, inside, strict=True) if ok], stamps[inside]
    T_WC = np.tile(np.eye(4), (len(images), 1, 1))
    T_WC[:, :3, :3] = Slerp(rows[:, 0], Rotation.from_quat(rows[:, 4:]))(stamps).as_matrix()
    T_WC[:, :3, 3] = np.stack([np.interp(stamps, rows[:, 0], rows[:, k]) for k in (1, 2, 3)], 1)
    yield from clips(folder.name, images, T_WC, n, seed)


def kitti(folder: Path, n: int, seed: int) -> Iterator[PoseScene]:
    """KITTI odometry: sequences/00/image_2 (or image_0)/000000.png and poses/00.txt, 3 × 4 rows, camera to world."""
    found = False
    for poses in sorted((folder / "poses").glob("[0-9][0-9].txt")):
        root = folder / "sequences" / poses.stem
        place = next((root / c for c in ("image_2", "image_0") if (root / c).is_dir()), None)
        if place is None:
            continue
        rows = np.loadtxt(poses).reshape(-1, 3, 4)
        images = [p for p in sorted(place.glob("*.png")) if int(p.stem) < len(rows)]
        T_WC = np.tile(np.eye(4), (len(images), 1, 1))
        T_WC[:, :3] = rows[[int(p.stem) for p in images]]
        yield from clips(poses.stem, images, T_WC, n, seed, 2 * n)
        found = True
    if not found:
        raise ConfigError(f"{folder} is no KITTI odometry: sequences/00/image_2/000000.png and poses/00.txt")


LAYOUTS: dict[str, Callable[[Path, int, int], Iterator[PoseScene]]] = {
    "co3d": co3d,
    "7scenes": seven_scenes,
    "tum": tum,
    "kitti": kitti,
}
