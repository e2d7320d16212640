"""Points as an image: a z-buffer in NumPy, with the shading that lets an eye tell surfaces apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EMPTY = np.float32(np.inf)


@dataclass(frozen=True)
class Parallel:
    """A parallel projection. R: (3, 3), rows are the image's axes (right, down, away) in the map. scale: pixels a
    metre. offset: (2,) pixels of the map's origin. width, height: pixels.
    """

    R: np.ndarray
    scale: float
    offset: np.ndarray
    width: int
    height: int

    @classmethod
    def fitted(
        cls, R: np.ndarray, points: np.ndarray, width: int, height: int, margin: float = 0.06
    ) -> Parallel:
        """Scaled and shifted so that (N, 3) points fill the image but for a margin on each side."""
        flat = points @ R[:2].T
        low, high = (flat.min(0), flat.max(0)) if len(flat) else (np.full(2, -1.0), np.full(2, 1.0))
        room = np.array([width, height]) * (1 - 2 * margin)
        scale = float((room / np.maximum(high - low, 1e-3)).min())
        return cls(R, scale, np.array([width, height]) / 2 - (low + high) / 2 * scale, width, height)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) map points → (..., 2) pixels."""
        return points @ self.R[:2].T * self.scale + self.offset

    def depth(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) map points → (...) metres away from the eye, up to a constant."""
        return points @ self.R[2]


def looking(yaw: float, elevation: float) -> np.ndarray:
    """Axes of an eye that looks along `yaw` (radians from x to y) and down by `elevation`; z stays up in the image."""
    forward = np.array([np.cos(yaw) * np.cos(elevation), np.sin(yaw) * np.cos(elevation), -np.sin(elevation)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    return np.stack([right, np.cross(forward, right), forward])


def draw_points(view: Parallel, points: np.ndarray, colors: np.ndarray, size_m: float) -> np.ndarray:
    """(N, 3) points, (N, 3) uint8 colours → (H, W, 3) uint8: squares of size_m metres on white, nearest on top."""
    image = np.full((view.height, view.width, 3), 255, np.uint8)
    nearest = np.full((view.height, view.width), EMPTY)
    edge = int(np.clip(np.ceil(size_m * view.scale * 1.15), 1, 12))
    corner = np.round(view.pixels(points) - (edge - 1) / 2).astype(np.int64)
    depth = view.depth(points).astype(np.float32)
    far_first = np.argsort(-depth)
    corner, depth, colors = corner[far_first], depth[far_first], colors[far_first]
    for step in np.ndindex(edge, edge):
        u, v = (corner + step).T
        inside = (u >= 0) & (v >= 0) & (u < view.width) & (v < view.height)
        layer, layer_depth = np.zeros_like(image), np.full_like(nearest, EMPTY)
        layer[v[inside], u[inside]], layer_depth[v[inside], u[inside]] = colors[inside], depth[inside]
        closer = layer_depth < nearest
        image[closer], nearest[closer] = layer[closer], layer_depth[closer]
    return shade(image, nearest, size_m)


def shade(image: np.ndarray, depth: np.ndarray, size_m: float) -> np.ndarray:
    """Darken a pixel by how far its neighbours lie in front of it (eye-dome lighting)."""
    drawn = np.isfinite(depth)
    filled = np.where(drawn, depth, depth[drawn].max() if drawn.any() else 0)
    hidden = np.zeros_like(filled)
    for radius in (1, 3):
        for du, dv in ((radius, 0), (-radius, 0), (0, radius), (0, -radius)):
            hidden += np.clip(filled - np.roll(filled, (dv, du), (0, 1)), 0, 10 * size_m)
    light = np.where(drawn, np.exp(-hidden / (25 * size_m)), 1)
    return (image * light[..., None]).astype(np.uint8)
