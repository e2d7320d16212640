"""Camera paths through a room: a hand-held walk, a robot's height, an orbit around a surface with things on it."""

from __future__ import annotations

import numpy as np

from sab3r_ros.rooms.scene import Rng, Scene

WALL_DISTANCE_M = 0.12
UP = np.array([0.0, 0, 1])


def look(eye: np.ndarray, forward: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """T_WC (4, 4) of a camera (RDF) at eye that looks along forward, rolled about it by `roll` radians."""
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, UP)
    right /= np.linalg.norm(right)
    c, s = np.cos(roll), np.sin(roll)
    T = np.eye(4)
    T[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1) @ np.array(
        [[c, -s, 0], [s, c, 0], [0, 0, 1]]
    )
    T[:3, 3] = eye
    return T


def is_free(scene: Scene, eye: np.ndarray) -> bool:
    """Whether a camera may be here: inside a room or doorway, in no piece of furniture."""
    inside = any(
        (eye > low + WALL_DISTANCE_M).all() and (eye < high - WALL_DISTANCE_M).all()
        for low, high in scene.spaces
    )
    blocked = any(
        (np.abs(eye[:2] - o.center) < o.half + 0.05).all() and eye[2] < o.height + 0.05
        for o in scene.obstacles
    )
    return bool(inside and not blocked)


def random_path(scene: Scene, rng: Rng, views: int) -> list[np.ndarray]:
    """Up to `views` poses of one kind of movement; consecutive ones overlap by about half."""
    weights = (0.45, 0.4, 0.15) if scene.focus else (0.0, 0.7, 0.3)
    kind = str(rng.choice(("orbit", "walk", "robot"), p=weights))
    return orbit(scene, rng, views) if kind == "orbit" else walk(scene, rng, views, kind == "robot")


def orbit(scene: Scene, rng: Rng, views: int) -> list[np.ndarray]:
    """Around a surface at arm's length, looking at what stands on it."""
    center, size = scene.focus[int(rng.integers(len(scene.focus)))]
    center = center + [*(rng.uniform(-0.3, 0.3, 2) * size), rng.uniform(0, 0.15)]
    angle, step = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1]) * np.deg2rad(rng.uniform(4, 16))
    radius, height = rng.uniform(0.5, 1.7), rng.uniform(0.2, 1.0)
    poses: list[np.ndarray] = []
    for _ in range(4 * views):
        eye = center + [radius * np.cos(angle), radius * np.sin(angle), height]
        if is_free(scene, eye):
            poses.append(look(eye, center + rng.normal(0, 0.1, 3) - eye, rng.normal(0, 0.06)))
        if len(poses) == views:
            break
        angle += step * rng.uniform(0.4, 1.6)
        radius = np.clip(radius + rng.normal(0, 0.08), 0.45, 1.9)
        height = np.clip(height + rng.normal(0, 0.06), 0.12, 1.2)
    return poses


def walk(scene: Scene, rng: Rng, views: int, robot: bool) -> list[np.ndarray]:
    """Small steps with a slow turn: eye height and a nod by hand, low and level on a robot."""
    heights = (0.25, 0.9) if robot else (1.2, 1.75)
    for _ in range(40):
        eye = np.array([*(scene.size[:2] * rng.uniform(0.1, 0.9, 2)), rng.uniform(*heights)])
        if is_free(scene, eye):
            break
    else:
        return []
    towards = scene.size[:2] / 2 - eye[:2]
    yaw = np.arctan2(towards[1], towards[0]) + rng.normal(0, 0.9)
    pitch = rng.uniform(-0.15, 0.1) if robot else rng.uniform(-0.5, 0.05)
    turn, step, heading = np.deg2rad(rng.uniform(-14, 14)), rng.uniform(0.05, 0.3), rng.uniform(0, 2 * np.pi)
    poses = []
    for _ in range(views):
        ahead = eye + [step * np.cos(heading), step * np.sin(heading), rng.normal(0, 0.03)]
        if is_free(scene, ahead):
            eye = ahead
        else:
            heading = rng.uniform(0, 2 * np.pi)
        yaw += turn * rng.uniform(0.4, 1.6) + rng.normal(0, 0.03)
        pitch = np.clip(pitch + rng.normal(0, 0.06), -0.9, 0.3)
        forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
        poses.append(look(eye, forward, rng.normal(0, 0.05)))
    return poses
