"""The report's pictures: surfaces with one object lit, and features as colours (paper Fig. 5, 7 and 8)."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from sab3r_ros.evaluation.examples import Surface
from sab3r_ros.viz.render import Parallel

PANEL, CUT = (760, 560), (240, 240)  # (width, height), pixels: of a scene, and of an object alone
THUMBNAIL = 200  # pixels wide
SAMPLES = 2  # rays a pixel and side
TILT_RAD = 0.45  # the eye stands above the reference camera and looks down by this much more
TRUTH, GUESS = (214, 40, 57), (22, 145, 85)  # red and green, as in the paper
PALE = 0.5  # of everything else
AMBIENT = 0.55  # of the light; the rest comes from the eye


def eye_of(T_WC: np.ndarray) -> np.ndarray:
    """(3, 3) axes (right, down, away) of an eye above a camera."""
    right, down, away = T_WC[:3, :3].T
    c, s = np.cos(TILT_RAD), np.sin(TILT_RAD)
    return np.stack([right, c * down - s * away, c * away + s * down])


def framing(R: np.ndarray, points: np.ndarray, size: tuple[int, int]) -> Parallel:
    """Fits the picture around (N, 3) points, but for their strays. R: axes of the eye. size: width, height."""
    flat = points @ R.T
    low, high = np.percentile(flat, [1, 99], axis=0) if len(flat) else (np.zeros(3), np.zeros(3))
    return Parallel.fitted(R, points[((flat >= low) & (flat <= high)).all(1)], *size, margin=0.05)


def draw(view: Parallel, surface: Surface, colors: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8 RGB: rays through the surface's triangles, lit from the eye, on white. colors: (N, 3) uint8."""
    import open3d as o3d

    h, w = SAMPLES * view.height, SAMPLES * view.width
    u, v = np.meshgrid((np.arange(w) + 0.5) / SAMPLES - 0.5, (np.arange(h) + 0.5) / SAMPLES - 0.5)
    flat = (np.stack([u, v], -1) - view.offset) / view.scale
    start = flat @ view.R[:2] + (view.depth(surface.points).min() - 1) * view.R[2]
    rays = np.concatenate([start, np.broadcast_to(view.R[2], start.shape)], -1).astype(np.float32)
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(surface.points.astype(np.float32), surface.faces.astype(np.uint32))
    hit = {k: x.numpy() for k, x in scene.cast_rays(o3d.core.Tensor(rays)).items()}
    image = np.full((h, w, 3), 255, np.float32)
    seen = np.isfinite(hit["t_hit"])
    corner = surface.faces[hit["primitive_ids"][seen].astype(np.int64)]
    b = hit["primitive_uvs"][seen]
    weights = np.stack([1 - b.sum(1), b[:, 0], b[:, 1]], 1)
    light = AMBIENT + (1 - AMBIENT) * np.abs(hit["primitive_normals"][seen] @ view.R[2].astype(np.float32))
    image[seen] = np.einsum("nk,nkc->nc", weights, colors[corner].astype(np.float32)) * light[:, None]
    return cv2.resize(image, (view.width, view.height), interpolation=cv2.INTER_AREA).astype(np.uint8)


def highlighted(surface: Surface, label: int, color: tuple[int, int, int]) -> np.ndarray:
    """(N, 3) uint8: the class in its colour, the rest paler."""
    own = surface.labels == label
    grey = surface.colors.astype(np.float32).mean(1, keepdims=True)
    rest = PALE * (0.6 * surface.colors + 0.4 * grey) + (1 - PALE) * 238
    lit = 0.3 * grey + 0.85 * np.array(color, np.float32)
    return np.clip(np.where(own[:, None], lit, rest), 0, 255).astype(np.uint8)


def only(surface: Surface, label: int) -> Surface:
    """The part of a surface that is of a class."""
    inside = (surface.labels == label)[surface.faces].all(1)
    return Surface(surface.points, surface.colors, surface.labels, surface.faces[inside])


def feature_colors(features: np.ndarray) -> np.ndarray:
    """(N, L) language vectors → (N, 3) uint8: three principal components, each stretched from its 2nd to its 98th percentile."""
    sample = features[:: max(1, len(features) // 20_000)].astype(np.float64)
    mean = sample.mean(0)
    _, vectors = np.linalg.eigh(np.cov((sample - mean).T))
    axes = vectors[:, :-4:-1]  # the three largest
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), range(3)])  # a component's sign is arbitrary: fix it
    values = (features - mean) @ axes
    low, high = np.percentile(values, [2, 98], axis=0)
    return (30 + 210 * np.clip((values - low) / np.maximum(high - low, 1e-9), 0, 1)).astype(np.uint8)


def thumbnail(image: np.ndarray) -> np.ndarray:
    height = round(image.shape[0] * THUMBNAIL / image.shape[1])
    return cv2.resize(image, (THUMBNAIL, height), interpolation=cv2.INTER_AREA)


def data_uri(image: np.ndarray) -> str:
    """An RGB image as a page can hold it."""
    _, data = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 90])
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode()
