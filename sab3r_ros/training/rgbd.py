"""Real RGB-D recordings with poses → a training shard, its depth registered to the colour camera.

python -m sab3r_ros.training.rgbd 7scenes FOLDER OUT --last 400 --labels deeplabv3_mnv2_pascal_quant.tflite
python -m sab3r_ros.training.rgbd arkitscenes 42444946 OUT --every 6
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from sab3r_ros.errors import ConfigError
from sab3r_ros.training.layouts import LAYOUTS, RgbdFrame, seven_scenes
from sab3r_ros.training.pseudo_labels import INDOOR, DeepLabVoc
from sab3r_ros.training.shards import unproject

ROOM_LENGTH = 16  # consecutive frames of a scene that count as one room, within which pairs are sought
CENTRED = 0.01  # of the image's sides: principal points nearer to the middle count as there


def cropped(color: np.ndarray, K: np.ndarray, aspect: float) -> tuple[np.ndarray, np.ndarray]:
    """The largest part of width / height `aspect` around the principal point, and its K: networks take it for the centre.

    A principal point within CENTRED of the middle is left where it is.
    """
    h, w = color.shape[:2]
    offset = K[:2, 2] - np.array([w - 1, h - 1]) / 2
    centre = np.where(np.abs(offset) <= CENTRED * np.array([w, h]), np.array([w, h]) / 2, K[:2, 2] + 0.5)
    reach = np.minimum(centre, [w, h] - centre)
    half = np.minimum(reach, [reach[1] * aspect, reach[0] / aspect])
    low, size = np.round(centre - half).astype(int), np.round(2 * half).astype(int)
    K = K.copy()
    K[:2, 2] -= low
    return color[low[1] : low[1] + size[1], low[0] : low[0] + size[0]], K


def registered(frame: RgbdFrame, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, depth (nearest surface wins) and K of the colour camera at `size` (H, W), cropped to its aspect."""
    h, w = size
    color, K = cropped(frame.color, frame.K, w / h)
    H, W = color.shape[:2]
    K = np.diag([w / W, h / H, 1.0]) @ K
    K[:2, 2] += 0.5 * (np.array([w / W, h / H]) - 1)  # pixel centres are integers in both images
    v, u = np.nonzero(frame.depth > 0)
    X = unproject(np.stack([u, v], 1), frame.depth[v, u].astype(float), frame.K_depth) + frame.offset
    uv = np.round(X[:, :2] / X[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]).astype(int)
    inside = (uv >= 0).all(1) & (uv[:, 0] < w) & (uv[:, 1] < h)
    depth = np.full((h, w), np.inf)
    np.minimum.at(depth, (uv[inside, 1], uv[inside, 0]), X[inside, 2])
    depth[~np.isfinite(depth)] = 0
    return cv2.resize(color, (w, h), interpolation=cv2.INTER_AREA), depth.astype(np.float16), K


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
    count = room = length = 0
    scene = None
    with (
        open(out / names[0], "wb") as images,
        open(out / names[1], "wb") as depths,
        open(out / names[2], "wb") as ids,
        open(out / names[3], "w") as lines,
    ):
        for frame in tqdm(frames, unit="frame", disable=None):
            if scene is not None and (frame.scene != scene or length == ROOM_LENGTH):
                room, length = room + 1, 0
            scene, length = frame.scene, length + 1
            image, depth, K = registered(frame, size)
            images.write(image.tobytes())
            depths.write(depth.tobytes())
            classes = cv2.resize(
                cropped(label(frame.color), frame.K, size[1] / size[0])[0],
                size[::-1],
                interpolation=cv2.INTER_NEAREST,
            )
            ids.write(classes.tobytes())
            instances = {str(c): INDOOR[c] for c in np.unique(classes).tolist() if c}
            row = {
                "room": room,
                "view": count,
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
    parser.add_argument("layout", choices=list(LAYOUTS))
    parser.add_argument(
        "folder", type=Path, help="one sequence or scene (co3d: category; habitat: any folder of pairs)"
    )
    parser.add_argument("out", type=Path, help="shard to write, for `sab3r distill --train OUT:WEIGHT`")
    parser.add_argument("--first", type=int, default=0, help="7scenes: number of the first frame")
    parser.add_argument("--last", type=int, default=10**9, help="7scenes: number behind the last frame")
    parser.add_argument("--every", type=int, default=1, help="take each N-th frame (not of pairs)")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    parser.add_argument("--labels", type=Path, help="a DeepLab VOC TFLite model that labels the images")
    args = parser.parse_args()
    label = DeepLabVoc(args.labels) if args.labels else no_labels
    read = (
        partial(seven_scenes, first=args.first, last=args.last)
        if args.layout == "7scenes"
        else LAYOUTS[args.layout]
    )
    if write_shard(islice(read(args.folder), 0, None, args.every), args.out, tuple(args.size), label) == 0:
        raise ConfigError(f"{args.folder} holds no frames of the layout '{args.layout}'")


if __name__ == "__main__":
    main()
