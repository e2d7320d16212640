"""From which keyframes an object was seen: first, last and best view, with its outline in the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.types import LocatedObject, MapSnapshot

BUFFER = (96, 128)  # rows, columns of the depth buffer that decides what hides what
OCCLUSION_M = 0.15  # a point this much behind the nearest one of its pixel is hidden …
OCCLUSION_SHARE = 0.05  # … or this share of its distance
LEAST_VISIBLE = 0.2  # share of an object's points that makes a keyframe a view of it


@dataclass(frozen=True)
class ObjectViews:
    """keyframes: (V,) rows of the trajectory that see the object. first_seen_s, last_seen_s: their stamps, seconds.

    best: row of the trajectory where most of the object is seen at the largest size. mask: (H, W) bool, the object
    in the best view; its resolution is that of the depth buffer, its field of view the camera's.
    """

    keyframes: np.ndarray
    first_seen_s: float
    last_seen_s: float
    best: int
    mask: np.ndarray


def project(points: np.ndarray, T_WC: np.ndarray, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points (N, 3) → pixels (N, 2) and depths (N,) metres; a depth ≤ 0 lies behind the camera."""
    X = (points - T_WC[:3, 3]) @ T_WC[:3, :3]
    z = X[:, 2]
    safe = np.where(z > 1e-3, z, np.inf)
    return np.stack([X[:, 0] / safe * K[0, 0] + K[0, 2], X[:, 1] / safe * K[1, 1] + K[1, 2]], 1), z


def depth_buffer(points: np.ndarray, T_WC: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Nearest depth of each pixel, (BUFFER) float32, inf where nothing is; points are spread over 3×3 pixels."""
    h, w = BUFFER
    uv, z = project(points, T_WC, K)
    cell = np.floor(uv).astype(np.int64)
    inside = (z > 0.05) & (cell >= 0).all(1) & (cell[:, 0] < w) & (cell[:, 1] < h)
    buffer = np.full(h * w, np.inf, np.float32)
    np.minimum.at(buffer, cell[inside, 1] * w + cell[inside, 0], z[inside].astype(np.float32))
    return cv2.erode(buffer.reshape(h, w), np.ones((3, 3), np.uint8))


def views_of(snapshot: MapSnapshot, thing: LocatedObject, focal: float = 1.0) -> ObjectViews | None:
    """The keyframes that see an object, or None if none does.

    focal: the camera's focal length as a share of the image's width (0.8 at 64° of view across).
    """
    h, w = BUFFER
    K = np.array([[focal * w, 0, (w - 1) / 2], [0, focal * w, (h - 1) / 2], [0, 0, 1]])
    own = snapshot.points[thing.indices]
    seen, worth = [], []
    best_mask, best_worth = np.zeros(BUFFER, bool), -1.0
    for k, T_WC in enumerate(snapshot.trajectory.T_WC):
        uv, z = project(own, T_WC, K)
        inside = (z > 0.05) & (uv >= 0).all(1) & (uv < [w, h]).all(1)
        if inside.mean() < LEAST_VISIBLE:
            continue
        cell = np.floor(uv[inside]).astype(np.int64)
        nearest = depth_buffer(snapshot.points, T_WC, K)[cell[:, 1], cell[:, 0]]
        free = z[inside] <= nearest + np.maximum(OCCLUSION_M, OCCLUSION_SHARE * z[inside])
        visible = free.sum() / len(own)
        if visible < LEAST_VISIBLE:
            continue
        mask = np.zeros(BUFFER, np.uint8)
        mask[cell[free, 1], cell[free, 0]] = 1
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        seen.append(k)
        worth.append(visible * np.sqrt(mask.mean()))
        if worth[-1] > best_worth:
            best_mask, best_worth = mask.astype(bool), worth[-1]
    if not seen:
        return None
    stamps = snapshot.trajectory.stamps[seen]
    return ObjectViews(
        np.array(seen), float(stamps[0]), float(stamps[-1]), seen[int(np.argmax(worth))], best_mask
    )
