"""A walk through all rooms of a flat, round its loops and back: shortest ways that keep clear of furniture."""

from __future__ import annotations

import heapq

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from sab3r_ros.rooms.scene import Rng, Scene
from sab3r_ros.rooms.trajectory import is_free, look

CELL_M = 0.1
BODY_M = 0.25  # who carries the camera keeps this far from furniture where there is room
EYE_HEIGHT_M = 1.5
CROWDED_COST = 8.0  # a cell nearer than BODY_M to something counts so many times its length
SMOOTH_M = 0.3  # of the way; the view turns within about twice that
STEP_M, TURN_RAD = 0.25, np.deg2rad(12)  # at most one of each between two views, if `views` allows it


def tour(scene: Scene, rng: Rng, views: int) -> list[np.ndarray]:
    """`views` poses along the scene's tour, by a hand that looks about; fewer where the camera would touch something.

    Views are spread evenly over what moves and turns, so more views overlap more.
    """
    cost = clearance_cost(scene)
    legs = [shortest_way(cost, a, b) for a, b in zip(scene.tour[:-1], scene.tour[1:], strict=True)]
    way = np.concatenate([leg for leg in legs if len(leg)] or [np.zeros((0, 2))])
    if len(way) < 2:
        return []
    way = gaussian_filter1d(resampled(way, CELL_M / 2), SMOOTH_M / CELL_M, axis=0, mode="nearest")
    heading = gaussian_filter1d(np.gradient(way, axis=0), 2 * SMOOTH_M / CELL_M, axis=0, mode="nearest")
    path_m = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    pitch = np.full(len(way), -0.15)
    if scene.gaze is not None:
        heading = scene.gaze[:2] - way
        pitch = np.arctan2(scene.gaze[2] - EYE_HEIGHT_M, np.maximum(np.linalg.norm(heading, axis=1), 1.0))
    yaw = np.unwrap(np.arctan2(heading[:, 1], heading[:, 0]))
    yaw += rng.uniform(0.2, 0.5) * np.sin(path_m / rng.uniform(0.5, 0.9) + rng.uniform(0, 6))  # looks about
    pitch += 0.12 * np.sin(path_m / rng.uniform(0.6, 1.2) + rng.uniform(0, 6))
    effort = path_m / STEP_M + np.concatenate([[0], np.cumsum(np.abs(np.diff(yaw)))]) / TURN_RAD
    poses = []
    for at in np.linspace(0, effort[-1], views):
        x, y, a, b = (np.interp(at, effort, v) for v in (way[:, 0], way[:, 1], yaw, pitch))
        eye = np.array([x, y, EYE_HEIGHT_M + rng.normal(0, 0.02)])
        if is_free(scene, eye):
            forward = np.array([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), np.sin(b)])
            poses.append(look(eye, forward, rng.normal(0, 0.02)))
    return poses


def clearance_cost(scene: Scene) -> np.ndarray:
    """Price of each cell of the floor, (X, Y): 1 where free, CROWDED_COST near things, inf where no camera may be."""
    shape = np.ceil(scene.size[:2] / CELL_M).astype(int)
    centers = (np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) + 0.5) * CELL_M
    flat = centers.reshape(-1, 2)
    walkable = np.array([is_free(scene, np.array([*xy, EYE_HEIGHT_M])) for xy in flat]).reshape(shape)
    standing = np.zeros(shape, bool)
    for o in scene.obstacles:
        standing |= (np.abs(centers - o.center) < o.half).all(-1)
    distance = cv2.distanceTransform((walkable & ~standing).astype(np.uint8), cv2.DIST_L2, 3) * CELL_M
    return np.where(walkable, np.where(distance < BODY_M, CROWDED_COST, 1.0), np.inf)


def shortest_way(cost: np.ndarray, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Cheapest way between the free cells nearest to two points (2,): (N, 2) metres; empty if there is none (Dijkstra)."""
    free = np.argwhere(np.isfinite(cost))
    if not len(free):
        return np.zeros((0, 2))
    centers = (free + 0.5) * CELL_M
    open_air = cost[tuple(free.T)] > 1  # rather a cell that is not crowded
    first, last = (
        tuple(free[(np.linalg.norm(centers - p, axis=1) + open_air).argmin()].tolist()) for p in (start, goal)
    )
    best, before = {first: 0.0}, {}
    queue = [(0.0, first)]
    while queue:
        price, here = heapq.heappop(queue)
        if here == last:
            break
        if price > best[here]:
            continue
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            there = (here[0] + dx, here[1] + dy)
            if not (0 <= there[0] < cost.shape[0] and 0 <= there[1] < cost.shape[1]):
                continue
            total = price + float(np.hypot(dx, dy)) * float(cost[there])
            if total < best.get(there, np.inf):
                best[there], before[there] = total, here
                heapq.heappush(queue, (total, there))
    if last not in best:
        return np.zeros((0, 2))
    cells = [last]
    while cells[-1] != first:
        cells.append(before[cells[-1]])
    return (np.array(cells[::-1]) + 0.5) * CELL_M


def resampled(way: np.ndarray, step_m: float) -> np.ndarray:
    """Points every `step_m` along a polyline (N, 2)."""
    at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    even = np.arange(0, at[-1], step_m)
    return np.stack([np.interp(even, at, way[:, k]) for k in range(2)], 1)
