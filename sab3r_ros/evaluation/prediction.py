"""From the images of a group alone to a point and a label for every pixel (paper Sec. 3), through the project's own alignment.

Each view's own-frame pointmap is placed by descriptor matches and a robust Sim(3), as the mapper's window does it; a two-view
network decodes each pair for that. Intrinsics are never given. A view that no pair could place predicts nothing: true points
that only it sees then take the label of whatever is nearest.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.errors import QueryError
from sab3r_ros.evaluation.labels import VOID
from sab3r_ros.evaluation.scenes import LabelledView
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.window import Window
from sab3r_ros.model.feature_model import FeatureModel
from sab3r_ros.types import View

REFERENCE = 0  # the view of a group whose true depth and pose are given after the prediction


@dataclass(frozen=True)
class Prediction:
    """views: own-frame, as the network says. T_Vk: where they stand in one frame V, None = not placed; the reference always is.

    seconds, cpu_seconds: of encoding and placing, a view.
    """

    views: tuple[View, ...]
    T_Vk: tuple[Sim3 | None, ...]
    seconds: float
    cpu_seconds: float


def predict(model: FeatureModel, images: Sequence[np.ndarray], seed: int) -> Prediction:
    """Raises QueryError if the network has no language head."""
    if not model.language:
        raise QueryError("the network has no language head: it can map, but not locate")
    wall, cpu = time.perf_counter(), time.process_time()
    window = Window(model, AlignmentConfig())
    for k, image in enumerate(images):
        prepared, _ = model.prepare(image)
        window.add(Keyframe(k, float(k), prepared, None, model.encode(prepared)))
    poses = window.solve(np.random.default_rng(seed))
    views = tuple(window.view(keyframe) for keyframe in window.keyframes)
    count = len(images)
    return Prediction(
        views,
        tuple(poses.get(k) for k in range(count)),
        (time.perf_counter() - wall) / count,
        (time.process_time() - cpu) / count,
    )


def grid_step(height: int, width: int, most: int) -> int:
    """Stride of a regular pixel grid with at most `most` points, about."""
    return max(1, int(np.ceil(np.sqrt(height * width / most))))


def place_in_world(prediction: Prediction, truth: LabelledView, model: FeatureModel) -> Sim3:
    """T_WV from the reference view's true depth and pose.

    Reading taken of "use one ground truth image's depth and pose for scaling and alignment": the median ratio of true to
    predicted depth is the scale, the true pose is the frame. Intrinsics are not given, so a wrong focal length shows.
    """
    view = prediction.views[REFERENCE]
    _, A = model.prepare(truth.image, np.eye(3))  # a camera image's pixels → the network's
    h, w = view.size
    rows, columns = np.mgrid[:h:2, :w:2].reshape(2, -1)
    uv = (np.stack([columns, rows], 1) - A[:2, 2]) / np.diag(A)[:2]
    H, W = truth.depth.shape
    u = np.clip(np.round(uv[:, 0]).astype(int), 0, W - 1)
    v = np.clip(np.round(uv[:, 1]).astype(int), 0, H - 1)
    true, guess = truth.depth[v, u].astype(np.float64), view.points[rows, columns, 2].astype(np.float64)
    valid = (true > 0) & (guess > 1e-3)
    scale = float(np.median(true[valid] / guess[valid])) if valid.any() else 1.0
    T_VR = prediction.T_Vk[REFERENCE]
    T_WR = Sim3(scale, truth.T_WC[:3, :3], truth.T_WC[:3, 3])
    return T_WR @ T_VR.inverse()


def classify(features: np.ndarray, directions: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, D) stored features, (D, C) basisᵀ @ text vectors → (H, W) class of the highest cosine.

    Void where a pixel says nothing. Cosines are interpolated to the pointmap's pixels (features come coarser).
    """
    cosines = torch.from_numpy(features.astype(np.float32) @ directions).permute(2, 0, 1)[None]
    if cosines.shape[-2:] != size:
        cosines = F.interpolate(cosines, size, mode="bilinear", align_corners=False)
    classes = cosines[0].argmax(0).numpy()
    return np.where((cosines[0] == 0).all(0).numpy(), VOID, classes).astype(np.int16)


def labelled_points(
    prediction: Prediction, T_WV: Sim3, directions: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """All placed views' world points (N, 3) float64 and classes (N,) int16, on a grid of at most `most` pixels a view."""
    X, labels = [], []
    for view, T_Vk in zip(prediction.views, prediction.T_Vk, strict=True):
        if T_Vk is None:
            continue
        step = grid_step(*view.size, most)
        points = view.points[::step, ::step].reshape(-1, 3).astype(np.float64)
        classes = classify(view.features, directions, view.size)[::step, ::step].ravel()
        good = np.isfinite(points).all(1) & (points[:, 2] > 1e-3)
        X.append((T_WV @ T_Vk).apply(points[good]))
        labels.append(classes[good])
    return np.concatenate(X), np.concatenate(labels)
