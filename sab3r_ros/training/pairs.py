"""Pairs of views for training: exact matches, augmentation, batches from a background thread."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from sab3r_ros.errors import ConfigError
from sab3r_ros.training.shards import Shard, View, reproject, transform, unproject

LOW = slice(2, None, 4), slice(2, None, 4)  # pixels that stand for the 4 × 4 around them


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


def visibility(first: View, second: View, mirror: bool = False) -> np.ndarray:
    """Whether view 2 sees the pixels LOW of view 1, or of its mirror image: 1 or 0, −1 where there is no depth."""
    h, w = first.depth.shape
    v, u = np.mgrid[:h, :w][(slice(None), *LOW)]
    u = w - 1 - u if mirror else u
    z = first.depth[v, u]
    pixels = np.stack([u.ravel(), v.ravel()], 1)
    X_W = transform(first.T_WC, unproject(pixels, z.ravel(), first.K))
    _, seen = reproject(X_W, {"T_WC": second.T_WC, "K": second.K}, second.depth)
    return np.where(z > 0, seen.reshape(z.shape), -1)


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
    labels (2B, H/4, W/4) caption ids, −1 = none; seen, the same shape, whether the other view sees it, 1 or 0, −1 = unknown:
    both of pixels LOW. matches (B, N, 2, 2) pixels (u, v) in view 1, 2. matched (B, N) bool.
    """

    images: Tensor
    depth: Tensor
    focal: Tensor
    labels: Tensor
    seen: Tensor
    matches: Tensor
    matched: Tensor


def make_batch(
    pairs: list[tuple[View, View]], matches: int, rng: np.random.Generator, augment: bool
) -> Batch:
    """Matches, augmentation and low-resolution targets for a list of view pairs."""
    found = [correspondences(a, b, matches, rng) for a, b in pairs]
    uv, valid = np.stack([f[0] for f in found]), np.stack([f[1] for f in found])
    firsts, seconds = [a for a, _ in pairs], [b for _, b in pairs]
    mirror = rng.random(len(pairs)) < 0.5 if augment else np.zeros(len(pairs), bool)
    seen = [
        visibility(a, b, m)
        for ones, others in ((firsts, seconds), (seconds, firsts))
        for a, b, m in zip(ones, others, mirror, strict=True)
    ]
    for k in np.flatnonzero(mirror):
        firsts[k], seconds[k] = mirrored(firsts[k]), mirrored(seconds[k])
        uv[k, :, :, 0] = firsts[k].image.shape[1] - 1 - uv[k, :, :, 0]
    views = firsts + seconds
    images = np.stack([photometric(v.image, rng) if augment else v.image for v in views])
    return Batch(
        torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1),
        torch.from_numpy(halve_depth(np.stack([v.depth for v in views]))),
        torch.tensor([float(v.K[0, 0]) for v in views]),
        torch.from_numpy(np.stack([v.labels[LOW] for v in views]).astype(np.int64)),
        torch.from_numpy(np.stack(seen).astype(np.int64)),
        torch.from_numpy(uv),
        torch.from_numpy(valid),
    )


class PairStream:
    """An endless stream of batches from weighted shards, made by a background thread.

    Batch n is a function of the seed, n and the shards alone: a stream can go on anywhere, and several processes can
    share one. position: batches that all processes have taken so far; set it to go on there.
    """

    def __init__(
        self,
        shards: list[tuple[Shard, float]],
        batch: int,
        matches: int,
        overlap: tuple[float, float],
        seed: int,
        augment: bool = True,
        refresh_every: int = 400,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """shards: with sampling weights. overlap: lowest and highest share of view 1 that view 2 must see.

        rank of `processes`: this process takes each `processes`-th batch, from batch `rank` on.
        """
        self.shards, self.batch, self.matches, self.overlap = shards, batch, matches, overlap
        self.seed, self.augment, self.refresh_every = seed, augment, refresh_every
        self.rank, self.processes, self.position = rank, processes, 0
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

    def _draw(self, rng: np.random.Generator) -> tuple[View, View]:
        weights = np.array([w * len(u) for (s, w), u in zip(self.shards, self._usable, strict=True)], float)
        k = int(rng.choice(len(weights), p=weights / weights.sum()))
        shard = self.shards[k][0]
        i, j = shard.pairs[rng.choice(self._usable[k])]
        return shard.view(int(i)), shard.view(int(j))

    def __iter__(self) -> Iterator[Batch]:
        ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=3)
        stopped = threading.Event()

        first = self.position + self.rank

        def work() -> None:
            try:
                for count, number in enumerate(itertools.count(first, self.processes)):
                    if stopped.is_set():
                        return
                    if count % self.refresh_every == 0:
                        self._refresh()
                    rng = np.random.default_rng([self.seed, number])
                    pairs = [self._draw(rng) for _ in range(self.batch)]
                    put(make_batch(pairs, self.matches, rng, self.augment))
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
                self.position += self.processes
                yield item
        finally:
            stopped.set()
            thread.join()
