"""Folders of frames with depth, pose and captions, that `sab3r_ros.rooms.write` or `sab3r_ros.training.rgbd` fills and may
still be filling:

    images.u8     (F, H, W, 3) uint8 RGB           depth.f16     (F, H, W) float16 z-depth in metres, 0 = none
    instance.u16  (F, H, W) uint16, 0 = none       frames.jsonl  a line a frame: room, K, T_WC, instances → captions

Frames of one room are contiguous. Only frames that have their line are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sab3r_ros.errors import ConfigError

OVERLAP_GRID = (9, 12)  # points a view whose visibility in another view measures the overlap
DEPTH_TOLERANCE = 0.04  # relative: a projected point agrees with the other view's depth within this


@dataclass(frozen=True)
class View:
    """One training view. image (H, W, 3) uint8, depth (H, W) metres, labels (H, W) caption ids or −1, K (3, 3), T_WC (4, 4)."""

    image: np.ndarray
    depth: np.ndarray
    labels: np.ndarray
    K: np.ndarray
    T_WC: np.ndarray


class Vocabulary:
    """Captions and their ids, shared by all shards of a run."""

    def __init__(self) -> None:
        self.ids: dict[tuple[str, str, str], int] = {}

    def id(self, caption: str, name: str, nyu40: str) -> int:
        return self.ids.setdefault((caption, name, nyu40), len(self.ids))

    @property
    def entries(self) -> list[tuple[str, str, str]]:
        """(caption, name, NYU40 class) of each id, in order."""
        return list(self.ids)


class Shard:
    """One folder of frames, memory-mapped. `refresh` picks up frames that have been written since."""

    def __init__(self, folder: Path, vocabulary: Vocabulary, size: tuple[int, int]) -> None:
        """size: (H, W) of the stored frames. Raises ConfigError if the folder holds no frames."""
        self.folder, self.vocabulary, self.size = folder, vocabulary, size
        self.frames: list[dict] = []
        self.pairs = np.zeros((0, 2), np.int64)
        self.overlaps = np.zeros(0, np.float32)
        if not (folder / "frames.jsonl").is_file():
            raise ConfigError(
                f"{folder} has no frames.jsonl: write rooms there first (python -m sab3r_ros.rooms.write --help)"
            )
        self.refresh()

    def refresh(self) -> None:
        done = len(self.frames)
        lines = (self.folder / "frames.jsonl").read_text().split("\n")[done:-1]
        rows = [json.loads(line) for line in lines]
        last_room_starts = max(
            (k for k, r in enumerate(rows) if k and r["room"] != rows[k - 1]["room"]), default=0
        )
        rows = (
            rows[: last_room_starts or len(rows)] if done or last_room_starts else rows
        )  # the last room may be unfinished
        if not rows:
            return
        for row in rows:
            ids = np.full(max((int(k) for k in row["instances"]), default=0) + 1, -1, np.int32)
            for key, what in row["instances"].items():
                ids[int(key)] = self.vocabulary.id(what["caption"], what["name"], what["nyu40"])
            self.frames.append(
                {
                    "room": row["room"],
                    "K": np.asarray(row["K"], float),
                    "T_WC": np.asarray(row["T_WC"], float),
                    "ids": ids,
                }
            )
        n, (h, w) = len(self.frames), self.size
        self.images = np.memmap(self.folder / "images.u8", np.uint8, "r", shape=(n, h, w, 3))
        self.depths = np.memmap(self.folder / "depth.f16", np.float16, "r", shape=(n, h, w))
        self.instances = np.memmap(self.folder / "instance.u16", np.uint16, "r", shape=(n, h, w))
        found = [self._room_pairs(a, b) for a, b in self._rooms(done)]
        self.pairs = np.concatenate([self.pairs] + [p for p, _ in found])
        self.overlaps = np.concatenate([self.overlaps] + [o for _, o in found])

    def _rooms(self, start: int) -> Iterator[tuple[int, int]]:
        a = start
        for k in range(start, len(self.frames)):
            if k + 1 == len(self.frames) or self.frames[k + 1]["room"] != self.frames[k]["room"]:
                yield a, k + 1
                a = k + 1

    def _room_pairs(self, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Ordered pairs (i, j) of a room's frames a..b and the share of i's points that j sees."""
        h, w = self.size
        v, u = np.meshgrid(
            *((np.arange(g) + 0.5) * s / g for g, s in zip(OVERLAP_GRID, (h, w), strict=True)), indexing="ij"
        )
        grid = np.stack([u.ravel(), v.ravel()], 1)
        index = (
            range(a, b)
            if b - a <= 16
            else sorted(np.random.default_rng(a).choice(np.arange(a, b), 16, False))
        )
        pairs, overlaps = [], []
        for i in index:
            z = np.asarray(self.depths[i])[grid[:, 1].astype(int), grid[:, 0].astype(int)].astype(float)
            X_W = transform(self.frames[i]["T_WC"], unproject(grid, z, self.frames[i]["K"]))
            for j in index:
                if i != j:
                    _, seen = reproject(X_W, self.frames[j], np.asarray(self.depths[j]))
                    pairs.append((i, j))
                    overlaps.append((seen & (z > 0)).mean())
        return np.asarray(pairs, np.int64).reshape(-1, 2), np.asarray(overlaps, np.float32)

    def view(self, k: int) -> View:
        f = self.frames[k]
        instance = np.asarray(self.instances[k])
        ids = f["ids"]
        labels = np.where(instance < len(ids), ids[np.minimum(instance, len(ids) - 1)], -1)
        labels[instance == 0] = -1
        return View(
            np.asarray(self.images[k]),
            np.asarray(self.depths[k]).astype(np.float32),
            labels,
            f["K"],
            f["T_WC"],
        )


def unproject(pixels: np.ndarray, z: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(N, 2) pixels (u, v) at depth z (N,) metres → (N, 3) camera points, RDF."""
    return np.stack([(pixels[:, 0] - K[0, 2]) / K[0, 0] * z, (pixels[:, 1] - K[1, 2]) / K[1, 1] * z, z], 1)


def transform(T: np.ndarray, X: np.ndarray) -> np.ndarray:
    return X @ T[:3, :3].T + T[:3, 3]


def reproject(X_W: np.ndarray, frame: dict, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points into a frame: (N, 2) pixels (u, v) and whether its depth image agrees that they are seen there."""
    h, w = depth.shape
    T_WC, K = frame["T_WC"], frame["K"]
    X = (X_W - T_WC[:3, 3]) @ T_WC[:3, :3]
    z = np.maximum(X[:, 2], 1e-6)
    uv = np.stack([X[:, 0] / z * K[0, 0] + K[0, 2], X[:, 1] / z * K[1, 1] + K[1, 2]], 1)
    inside = (X[:, 2] > 0.05) & (uv > -0.5).all(1) & (uv[:, 0] < w - 0.5) & (uv[:, 1] < h - 0.5)
    cell = np.where(inside[:, None], np.round(uv), 0).astype(int)
    there = depth[cell[:, 1], cell[:, 0]].astype(float)
    return uv, inside & (np.abs(there - X[:, 2]) < DEPTH_TOLERANCE * X[:, 2])
