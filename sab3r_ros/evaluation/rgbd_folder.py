"""A folder of RGB-D frames with labels, as 7-Scenes names its files:

    NAME.color.png (or .jpg)   NAME.depth.png   NAME.pose.txt (4 × 4, camera to world, metres)   NAME.segm.png (or .label.png)
    camera-intrinsics*.txt (3 × 3, of the depth image, to which colour is registered)

and a YAML that says what the numbers mean (config/bench_shelf.yaml is an example):

    classes: {48: chenille stems, 132: tissue box}   # other labels are void
    depth_unit_m: 0.0001
    depth_rotated: true                              # SUN3D's rotation by three bits
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import yaml

from sab3r_ros.config import from_dict
from sab3r_ros.errors import ConfigError
from sab3r_ros.evaluation.labels import VOID
from sab3r_ros.evaluation.scenes import LabelledView, Scene

COLOR, LABEL = (".color.png", ".color.jpg"), (".segm.png", ".label.png")


@dataclass(frozen=True)
class FolderFormat:
    """classes: label in the images → words; depth_unit_m: metres of one unit; depth_rotated: as SUN3D stores it."""

    classes: dict[int, str] = field(default_factory=dict)
    depth_unit_m: float = 0.001
    depth_rotated: bool = False


def read_format(path: Path) -> FolderFormat:
    """Raises ConfigError if the file is missing, has unknown keys, or names no classes."""
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {error}. It says what a folder's labels mean") from error
    read = from_dict(FolderFormat, values if isinstance(values, dict) else {})
    if not read.classes:
        raise ConfigError(f"{path} names no classes: write `classes: {{1: a mug, 2: a box}}`, label → words")
    return read


def existing(stem: str, endings: Sequence[str]) -> Path:
    """Raises ConfigError if a frame lacks a file."""
    for ending in endings:
        if Path(stem + ending).is_file():
            return Path(stem + ending)
    raise ConfigError(f"{stem}{endings[0]} is missing: each frame needs colour, depth, pose and labels")


def read_image(path: Path, flag: int) -> np.ndarray:
    """As OpenCV reads it. Raises ConfigError if it cannot."""
    image = cv2.imread(str(path), flag)
    if image is None:
        raise ConfigError(f"{path} is not an image that can be read")
    return image


def folder_scene(folder: Path, form: FolderFormat) -> Scene:
    """Frames in the order of their names. Raises ConfigError if there are none, or without intrinsics."""
    stems = sorted(str(p).removesuffix(".pose.txt") for p in folder.glob("*.pose.txt"))
    intrinsics = sorted(folder.glob("camera-intrinsics*.txt"))
    if not stems or not intrinsics:
        raise ConfigError(f"{folder} has no NAME.pose.txt, or no camera-intrinsics*.txt: see `--rgbd`'s help")
    K = np.loadtxt(intrinsics[0])[:3, :3]
    lookup = np.full(2**16, VOID, np.int16)
    for k, label in enumerate(form.classes):
        lookup[label] = k

    def load(k: int) -> LabelledView:
        image = read_image(existing(stems[k], COLOR), cv2.IMREAD_COLOR)[..., ::-1]
        units = read_image(existing(stems[k], (".depth.png",)), cv2.IMREAD_UNCHANGED).astype(np.uint16)
        if form.depth_rotated:
            units = (units << 13) | (units >> 3)
        labels = read_image(existing(stems[k], LABEL), cv2.IMREAD_UNCHANGED)
        h, w = units.shape
        return LabelledView(
            cv2.resize(np.ascontiguousarray(image), (w, h), interpolation=cv2.INTER_AREA),
            units.astype(np.float32) * np.float32(form.depth_unit_m),
            lookup[cv2.resize(labels, (w, h), interpolation=cv2.INTER_NEAREST)],
            K,
            np.loadtxt(stems[k] + ".pose.txt"),
        )

    return Scene(folder.name, tuple(form.classes.values()), len(stems), load)
