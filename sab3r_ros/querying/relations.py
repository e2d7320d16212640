"""Where things are in relation to each other: degrees 0..1 from their voxels. The map's z axis points up."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

CONTACT_M = 0.12  # gap that still counts as touching: a few voxels and the pointmap's error
NEAR_M = 0.6  # gap up to which things are fully "near" …
FAR_M = 1.6  # … and beyond which not at all
GAP_POINTS = 2000  # of a thing, spread over it: its surface to a few centimetres


def falling(value: float, full: float, none: float) -> float:
    """1 up to `full`, 0 from `none` on, straight between."""
    return float(np.clip((none - value) / (none - full), 0, 1))


def gap(a: np.ndarray, b: np.ndarray, most: int = GAP_POINTS) -> float:
    """Smallest distance between two sets of points (N, 3) and (M, 3), metres; `most` of each are looked at."""
    few, many = (p[:: max(1, len(p) // most)] for p in ((a, b) if len(a) < len(b) else (b, a)))
    low, high = few.min(0), few.max(0)
    reach = np.linalg.norm(np.clip(many, low, high) - many, axis=1)  # to the box of the few: a lower bound
    close = many[reach <= reach.min() + np.linalg.norm(high - low)]
    return float(cKDTree(few).query(close)[0].min())


def on_degree(thing: np.ndarray, anchor: np.ndarray) -> float:
    """Touching, and not from below: the thing's middle lies above the part of the anchor that is nearest to it."""
    reach = 3 * CONTACT_M
    around = ((anchor >= thing.min(0) - reach) & (anchor <= thing.max(0) + reach)).all(1)
    if not around.any():
        return 0.0
    anchor = anchor[around]
    distance, nearest = cKDTree(anchor).query(thing)
    touching = anchor[nearest[distance <= distance.min() + CONTACT_M / 2]]
    higher = float(np.median(thing[:, 2]) - touching[:, 2].min())
    return falling(float(distance.min()), CONTACT_M, reach) * falling(-higher, 0.02, 0.15)


def overlap(thing: np.ndarray, anchor: np.ndarray) -> float:
    """Share of the thing's ground plan that lies in the anchor's, as boxes along the map's axes."""
    low, high = np.quantile(anchor[:, :2], [0.02, 0.98], axis=0)
    return float(((thing[:, :2] >= low - CONTACT_M) & (thing[:, :2] <= high + CONTACT_M)).all(1).mean())


def above_degree(thing: np.ndarray, anchor: np.ndarray) -> float:
    """The thing's middle is higher than the anchor's, and over it."""
    higher = float(np.median(thing[:, 2]) - np.median(anchor[:, 2]))
    return falling(-higher, 0.0, 0.1) * min(1.0, 2 * overlap(thing, anchor))


def under_degree(thing: np.ndarray, anchor: np.ndarray) -> float:
    """The thing is mostly below the anchor's top part, and its ground plan is covered by it."""
    top = float(np.quantile(anchor[:, 2], 0.9))
    lower = top - float(np.quantile(thing[:, 2], 0.8))
    return falling(-lower, -0.05, 0.1) * min(1.0, 2 * overlap(thing, anchor))


def inside_degree(thing: np.ndarray, anchor: np.ndarray) -> float:
    """Share of the thing that lies in the anchor's box, a half or more counts fully."""
    low, high = np.quantile(anchor, [0.01, 0.99], axis=0)
    inside = ((thing >= low - CONTACT_M / 2) & (thing <= high + CONTACT_M / 2)).all(1).mean()
    return float(min(1.0, 2 * inside))


def near_degree(thing: np.ndarray, anchor: np.ndarray) -> float:
    return falling(gap(thing, anchor), NEAR_M, FAR_M)


def between_degree(thing: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """How little the way from one anchor's middle to the other's grows by a stop at the thing."""
    a, t, b = first.mean(0), thing.mean(0), second.mean(0)
    direct = float(np.linalg.norm(b - a))
    detour = float(np.linalg.norm(t - a) + np.linalg.norm(b - t)) - direct
    return falling(detour / max(direct, 0.1), 0.1, 0.6)


def seen_degree(side: str, thing: np.ndarray, anchor: np.ndarray, eye: np.ndarray) -> float:
    """side: "front", "behind", "left" or "right" of the anchor, near it, as seen from a point `eye` (3,)."""
    ahead = (anchor.mean(0) - eye)[:2]
    ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-6)
    left = np.array([-ahead[1], ahead[0]])
    toward = {"front": -ahead, "behind": ahead, "left": left, "right": -left}[side]
    offset = (thing.mean(0) - anchor.mean(0))[:2]
    angle = float(np.arccos(np.clip(toward @ offset / max(float(np.linalg.norm(offset)), 1e-6), -1, 1)))
    return falling(angle, np.pi / 4, np.pi / 2) * near_degree(thing, anchor)


DEGREES = {
    "on": on_degree,
    "above": above_degree,
    "under": under_degree,
    "in": lambda thing, anchor: max(inside_degree(thing, anchor), on_degree(thing, anchor)),
    "near": near_degree,
}
SIDES = ("front", "behind", "left", "right")
