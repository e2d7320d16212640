"""Real RGB-D recordings with poses → a training shard, its depth registered to the colour camera.

python -m sab3r_ros.training.rgbd 7scenes FOLDER OUT --last 400 --labels deeplabv3_mnv2_pascal_quant.tflite
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from sab3r_ros.training.pseudo_labels import INDOOR, DeepLabVoc
from sab3r_ros.training.shards import unproject

ROOM_LENGTH = 16  # consecutive frames that count as one room, within which pairs are sought


@dataclass(frozen=True)
class RgbdFrame:
    """color (H, W, 3) uint8 RGB with K; depth (h, w) metres, 0 = none, with K_depth; X_color = X_depth + offset (3,)."""

    color: np.ndarray
    K: np.ndarray
    depth: np.ndarray
    K_depth: np.ndarray
    offset: np.ndarray
    T_WC: np.ndarray


def registered(frame: RgbdFrame, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, depth (nearest surface wins) and K of the colour camera at `size` (H, W)."""
    (h, w), (H, W) = size, frame.color.shape[:2]
    K = np.diag([w / W, h / H, 1.0]) @ frame.K
    K[:2, 2] += 0.5 * (np.array([w / W, h / H]) - 1)  # pixel centres are integers in both images
    v, u = np.nonzero(frame.depth > 0)
    X = unproject(np.stack([u, v], 1), frame.depth[v, u].astype(float), frame.K_depth) + frame.offset
    uv = np.round(X[:, :2] / X[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]).astype(int)
    inside = (uv >= 0).all(1) & (uv[:, 0] < w) & (uv[:, 1] < h)
    depth = np.full((h, w), np.inf)
    np.minimum.at(depth, (uv[inside, 1], uv[inside, 0]), X[inside, 2])
    depth[~np.isfinite(depth)] = 0
    return cv2.resize(frame.color, (w, h), interpolation=cv2.INTER_AREA), depth.astype(np.float16), K


def seven_scenes(folder: Path, first: int, last: int) -> Iterator[RgbdFrame]:
    """Frames first ≤ n < last of a 7-Scenes sequence. Its colour is not registered to its depth: f = 525, 2.5 cm apart."""
    K_depth = np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]])
    K = np.array([[525.0, 0, 320], [0, 525, 240], [0, 0, 1]])
    offset = np.array([-0.025, 0, 0])
    for pose in sorted(folder.glob("frame-*.pose.txt")):
        if not first <= int(pose.name[6:12]) < last:
            continue
        stem = pose.name.removesuffix(".pose.txt")
        depth = cv2.imread(str(folder / f"{stem}.depth.png"), cv2.IMREAD_UNCHANGED)
        depth = np.where(depth == 65535, 0, depth) / 1000
        published = folder / f"{stem}.color.png"
        color = cv2.imread(str(published if published.is_file() else published.with_suffix(".jpg")))
        T_WC = np.loadtxt(pose)
        T_WC[:3, 3] -= T_WC[:3, :3] @ offset  # the recording gives the depth camera's pose
        yield RgbdFrame(color[..., ::-1], K, depth, K_depth, offset, T_WC)


def no_labels(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) → (H, W) uint16 zeros: a recording whose content nobody named."""
    return np.zeros(image.shape[:2], np.uint16)


def write_shard(
    frames: Iterator[RgbdFrame],
    out: Path,
    size: tuple[int, int],
    label: Callable[[np.ndarray], np.ndarray] = no_labels,
) -> int:
    """Write frames as a shard of `size` (H, W), labelled by VOC classes if `label` gives any. Returns their number."""
    out.mkdir(parents=True, exist_ok=True)
    names = ("images.u8", "depth.f16", "instance.u16", "frames.jsonl")
    count = 0
    with (
        open(out / names[0], "wb") as images,
        open(out / names[1], "wb") as depths,
        open(out / names[2], "wb") as ids,
        open(out / names[3], "w") as lines,
    ):
        for k, frame in enumerate(tqdm(frames, unit="frame")):
            image, depth, K = registered(frame, size)
            images.write(image.tobytes())
            depths.write(depth.tobytes())
            classes = cv2.resize(label(frame.color), size[::-1], interpolation=cv2.INTER_NEAREST)
            ids.write(classes.tobytes())
            instances = {str(c): INDOOR[c] for c in np.unique(classes).tolist() if c}
            row = {
                "room": k // ROOM_LENGTH,
                "view": k,
                "K": K.tolist(),
                "T_WC": frame.T_WC.tolist(),
                "instances": instances,
            }
            lines.write(json.dumps(row) + "\n")
            count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("layout", choices=["7scenes"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int, default=10**9)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    parser.add_argument("--labels", type=Path, help="a DeepLab VOC TFLite model that labels the images")
    args = parser.parse_args()
    label = DeepLabVoc(args.labels) if args.labels else no_labels
    write_shard(seven_scenes(args.folder, args.first, args.last), args.out, tuple(args.size), label)


if __name__ == "__main__":
    main()
