"""Pairs of views for training, from shards of frames with depth, pose and captions.

A shard is a folder that `sab3r_ros.rooms.write` or `sab3r_ros.training.rgbd` fills and may still be filling:
    images.u8     (F, H, W, 3) uint8 RGB           depth.f16     (F, H, W) float16 z-depth in metres, 0 = none
    instance.u16  (F, H, W) uint16, 0 = none       frames.jsonl  a line a frame: room, K, T_WC, instances → captions
Frames of one room are contiguous. Only frames that have their line are read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from sab3r_ros.errors import ConfigError

log = logging.getLogger(__name__)

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


def correspondences(
    first: View, second: View, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Exact matches of two views. Returns (count, 2, 2) pixels (u, v) in view 1 and 2, and (count,) validity."""
    h, w = first.depth.shape
    tries = 3 * count
    pixels = np.stack([rng.integers(0, w, tries), rng.integers(0, h, tries)], 1)
    z = first.depth[pixels[:, 1], pixels[:, 0]]
    X_W = transform(first.T_WC, unproject(pixels, z, first.K))
    uv, seen = reproject(X_W, {"T_WC": second.T_WC, "K": second.K}, second.depth)
    good = np.flatnonzero(seen & (z > 0))[:count]
    matches, valid = np.zeros((count, 2, 2), np.float32), np.zeros(count, bool)
    matches[: len(good), 0], matches[: len(good), 1], valid[: len(good)] = pixels[good], uv[good], True
    return matches, valid


def photometric(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, colour, blur, noise and compression of a cheap camera. (H, W, 3) uint8 → the same."""
    x = image.astype(np.float32) / 255
    x = x ** rng.uniform(0.75, 1.35) * rng.uniform(0.75, 1.25) * rng.uniform(0.88, 1.12, 3).astype(np.float32)
    grey = x.mean(2, keepdims=True)
    x = grey + (x - grey) * rng.uniform(0.5, 1.4)
    x = (x - 0.5) * rng.uniform(0.8, 1.2) + 0.5
    if rng.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 1.1))
    if rng.random() < 0.5:
        x = x + rng.normal(0, rng.uniform(0.003, 0.03), x.shape).astype(np.float32)
    x = (x.clip(0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.3:
        x = cv2.imdecode(cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))])[1], 1)
    return x


def mirrored(view: View) -> View:
    """The view in a mirror: image, depth and labels flipped. Its pose no longer applies (matches are flipped by the caller)."""
    return View(view.image[:, ::-1], view.depth[:, ::-1], view.labels[:, ::-1], view.K, view.T_WC)


def halve_depth(depth: np.ndarray) -> np.ndarray:
    """(..., H, W) → (..., H/2, W/2): the mean of each 2 × 2 cell of one surface, else the nearest; 0 if any is missing."""
    cells = np.stack([depth[..., a::2, b::2] for a in (0, 1) for b in (0, 1)])
    low, high = cells.min(0), cells.max(0)
    return np.where(low <= 0, 0, np.where(high < 1.05 * low, cells.mean(0), low)).astype(np.float32)


@dataclass(frozen=True)
class Batch:
    """B pairs, views stacked as 2B: first views, then second views.

    images (2B, 3, H, W) float32 in −1..1. depth (2B, H/2, W/2) metres, 0 = none. focal (2B,) pixels.
    labels (2B, H/4, W/4) caption ids, −1 = none. matches (B, N, 2, 2) pixels (u, v) in view 1, 2. matched (B, N) bool.
    """

    images: Tensor
    depth: Tensor
    focal: Tensor
    labels: Tensor
    matches: Tensor
    matched: Tensor


def make_batch(
    pairs: list[tuple[View, View]], matches: int, rng: np.random.Generator, augment: bool
) -> Batch:
    """Matches, augmentation and low-resolution targets for a list of view pairs."""
    found = [correspondences(a, b, matches, rng) for a, b in pairs]
    uv, valid = np.stack([f[0] for f in found]), np.stack([f[1] for f in found])
    firsts, seconds = [a for a, _ in pairs], [b for _, b in pairs]
    if augment:
        width = firsts[0].image.shape[1]
        for k in np.flatnonzero(rng.random(len(pairs)) < 0.5):
            firsts[k], seconds[k] = mirrored(firsts[k]), mirrored(seconds[k])
            uv[k, :, :, 0] = width - 1 - uv[k, :, :, 0]
    views = firsts + seconds
    images = np.stack([photometric(v.image, rng) if augment else v.image for v in views])
    return Batch(
        torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1),
        torch.from_numpy(halve_depth(np.stack([v.depth for v in views]))),
        torch.tensor([float(v.K[0, 0]) for v in views]),
        torch.from_numpy(np.stack([v.labels[2::4, 2::4] for v in views]).astype(np.int64)),
        torch.from_numpy(uv),
        torch.from_numpy(valid),
    )


class PairStream:
    """An endless stream of batches from weighted shards, made by a background thread."""

    def __init__(
        self,
        shards: list[tuple[Shard, float]],
        batch: int,
        matches: int,
        overlap: tuple[float, float],
        seed: int,
        augment: bool = True,
        refresh_every: int = 400,
    ) -> None:
        """shards: with sampling weights. overlap: lowest and highest share of view 1 that view 2 must see."""
        self.shards, self.batch, self.matches, self.overlap = shards, batch, matches, overlap
        self.rng, self.augment, self.refresh_every = np.random.default_rng(seed), augment, refresh_every
        self._usable: list[np.ndarray] = []

    def _refresh(self) -> None:
        for shard, _ in self.shards:
            shard.refresh()
        low, high = self.overlap
        self._usable = [np.flatnonzero((s.overlaps >= low) & (s.overlaps <= high)) for s, _ in self.shards]
        if not all(len(u) for u in self._usable):
            raise ConfigError(
                f"a shard has no pair with an overlap in {self.overlap}: {[str(s.folder) for s, _ in self.shards]}"
            )

    def _draw(self) -> tuple[View, View]:
        weights = np.array([w * len(u) for (s, w), u in zip(self.shards, self._usable, strict=True)], float)
        k = int(self.rng.choice(len(weights), p=weights / weights.sum()))
        shard = self.shards[k][0]
        i, j = shard.pairs[self.rng.choice(self._usable[k])]
        return shard.view(int(i)), shard.view(int(j))

    def __iter__(self) -> Iterator[Batch]:
        ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=3)
        stopped = threading.Event()

        def work() -> None:
            try:
                step = 0
                while not stopped.is_set():
                    if step % self.refresh_every == 0:
                        self._refresh()
                    put(
                        make_batch(
                            [self._draw() for _ in range(self.batch)], self.matches, self.rng, self.augment
                        )
                    )
                    step += 1
            except BaseException as error:  # handed to the consumer, who raises it
                put(error)

        def put(item: Batch | BaseException) -> None:
            while not stopped.is_set():
                with contextlib.suppress(queue.Full):
                    ready.put(item, timeout=0.2)
                    return

        thread = threading.Thread(target=work, daemon=True, name="pairs")
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()
            thread.join()
