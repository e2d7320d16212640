"""Matches between two views: reciprocal nearest neighbours of the network's descriptors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sab3r_ros.types import View

SEED_STRIDE = 3  # every third descriptor, in rows and columns, of view 1 looks for its match
COARSE_STRIDE = 2  # first among every second descriptor of the other view, then around the best one
RETURN_RADIUS = 1  # descriptors: the way back may miss the start by this much
EDGE = 0.05  # log ratio of distances between neighbouring pixels beyond which they are two surfaces
BLOCK = 64  # queries at a time: their similarities stay in the cache


@dataclass(frozen=True)
class Matches:
    """M matches. first, second: (M, 2) float pixels (u, v) in the pointmaps' resolution. weight: (M,) > 0, higher is surer."""

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.weight)


def nearest(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Index of the most similar key of each query. (Q, D), (N, D) unit vectors → (Q,)."""
    blocks = range(0, len(queries), BLOCK)
    return np.concatenate([(queries[k : k + BLOCK] @ keys.T).argmax(1) for k in blocks] or [np.zeros(0, int)])


def nearest_in_map(queries: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
    """Flat index of the most similar descriptor of each query: among every second one first, then next to it.

    queries (Q, D), descriptors (H', W', D): unit vectors that change little from one pixel to the next. A quarter of the
    cost of looking at all of them.
    """
    h, w, d = descriptors.shape
    coarse = descriptors[::COARSE_STRIDE, ::COARSE_STRIDE]
    best = nearest(queries, np.ascontiguousarray(coarse).reshape(-1, d))
    rows, columns = (COARSE_STRIDE * i for i in np.divmod(best, coarse.shape[1]))
    near = np.arange(1 - COARSE_STRIDE, COARSE_STRIDE)
    rows = np.clip(rows[:, None, None] + near[:, None], 0, h - 1)
    around = (rows * w + np.clip(columns[:, None, None] + near, 0, w - 1)).reshape(len(queries), -1)
    likeness = np.einsum("qd,qnd->qn", queries, descriptors.reshape(-1, d)[around])
    return around[np.arange(len(queries)), likeness.argmax(1)]


def between_descriptors(queries: np.ndarray, view: View, index: np.ndarray) -> np.ndarray:
    """(Q, 2) pixels (u, v) near the view's descriptors `index` where the likeness to the queries peaks.

    Along rows and columns the peak of the parabola through the nearest descriptor and its neighbours; none at the border.
    """
    h, w, d = view.descriptors.shape
    flat, (rows, columns) = view.descriptors.reshape(-1, d), np.divmod(index, w)
    here, uv = np.einsum("qd,qd->q", queries, flat[index]), pixels(index, view)
    for axis, (at, size, step) in enumerate(((columns, w, 1), (rows, h, w))):
        inner = np.flatnonzero((at > 0) & (at < size - 1))
        before, after = (np.einsum("qd,qd->q", queries[inner], flat[index[inner] + n]) for n in (-step, step))
        bend = np.maximum(2 * here[inner] - before - after, 1e-9)
        uv[inner, axis] += np.clip((after - before) / (2 * bend), -0.5, 0.5) * (view.size[1 - axis] / size)
    return uv


def match_views(first: View, second: View) -> Matches:
    """Reciprocal matches of two views of one decoding (or of two own-frame views of a monocular model)."""
    h, w, d = first.descriptors.shape
    start = np.arange(h * w).reshape(h, w)[::SEED_STRIDE, ::SEED_STRIDE].ravel()
    A, B = (v.descriptors.reshape(-1, d) for v in (first, second))
    there = nearest_in_map(A[start], second.descriptors)
    unique, position = np.unique(there, return_inverse=True)
    back = nearest_in_map(B[unique], first.descriptors)[position.ravel()]
    near = np.maximum(np.abs(back // w - start // w), np.abs(back % w - start % w)) <= RETURN_RADIUS
    start, there = start[near], there[near]
    confidence = np.sqrt(
        first.descriptor_confidence.ravel()[start] * second.descriptor_confidence.ravel()[there]
    )
    return Matches(
        pixels(start, first),
        between_descriptors(A[start], second, there),
        np.maximum(confidence.astype(np.float64), 1e-6),
    )


def pixels(index: np.ndarray, view: View) -> np.ndarray:
    """Flat descriptor indices → (M, 2) pixels (u, v) of the pointmap's resolution, at the descriptors' centres."""
    h, w, _ = view.descriptors.shape
    H, W = view.size  # a lazy view knows it without computing points
    return np.stack([(index % w + 0.5) * (W / w) - 0.5, (index // w + 0.5) * (H / h) - 0.5], 1)


def points_at(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Pointmap values at (M, 2) pixels, between pixels too: (M, 3) float64.

    Directions change smoothly over an image and are interpolated. Distances are where they are smooth (their inverse, which
    is linear on a plane); the nearest pixel's counts where interpolation would bridge an edge.
    """
    H, W, _ = points.shape
    u, v = np.clip(uv[:, 0], 0, W - 1), np.clip(uv[:, 1], 0, H - 1)
    left, top = np.minimum(u.astype(int), W - 2), np.minimum(v.astype(int), H - 2)
    a, b = u - left, v - top
    share = np.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b], 1)
    corners = points.reshape(-1, 3)[(top * W + left)[:, None] + [0, 1, W, W + 1]].astype(np.float64)
    near = np.maximum(np.linalg.norm(corners, axis=2), 1e-9)
    rays = ((share / near)[..., None] * corners).sum(1)
    nearest = near[np.arange(len(uv)), share.argmax(1)]
    smooth = 1 / (share / near).sum(1)
    distance = np.where(np.abs(np.log(smooth / nearest)) < EDGE, smooth, nearest)
    return rays * (distance / np.maximum(np.linalg.norm(rays, axis=1), 1e-9))[:, None]
