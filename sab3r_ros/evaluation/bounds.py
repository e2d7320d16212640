"""The two ends of the scale as feature models, through the same seam as every network: one knows all, one knows nothing.

Both are made for one group of views, and recognise its images when they are asked to encode them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from sab3r_ros.evaluation.labels import VOID
from sab3r_ros.evaluation.scenes import LabelledView
from sab3r_ros.geometry.camera import pinhole
from sab3r_ros.model.preprocess import fit
from sab3r_ros.querying.text import TextEncoder
from sab3r_ros.types import View

LONG_SIDE, MULTIPLE = 256, 32  # as the embedded network has them
STRIDE, CHANCE_STRIDE = 4, 16  # pixels a descriptor: true ones need not be dense, others are in vain
DESCRIPTOR_DIM = 24
WAVES_PER_M = 3.0  # standard deviation of the oracle's descriptor frequencies, radians a metre
WALL_M = 2.0


class Bound:
    """What both share. The language vector of a pixel is the caption vector of its class."""

    monocular = True

    def __init__(
        self, identity: str, views: Sequence[LabelledView], classes: Sequence[str], text: TextEncoder
    ) -> None:
        self.identity, self.language = identity, text.space
        self.feature_basis = np.ascontiguousarray(text.encode(list(classes)).T)
        self.classes = len(classes)
        self._views = {self.prepare(v.image)[0].tobytes(): v for v in views}

    def prepare(self, image: np.ndarray, K: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        return fit(image, K, LONG_SIDE, MULTIPLE, as_published=False)

    def decode(self, first: View, second: View) -> tuple[View, View]:
        return first, second

    def one_hot(self, labels: np.ndarray) -> np.ndarray:
        """(h, w) → (h, w, C) float16; a void pixel says nothing."""
        return np.eye(self.classes + 1, dtype=np.float16)[np.where(labels == VOID, self.classes, labels)][
            ..., :-1
        ]


class Oracle(Bound):
    """The true points in each camera's frame, the true labels, and descriptors that are functions of the true place.

    What it misses of a perfect score is the protocol's own: void pixels, the grid, the alignment.
    """

    def encode(self, image: np.ndarray) -> View:
        truth = self._views[image.tobytes()]
        h, w = image.shape[:2]
        _, A = self.prepare(truth.image, np.eye(3))
        rows, columns = np.mgrid[:h, :w].astype(np.float32)
        maps = [((g - A[k, 2]) / A[k, k]).astype(np.float32) for g, k in ((columns, 0), (rows, 1))]
        depth = cv2.remap(truth.depth, *maps, cv2.INTER_NEAREST)
        labels = cv2.remap(truth.labels, *maps, cv2.INTER_NEAREST, borderValue=VOID)
        K = A @ truth.K
        xy = (np.stack([columns, rows], -1) - K[:2, 2]) / [K[0, 0], K[1, 1]]
        points = np.concatenate([xy * depth[..., None], depth[..., None]], -1).astype(np.float32)
        middle = points[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        world = middle @ truth.T_WC[:3, :3].T + truth.T_WC[:3, 3]
        waves = np.random.default_rng(0).normal(0, WAVES_PER_M, (3, DESCRIPTOR_DIM // 2))
        phase = world @ waves
        descriptors = np.concatenate([np.cos(phase), np.sin(phase)], -1) / np.sqrt(DESCRIPTOR_DIM / 2)
        known = np.where(middle[..., 2] > 0, 1.0, 1e-6)
        return View(
            points,
            np.where(depth > 0, 2, 1).astype(np.float32),
            descriptors.astype(np.float32),
            known.astype(np.float32),
            self.one_hot(labels),
        )


class Chance(Bound):
    """A flat wall before the camera, a class drawn for each pixel, descriptors that match nothing."""

    def encode(self, image: np.ndarray) -> View:
        h, w = image.shape[:2]
        rng = np.random.default_rng(np.frombuffer(image.tobytes()[:4096], np.uint32))
        K = pinhole(float(w), h, w)
        rows, columns = np.mgrid[:h, :w]
        xy = (np.stack([columns, rows], -1) - K[:2, 2]) / K[0, 0]
        points = np.concatenate([xy, np.ones((h, w, 1))], -1).astype(np.float32) * WALL_M
        descriptors = rng.normal(size=(h // CHANCE_STRIDE, w // CHANCE_STRIDE, DESCRIPTOR_DIM)).astype(
            np.float32
        )
        descriptors /= np.linalg.norm(descriptors, axis=-1, keepdims=True)
        ones = np.ones((h, w), np.float32)
        labels = rng.integers(0, self.classes, (h, w))
        return View(points, ones, descriptors, ones[::CHANCE_STRIDE, ::CHANCE_STRIDE], self.one_hot(labels))
