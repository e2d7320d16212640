"""Which groups a report shows, and what was predicted there: chosen by rule, predicted anew (the same seed gives the same)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from sab3r_ros.config import MapAndLocateConfig
from sab3r_ros.evaluation.data_sets import DataSet
from sab3r_ros.evaluation.groups import unprojected
from sab3r_ros.evaluation.prediction import classify, grid_step, place_in_world, predict
from sab3r_ros.evaluation.runner import score_from_json
from sab3r_ros.evaluation.scenes import LabelledView
from sab3r_ros.evaluation.systems import System

SUCCESSES = 3
LEAST_IOU = 0.25  # of a success; what is less is a failure
BACKGROUND = ("wall", "floor", "ceiling")  # not objects
PIXELS = 80_000  # most vertices a view
HOLE = 7  # pixels
EDGE = 1.08  # neighbouring pixels whose depths differ by a greater factor are not one surface
LEAST_SHARE, FAILED_SHARE = (
    0.02,
    0.06,
)  # of a group's true points: a smaller thing is no success, or no failure, to show


@dataclass(frozen=True)
class Choice:
    """A group of a scene and a class in it. iou: of the system that it was chosen by."""

    scene: str
    views: tuple[int, ...]
    label: int
    iou: float
    success: bool


@dataclass(frozen=True)
class Surface:
    """points (N, 3) world, metres; colors (N, 3) uint8; labels (N,) class or −1; faces (M, 3) between neighbouring pixels of a
    view; features (N, L) language vectors, of a prediction.
    """

    points: np.ndarray
    colors: np.ndarray
    labels: np.ndarray
    faces: np.ndarray
    features: np.ndarray | None = None


def choose(results: Sequence[dict], system: str, size: int) -> list[Choice]:
    """The best objects of as many classes and scenes, then the worst of the large ones if it is a failure."""
    found = []
    for result in results:
        classes = len(result["classes"])
        for group in result["groups"]:
            if len(group["views"]) != size:
                continue
            counts = score_from_json(group["rows"][system], classes).counts
            hit, truth, guess = np.diag(counts), counts.sum(1), counts[:, :classes].sum(0)
            for label in np.flatnonzero(truth >= LEAST_SHARE * max(truth.sum(), 1)):
                if result["classes"][label] in BACKGROUND:
                    continue
                iou = float(hit[label] / (truth[label] + guess[label] - hit[label]))
                share = truth[label] / truth.sum()
                found.append((iou, share, result["scene"], tuple(group["views"]), int(label)))
    found.sort(key=lambda f: (-f[0], f[2:]))
    chosen: list[Choice] = []
    for strict in (True, False):  # other classes and other scenes first, then whatever is good
        for iou, _, scene, views, label in found:
            new_class = all(c.label != label for c in chosen)
            new_scene = all(c.scene != scene for c in chosen)
            new_group = all((c.scene, c.views, c.label) != (scene, views, label) for c in chosen)
            if (
                iou >= LEAST_IOU
                and len(chosen) < SUCCESSES
                and (new_class and new_scene if strict else new_group)
            ):
                chosen.append(Choice(scene, views, label, iou, True))
    used = {(c.scene, c.label) for c in chosen}
    failures = [f for f in found if f[0] < LEAST_IOU and f[1] >= FAILED_SHARE and (f[2], f[4]) not in used]
    if failures:
        iou, _, scene, views, label = failures[-1]
        chosen.append(Choice(scene, views, label, iou, False))
    return chosen


def views_of(data: DataSet, choice: Choice) -> list[LabelledView]:
    scene = next(s for s in data.scenes if s.name == choice.scene)
    return [scene.load(k) for k in choice.views]


def grid_faces(depth: np.ndarray) -> np.ndarray:
    """(H, W) depths → (M, 3) triangles of flat pixel indices; none across depth edges or where there is no depth."""
    at = np.arange(depth.size).reshape(depth.shape)
    a, b, c, d = (x.ravel() for x in (at[:-1, :-1], at[:-1, 1:], at[1:, :-1], at[1:, 1:]))
    faces = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    z = depth.ravel()[faces]
    return faces[(z.min(1) > 1e-3) & (z.max(1) < EDGE * z.min(1))]


def joined(parts: list[tuple[np.ndarray, ...]]) -> Surface:
    """Views' points, colours, labels, faces and features, if any, as one surface."""
    start = np.cumsum([0, *(len(p[0]) for p in parts[:-1])])
    parts = [(*p[:3], p[3] + k, *p[4:]) for p, k in zip(parts, start, strict=True)]
    return Surface(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def true_surface(views: Sequence[LabelledView]) -> Surface:
    parts = []
    for view in views:
        step = grid_step(*view.depth.shape, PIXELS)
        # Sensors leave holes of a few pixels, which would leave no surface: closed, for the picture alone.
        closed = cv2.morphologyEx(view.depth, cv2.MORPH_CLOSE, np.ones((HOLE, HOLE)))
        view = replace(view, depth=np.where(view.depth > 0, view.depth, closed))
        depth = view.depth[::step, ::step]
        rows, columns = np.mgrid[: view.depth.shape[0] : step, : view.depth.shape[1] : step].reshape(2, -1)
        points = unprojected(view, rows, columns)
        parts.append((points, view.image[rows, columns], view.labels[rows, columns], grid_faces(depth)))
    return joined(parts)


def predicted_surface(
    views: Sequence[LabelledView], classes: Sequence[str], system: System, config: MapAndLocateConfig
) -> Surface:
    """Every placed view, with its language vectors."""
    model = system.model(views, classes)
    prediction = predict(model, [v.image for v in views], config.seed)
    T_WV = place_in_world(prediction, views[0], model)
    directions = model.feature_basis.T @ system.text.encode(list(classes)).T
    parts = []
    for truth, view, T_Vk in zip(views, prediction.views, prediction.T_Vk, strict=True):
        if T_Vk is None:
            continue
        image, _ = model.prepare(truth.image)
        step = grid_step(*view.size, PIXELS)
        points = np.nan_to_num(view.points[::step, ::step])
        h, w = points.shape[:2]
        language = view.features.astype(np.float32) @ model.feature_basis.T
        rows, columns = np.mgrid[:h, :w].reshape(2, -1)
        cell = rows * language.shape[0] // h, columns * language.shape[1] // w
        labels = classify(view.features, directions, view.size)[::step, ::step].ravel()
        world = (T_WV @ T_Vk).apply(points.reshape(-1, 3).astype(np.float64))
        colors = image[::step, ::step].reshape(-1, 3)
        parts.append((world, colors, labels, grid_faces(points[..., 2]), language[cell]))
    return joined(parts)
