"""ScanNet as it is published (scans/SCENE/SCENE.sens and SCENE_2d-label-filt.zip), or as its SensReader exports it (color, depth,
pose, intrinsic and label-filt folders).

Colour and labels (1296 × 968) are brought to the depth image's size (640 × 480), whose intrinsics hold for all three then, as
users of ScanNet commonly do.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.errors import ConfigError
from sab3r_ros.evaluation.labels import ASKED, VOID, scannet_lookup
from sab3r_ros.evaluation.scenes import LabelledView, Scene

# The paper took 24 validation scenes and does not name them: here the first scans of the first 24 places of that split.
PLACES = (
    "0011", "0015", "0019", "0025", "0030", "0046", "0050", "0063", "0064", "0077", "0081", "0084",
    "0086", "0088", "0095", "0100", "0131", "0139", "0144", "0146", "0149", "0153", "0164", "0169",
)  # fmt: skip
DEFAULT_SCENES = tuple(f"scene{place}_00" for place in PLACES)
LABEL_FOLDERS = ("label-filt", "label")
RAW, ZLIB = 0, 1  # depth compression of .sens


@dataclass(frozen=True)
class RawFrame:
    """As stored: color (H, W, 3) uint8 RGB; depth (h, w) float32 metres; T_WC (4, 4), not finite where tracking was lost."""

    color: np.ndarray
    depth: np.ndarray
    T_WC: np.ndarray


def scannet_scenes(folder: Path, label_map: Path, names: tuple[str, ...] = DEFAULT_SCENES) -> list[Scene]:
    """folder: the one that holds scene folders (`scans`). Raises ConfigError naming the first scene that is not there."""
    lookup = scannet_lookup(label_map)
    return [scannet_scene(folder / name, lookup) for name in names]


def scannet_scene(folder: Path, lookup: np.ndarray) -> Scene:
    """Raises ConfigError if it has neither a .sens file nor exported folders, or no labels."""
    sens = folder / f"{folder.name}.sens"
    if sens.is_file():
        count, K, frame = sens_frames(sens)
    elif (folder / "color").is_dir():
        count, K, frame = exported_frames(folder)
    else:
        raise ConfigError(
            f"{folder} is no ScanNet scene: it has neither {sens.name} nor SensReader's color, depth, pose and intrinsic folders"
        )
    label = label_reader(folder)

    def load(k: int) -> LabelledView | None:
        raw = frame(k)
        if not np.isfinite(raw.T_WC).all():
            return None
        h, w = raw.depth.shape
        ids = cv2.resize(label(k), (w, h), interpolation=cv2.INTER_NEAREST)
        labels = np.where(ids < len(lookup), lookup[np.minimum(ids, len(lookup) - 1)], VOID).astype(np.int16)
        image = cv2.resize(raw.color, (w, h), interpolation=cv2.INTER_AREA)
        return LabelledView(image, raw.depth, labels, K, raw.T_WC)

    return Scene(folder.name, ASKED, count, load)


def decoded(data: bytes, what: str) -> np.ndarray:
    """Raises ConfigError if an image cannot be decoded."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ConfigError(f"{what} is not an image that can be read: fetch it again")
    return image


def label_reader(folder: Path) -> Callable[[int], np.ndarray]:
    """Frame number → (H, W) raw label ids, from a folder or the published zip."""
    for name in LABEL_FOLDERS:
        if (folder / name).is_dir():
            files = folder / name
            return lambda k: decoded((files / f"{k}.png").read_bytes(), f"{files}/{k}.png")
        archive = folder / f"{folder.name}_2d-{name}.zip"
        if archive.is_file():
            opened = zipfile.ZipFile(archive)
            return lambda k: decoded(opened.read(f"{name}/{k}.png"), f"{archive}:{name}/{k}.png")
    raise ConfigError(f"{folder} has no labels: fetch {folder.name}_2d-label-filt.zip (or unpack it there)")


def exported_frames(folder: Path) -> tuple[int, np.ndarray, Callable[[int], RawFrame]]:
    K = np.loadtxt(folder / "intrinsic" / "intrinsic_depth.txt")[:3, :3]

    def frame(k: int) -> RawFrame:
        color = decoded((folder / "color" / f"{k}.jpg").read_bytes(), f"{folder}/color/{k}.jpg")
        depth = decoded((folder / "depth" / f"{k}.png").read_bytes(), f"{folder}/depth/{k}.png")
        pose = np.loadtxt(folder / "pose" / f"{k}.txt")
        return RawFrame(color[..., ::-1], depth.astype(np.float32) / 1000, pose)

    return len(list((folder / "pose").glob("*.txt"))), K, frame


@lru_cache(maxsize=2)
def sens_index(path: Path) -> tuple[np.ndarray, tuple[int, int], float, list[tuple[int, int, int]]]:
    """Of a .sens file, version 4: intrinsics of depth, its (height, width), units a metre, and of each frame where its record
    begins and how long colour and depth are. Raises ConfigError for another version or compression, or a torn file.
    """
    try:
        return read_sens_index(path)
    except ConfigError:
        raise
    except (struct.error, ValueError) as error:
        raise ConfigError(f"{path} ends early: fetch it again ({error})") from error


def read_sens_index(path: Path) -> tuple[np.ndarray, tuple[int, int], float, list[tuple[int, int, int]]]:
    with path.open("rb") as f:
        (version,) = struct.unpack("<I", f.read(4))
        if version != 4:
            raise ConfigError(f"{path} is a .sens file of version {version}, 4 can be read: fetch it again")
        f.seek(struct.unpack("<Q", f.read(8))[0], 1)  # sensor's name
        matrices = np.frombuffer(f.read(4 * 64), "<f4").reshape(4, 4, 4)
        _, depth_kind, _, _, width, height = struct.unpack("<iiIIII", f.read(24))
        if depth_kind not in (RAW, ZLIB):
            raise ConfigError(f"{path}: depth compression {depth_kind} is not supported, raw and zlib are")
        shift, count = struct.unpack("<fQ", f.read(12))
        frames = []
        for _ in range(count):
            begin = f.tell()
            color, depth = struct.unpack("<QQ", f.read(96)[80:])
            frames.append((begin, color, depth))
            f.seek(color + depth, 1)
    return matrices[2, :3, :3].astype(float), (height, width), shift, frames


def sens_frames(path: Path) -> tuple[int, np.ndarray, Callable[[int], RawFrame]]:
    K, size, shift, frames = sens_index(path)

    def frame(k: int) -> RawFrame:
        begin, color_bytes, depth_bytes = frames[k]
        with path.open("rb") as f:
            f.seek(begin)
            pose = np.frombuffer(f.read(64), "<f4").reshape(4, 4).astype(float)
            f.seek(32, 1)
            color, depth = f.read(color_bytes), f.read(depth_bytes)
        units = depth if depth_bytes == 2 * size[0] * size[1] else zlib.decompress(depth)
        metres = np.frombuffer(units, "<u2").reshape(size).astype(np.float32) / shift
        return RawFrame(decoded(color, f"{path}, frame {k}")[..., ::-1], metres, pose)

    return len(frames), K, frame
