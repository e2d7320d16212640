"""Pinhole cameras: rays, focal lengths from pointmaps, pointmaps on known rays."""

from __future__ import annotations

import numpy as np

FOCAL_STRIDE = 4  # pixels: every so many tell the focal length


def pixel_grid(height: int, width: int) -> np.ndarray:
    """(H, W, 2) pixel centres (u, v); integers are centres."""
    u, v = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([u, v], -1)


def pinhole(focal: float, height: int, width: int) -> np.ndarray:
    """(3, 3) intrinsics with the principal point at the centre of the image."""
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def focal_from_pointmap(points: np.ndarray, confidence: np.ndarray, rounds: int = 8) -> float:
    """Focal length in pixels that best explains an own-frame pointmap (Weiszfeld's L1, as DUSt3R has it), by some of it.

    points: (H, W, 3) RDF. confidence: (H, W) ≥ 1 weighs. The principal point is taken to be the centre.
    Returns NaN if no point lies in front of the camera.
    """
    h, w = confidence.shape
    some = np.s_[::FOCAL_STRIDE, ::FOCAL_STRIDE]
    uv = (pixel_grid(h, w)[some] - [(w - 1) / 2, (h - 1) / 2]).reshape(-1, 2)
    X, confidence = points[some].reshape(-1, 3), confidence[some]
    front = X[:, 2] > 1e-6
    if not front.any():
        return float("nan")
    uv, xy, c = uv[front], X[front, :2] / X[front, 2:], confidence.reshape(-1)[front]
    weight = c.astype(float)
    for _ in range(rounds):
        focal = float((weight * (uv * xy).sum(1)).sum() / max((weight * (xy**2).sum(1)).sum(), 1e-12))
        weight = c / np.maximum(np.linalg.norm(uv - focal * xy, axis=1), 1e-3)
    return focal


def on_rays(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    """The pointmap with its depths kept and its points moved onto the rays of K. (H, W, 3) → the same, float32."""
    h, w = points.shape[:2]
    z, out = points[..., 2].astype(np.float32), np.empty((h, w, 3), np.float32)
    np.multiply(z, ((np.arange(w) - K[0, 2]) / K[0, 0]).astype(np.float32), out=out[..., 0])
    np.multiply(z, ((np.arange(h) - K[1, 2]) / K[1, 1]).astype(np.float32)[:, None], out=out[..., 1])
    out[..., 2] = z
    return out


def project(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(..., 3) camera points → (..., 2) pixels; NaN behind the camera."""
    z = np.where(points[..., 2:] > 1e-6, points[..., 2:], np.nan)
    return points[..., :2] / z * [K[0, 0], K[1, 1]] + K[:2, 2]
