"""How far relative camera poses are from the truth: RRA, RTA and mAA, as pose benchmarks on Co3D define them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sab3r_ros.geometry.sim3 import Sim3

MOST_DEG = 30  # mAA's last threshold
NO_MOTION = 1e-9  # metres or model units: a shorter way has no direction


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    """Between two vectors (3,), in 0..180; infinite if either has no length."""
    if min(np.linalg.norm(a), np.linalg.norm(b)) < NO_MOTION:
        return float("inf")
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def rotation_deg(A: np.ndarray, B: np.ndarray) -> float:
    """Angle of the rotation between two rotation matrices (3, 3), in 0..180."""
    R = A.T @ B
    axis = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    return float(np.degrees(np.arctan2(np.linalg.norm(axis), np.trace(R) - 1)))


def pose_errors(guess: Sim3 | None, truth: np.ndarray) -> tuple[float, float]:
    """Degrees between the rotations and between the directions of travel of two relative poses T_ij; truth (4, 4), rigid.

    Lengths are not compared: images do not tell them. Both infinite where there is no guess, the second also where guess
    or truth does not move.
    """
    if guess is None:
        return float("inf"), float("inf")
    return rotation_deg(guess.R, truth[:3, :3]), angle_deg(guess.t, truth[:3, 3])


@dataclass(frozen=True)
class PoseScore:
    """All in 0..1, over pairs. rra, rta: errors below 15 degrees. maa: mean over 1, 2 … 30 degrees of the share of pairs
    whose greater error is below. rta_either_sign: as rta, where the opposite direction is also right (as published code
    has it; it cannot lower a score). found: pairs with a pose. rotation_deg: median error of those, NaN if there are none.
    """

    rra: float
    rta: float
    rta_either_sign: float
    maa: float
    found: float
    rotation_deg: float
    pairs: int


def pose_score(errors: ArrayLike, threshold_deg: float = 15.0) -> PoseScore:
    """errors: (N, 2) degrees of `pose_errors`, infinite counts as missed. NaN figures if N = 0.

    mAA takes the direction with either sign, as the published figures do (PoseDiffusion's and DUSt3R's protocol).
    """
    errors = np.asarray(errors, float).reshape(-1, 2)
    if not len(errors):
        nan = float("nan")
        return PoseScore(nan, nan, nan, nan, nan, nan, 0)
    rotation, direction = errors.T
    folded = np.where(np.isfinite(direction), np.minimum(direction, np.abs(180 - direction)), direction)
    worst = np.maximum(rotation, folded)
    below = (worst[:, None] < np.arange(1, MOST_DEG + 1)).mean(0)
    found = np.isfinite(rotation)
    return PoseScore(
        float((rotation < threshold_deg).mean()),
        float((direction < threshold_deg).mean()),
        float((folded < threshold_deg).mean()),
        float(below.mean()),
        float(found.mean()),
        float(np.median(rotation[found])) if found.any() else float("nan"),
        len(errors),
    )
