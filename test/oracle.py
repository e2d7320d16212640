"""A world whose truth is known and a "network" that sees it: mapping is tested apart from any trained model.

The world is a box room with boxes in it, ray-cast in NumPy. `OracleModel` knows the pose of every image that the world has
rendered and returns its true pointmap with set errors: smooth depth noise, a random scale a keyframe, wrong descriptors.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.geometry.camera import pixel_grid
from sab3r_ros.types import Frame, View

HEIGHT, WIDTH, FOCAL = 96, 128, 110.0
K = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
ROOM = np.array([[0.0, 0, 0], [5, 4, 2.6]])
BOXES = np.array(  # least and greatest corner, metres, z up
    [
        [[1.0, 1.0, 0], [1.8, 1.6, 0.75]],
        [[3.2, 2.6, 0], [4.4, 3.4, 0.9]],
        [[3.6, 0.2, 0], [4.6, 0.7, 1.8]],
        [[0.3, 3.0, 0], [0.9, 3.7, 1.2]],
        [[2.3, 1.9, 0], [2.7, 2.3, 0.45]],
    ]
)
OBJECTS = 1 + len(BOXES)  # 0 is the room itself


def look_at(eye, target) -> np.ndarray:
    """T_WC (4, 4): camera at eye, RDF, world z up."""
    forward = np.asarray(target, float) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    T[:3, 3] = eye
    return T


def cast(T_WC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z-depth (H, W) and object (H, W) that the camera sees."""
    rays = np.concatenate([(pixel_grid(HEIGHT, WIDTH) - K[:2, 2]) / FOCAL, np.ones((HEIGHT, WIDTH, 1))], -1)
    d = rays.reshape(-1, 3) @ T_WC[:3, :3].T
    d = np.where(np.abs(d) < 1e-12, 1e-12, d)
    o = T_WC[:3, 3]
    t = np.max((ROOM - o)[:, None] / d, axis=0).min(1)  # the way out of the room
    hit = np.zeros(len(d), int)
    for n, box in enumerate(BOXES, start=1):
        slabs = (box - o)[:, None] / d
        enter, leave = slabs.min(0).max(1), slabs.max(0).min(1)
        closer = (enter < leave) & (enter > 0) & (enter < t)
        t, hit = np.where(closer, enter, t), np.where(closer, n, hit)
    return t.reshape(HEIGHT, WIDTH), hit.reshape(HEIGHT, WIDTH)


def points_of(depth: np.ndarray) -> np.ndarray:
    """(H, W) z-depth → (H, W, 3) camera points."""
    return (
        np.concatenate([(pixel_grid(HEIGHT, WIDTH) - K[:2, 2]) / FOCAL, np.ones((HEIGHT, WIDTH, 1))], -1)
        * depth[..., None]
    )


class World:
    """Renders images and remembers where each was taken. `shift` moves the texture: another world of the same shape."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift
        self.seen: dict[bytes, np.ndarray] = {}

    def image(self, T_WC: np.ndarray) -> np.ndarray:
        depth, hit = cast(T_WC)
        X = points_of(depth) @ T_WC[:3, :3].T + T_WC[:3, 3] + self.shift
        waves = np.sin(X @ np.array([[9.0, 23, 5], [21, 6, 13], [8, 17, 27]])) + 0.6 * np.sin(
            X[..., ::-1] * 41
        )
        image = (120 + 45 * waves + 12 * hit[..., None]).clip(0, 255).astype(np.uint8)
        self.seen[image.tobytes()] = T_WC
        return image

    def frame(self, T_WC: np.ndarray, stamp: float) -> Frame:
        return Frame(self.image(T_WC), stamp, K)


@dataclass
class OracleModel:
    """True views with errors. depth_noise: sigma of a smooth field of log depth. scale_noise: of each image's log scale.

    outliers: share of descriptors that are random.
    """

    world: World
    depth_noise: float = 0.0
    scale_noise: float = 0.0
    outliers: float = 0.0
    identity: str = "oracle"
    language: str = ""
    monocular: bool = True

    def __post_init__(self) -> None:
        rng = np.random.default_rng(7)
        self.frequencies, self.phases = rng.normal(0, 9.0, (3, 24)), rng.uniform(0, 2 * np.pi, 24)
        self.feature_basis = np.eye(OBJECTS, dtype=np.float32)
        self.encoded = 0

    def prepare(self, image, K=None):
        return image, K

    def encode(self, image):
        self.encoded += 1
        T_WC = self.world.seen[image.tobytes()]
        rng = np.random.default_rng(zlib.crc32(image.tobytes()))
        depth, hit = cast(T_WC)
        X = points_of(depth)
        world_points = (X @ T_WC[:3, :3].T + T_WC[:3, 3] + self.world.shift)[::2, ::2]
        field = cv2.resize(rng.normal(size=(4, 5)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        factor = np.exp(self.depth_noise * field + self.scale_noise * rng.normal())
        descriptors = np.cos(world_points @ self.frequencies + self.phases) + rng.normal(
            0, 0.05, (HEIGHT // 2, WIDTH // 2, 24)
        )
        wrong = rng.random((HEIGHT // 2, WIDTH // 2)) < self.outliers
        descriptors[wrong] = rng.normal(size=(int(wrong.sum()), 24))
        descriptors /= np.linalg.norm(descriptors, axis=-1, keepdims=True)
        return View(
            (X * factor[..., None]).astype(np.float32),
            np.full((HEIGHT, WIDTH), 3.0, np.float32),
            descriptors.astype(np.float32),
            np.ones((HEIGHT // 2, WIDTH // 2), np.float32),
            np.eye(OBJECTS, dtype=np.float16)[hit],
        )

    def decode(self, first, second):
        return first, second


def walk(steps: int, turn: float = 0.9) -> list[np.ndarray]:
    """Poses on an arc through the room that looks across it."""
    poses = []
    for a in np.linspace(0, turn * np.pi, steps):
        eye = np.array([2.5 + 1.7 * np.cos(a + 3.6), 2.0 + 1.4 * np.sin(a + 3.6), 1.3 + 0.1 * np.sin(5 * a)])
        poses.append(look_at(eye, [2.5 + 0.3 * np.cos(a), 2.0 + 0.3 * np.sin(a), 0.7]))
    return poses


def trajectory_error(estimate: np.ndarray, truth: np.ndarray) -> float:
    """ATE (RMSE) after the best Sim(3), as a share of the true path length. (K, 4, 4) both."""
    from sab3r_ros.geometry.sim3 import umeyama

    P, Q = estimate[:, :3, 3], truth[:, :3, 3]
    s, R, t = umeyama(P, Q)
    error = np.linalg.norm(s * P @ R.T + t - Q, axis=1)
    return float(np.sqrt((error**2).mean()) / np.linalg.norm(np.diff(Q, axis=0), axis=1).sum())
