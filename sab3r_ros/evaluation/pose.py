"""Relative poses of a few images of one scene (the paper's table of Co3Dv2), as the mapper would take them.

The images alone are given, without intrinsics. All pairs are matched and aligned in one window; where the images fall into
parts that nothing joins, pairs across parts have no pose and count as missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.evaluation.pose_metrics import pose_errors
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.window import Window
from sab3r_ros.model.feature_model import FeatureModel


@dataclass(frozen=True)
class PoseScene:
    """name: for people. group: scenes that are averaged first, Co3D's categories. T_WC: (N, 4, 4) rigid, world from camera
    (RDF). load: k → (H, W, 3) uint8 RGB."""

    name: str
    group: str
    T_WC: np.ndarray
    load: Callable[[int], np.ndarray]


@dataclass(frozen=True)
class PoseResult:
    """errors: (P, 2) degrees of each pair i < j, rotation and direction, infinite without a pose. still: the same of the
    guess that nothing has moved. seconds, cpu_seconds: a frame's share of the scene's."""

    errors: np.ndarray
    still: np.ndarray
    seconds: float
    cpu_seconds: float


def estimate_poses(
    model: FeatureModel, images: list[np.ndarray], config: AlignmentConfig, seed: int
) -> list[dict[int, Sim3]]:
    """The images' parts that matches join; in each, T_Vk of its images k in a frame of its own. Raises ImageError."""
    window = Window(model, config)
    for k, image in enumerate(images):
        prepared, _ = model.prepare(image)
        window.add(Keyframe(k, float(k), prepared, None, model.encode(prepared)))
    rng, parts, whole = np.random.default_rng(seed), [], window.keyframes
    while whole:
        window.keyframes = whole
        parts.append(window.solve(rng))
        whole = [k for k in whole if k.id not in parts[-1]]
    return parts


def relative_poses(parts: list[dict[int, Sim3]]) -> dict[tuple[int, int], Sim3]:
    """T_ij of all pairs i < j that share a part."""
    return {(i, j): part[i].inverse() @ part[j] for part in parts for i, j in combinations(sorted(part), 2)}


def judge_poses(model: FeatureModel, scene: PoseScene, config: AlignmentConfig, seed: int) -> PoseResult:
    """Raises ImageError if an image cannot be used."""
    images = [scene.load(k) for k in range(len(scene.T_WC))]
    began, cpu_began = time.perf_counter(), time.process_time()
    guesses = relative_poses(estimate_poses(model, images, config, seed))
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    errors, still = [], []
    for i, j in combinations(range(len(images)), 2):
        truth = np.linalg.inv(scene.T_WC[i]) @ scene.T_WC[j]
        errors.append(pose_errors(guesses.get((i, j)), truth))
        still.append(pose_errors(Sim3.identity(), truth))
    n = len(images)
    return PoseResult(np.array(errors), np.array(still), seconds / n, cpu_seconds / n)
