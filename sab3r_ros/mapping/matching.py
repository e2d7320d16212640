"""Matches between two views: reciprocal nearest neighbours of the network's descriptors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sab3r_ros.types import View

SEED_STRIDE = 3  # every third descriptor, in rows and columns, of view 1 looks for its match
RETURN_RADIUS = 1  # descriptors: the way back may miss the start by this much


@dataclass(frozen=True)
class Matches:
    """M matches. first, second: (M, 2) float pixels (u, v) in the pointmaps' resolution. weight: (M,) > 0, higher is surer."""

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.weight)


def nearest(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Index of the most similar key of each query. (Q, D), (N, D) unit vectors → (Q,).

    In bfloat16 blocks: a wrong neighbour among near-equals costs nothing, time does.
    """
    Q, N = torch.from_numpy(np.ascontiguousarray(queries)), torch.from_numpy(np.ascontiguousarray(keys)).T
    return torch.cat([(block @ N).argmax(1) for block in Q.split(1024)]).numpy()


def match_views(first: View, second: View) -> Matches:
    """Reciprocal matches of two views of one decoding (or of two own-frame views of a monocular model)."""
    h, w, _ = first.descriptors.shape
    start = np.arange(h * w).reshape(h, w)[::SEED_STRIDE, ::SEED_STRIDE].ravel()
    A, B = (v.descriptors.reshape(-1, v.descriptors.shape[-1]) for v in (first, second))
    there = nearest(A[start], B)
    unique, position = np.unique(there, return_inverse=True)
    back = nearest(B[unique], A)[position.ravel()]
    near = np.maximum(np.abs(back // w - start // w), np.abs(back % w - start % w)) <= RETURN_RADIUS
    start, there = start[near], there[near]
    confidence = np.sqrt(
        first.descriptor_confidence.ravel()[start] * second.descriptor_confidence.ravel()[there]
    )
    return Matches(
        pixels(start, first), pixels(there, second), np.maximum(confidence.astype(np.float64), 1e-6)
    )


def pixels(index: np.ndarray, view: View) -> np.ndarray:
    """Flat descriptor indices → (M, 2) pixels (u, v) of the pointmap's resolution, at the descriptors' centres."""
    h, w, _ = view.descriptors.shape
    H, W = view.size  # a lazy view knows it without computing points
    return np.stack([(index % w + 0.5) * (W / w) - 0.5, (index // w + 0.5) * (H / h) - 0.5], 1)


def points_at(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Pointmap values at (M, 2) pixels: the nearest pixel's (interpolation would bridge depth edges). (M, 3) float64."""
    H, W, _ = points.shape
    u = np.clip(np.round(uv[:, 0]).astype(int), 0, W - 1)
    v = np.clip(np.round(uv[:, 1]).astype(int), 0, H - 1)
    return points[v, u].astype(np.float64)
