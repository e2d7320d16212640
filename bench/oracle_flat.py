"""A network that knows the truth of a rendered flat: what mapping does with set errors, apart from any trained model.

Open3D casts one ray a pixel of a small image. The pointmaps are true but for smooth noise and a random scale a pair of
views; descriptors are a function of the point in the world, with noise, and some are wrong.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import cv2
import numpy as np

from sab3r_ros.geometry.camera import pinhole, pixel_grid
from sab3r_ros.rooms.clip import build_room
from sab3r_ros.rooms.flat import WALL_M, flat
from sab3r_ros.rooms.tour import tour
from sab3r_ros.types import Frame, View

FIELD_OF_VIEW_DEG = 65.0
FEATURE_DIM = 16
STRIDE = 2  # pixels of the pointmap to one descriptor


class Place:
    """A scene that can be looked at. kind: "flat", with so many `rooms`, or "twins". size: width, height of its images.

    strange_m: how far off the points are whose look its points have. Two flats with the same look alike where their walls
    and floors have the same coordinates.
    """

    def __init__(
        self, kind: str, seed: int, rooms: int = 4, size: tuple[int, int] = (96, 72), strange_m: float = 0.0
    ) -> None:
        import open3d as o3d

        self.scene, self.rng = (
            flat(seed, "test", rooms=rooms) if kind == "flat" else build_room(kind, seed, "test")
        )
        self.width, self.height = size
        self.strange_m = strange_m
        self.K = pinhole(self.width / 2 / np.tan(np.deg2rad(FIELD_OF_VIEW_DEG) / 2), self.height, self.width)
        self.rays = np.concatenate(
            [
                (pixel_grid(self.height, self.width) - self.K[:2, 2]) / self.K[0, 0],
                np.ones((self.height, self.width, 1)),
            ],
            -1,
        )
        h, w = self.height // STRIDE, self.width // STRIDE
        blocks = self.rays[: h * STRIDE, : w * STRIDE].reshape(h, STRIDE, w, STRIDE, 3)
        self.described_rays = blocks.mean((1, 3))  # a descriptor tells of its block's centre
        self.instance = np.concatenate(self.scene.instance)
        triangles = np.concatenate(self.scene.triangles).astype(np.uint32)
        self._o3d = o3d
        self._caster = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._caster.add_triangles(
            o3d.core.Tensor(np.concatenate(self.scene.vertices)), o3d.core.Tensor(triangles)
        )
        self.poses: list[np.ndarray] = []
        # Twins: room B's points are described as if they were room A's.
        self.twin_step_m = self.scene.tour[2][0] - self.scene.tour[0][0] if kind == "twins" else 0.0
        self.twin_from_y_m = self.scene.tour[1][1] * 2 + WALL_M / 2 if kind == "twins" else np.inf

    def walk(self, views: int) -> list[np.ndarray]:
        """T_WC (4, 4) of about `views` views along the scene's tour."""
        return tour(self.scene, self.rng, views)

    def cast(self, T_WC: np.ndarray, rays: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Camera points (H, W, 3) and instances (H, W) that the camera sees, along `rays` if given."""
        rays = self.rays if rays is None else rays
        h, w, _ = rays.shape
        d = rays.reshape(-1, 3) @ T_WC[:3, :3].T
        cast = np.concatenate([np.broadcast_to(T_WC[:3, 3], d.shape), d], 1).astype(np.float32)
        answer = self._caster.cast_rays(self._o3d.core.Tensor(cast))
        depth, triangle = answer["t_hit"].numpy(), answer["primitive_ids"].numpy()
        hit = np.isfinite(depth)
        depth = np.where(hit, depth, 20.0).reshape(h, w)
        instance = np.where(hit, self.instance[np.where(hit, triangle, 0)], 0).reshape(h, w)
        return rays * depth[..., None], instance

    def distance(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) world points → (N,) metres to the nearest surface."""
        return self._caster.compute_distance(self._o3d.core.Tensor(points.astype(np.float32))).numpy()

    def frame(self, T_WC: np.ndarray, stamp: float, T_OC: np.ndarray | None = None) -> Frame:
        """An image that stands for the view; its first pixel is its number."""
        image = np.zeros((self.height, self.width, 3), np.uint8)
        image[0, 0] = np.array([len(self.poses)], "<u4").view(np.uint8)[:3]
        self.poses.append(T_WC)
        return Frame(image, stamp, self.K, T_OC)

    def described_as(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) world points → the points whose look they have."""
        there = (points[..., 1] > self.twin_from_y_m) & (points[..., 0] > self.scene.tour[1][0] - WALL_M / 2)
        return points + (self.strange_m - there * self.twin_step_m)[..., None] * np.array([1.0, 0, 0])


@dataclass(frozen=True)
class Seen:
    """One image's truth: camera points (H, W, 3), descriptors (H', W', 24), features (h, w, D); T_WC and its number."""

    number: int
    T_WC: np.ndarray
    points: np.ndarray
    descriptors: np.ndarray
    features: np.ndarray


@dataclass
class OracleNetwork:
    """A two-view network. depth_noise: sigma of a smooth field of log depth. scale_noise: of each pair's log scale.

    outliers: share of descriptors that are random.
    """

    place: Place
    depth_noise: float = 0.03
    scale_noise: float = 0.1
    outliers: float = 0.1
    identity: str = "oracle"
    language: str = ""
    monocular: bool = False
    feature_basis: np.ndarray = field(default_factory=lambda: np.eye(FEATURE_DIM, dtype=np.float32))

    def __post_init__(self) -> None:
        rng = np.random.default_rng(7)
        self._waves, self._phases = rng.normal(0, 9.0, (3, 24)), rng.uniform(0, 2 * np.pi, 24)
        words = rng.normal(size=(4096, FEATURE_DIM))
        self._words = (words / np.linalg.norm(words, axis=1, keepdims=True)).astype(np.float16)
        self.learn_words()

    def learn_words(self) -> None:
        """For the place that is looked at: things of one caption have one feature."""
        labels = self.place.scene.labels.values()
        self._word_of = np.array([0] + [zlib.crc32(label["caption"].encode()) % 4096 for label in labels])

    def prepare(self, image: np.ndarray, K: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        return image, K

    def encode(self, image: np.ndarray) -> Seen:
        number = int(np.frombuffer(image[0, 0].tobytes() + b"\0", "<u4")[0])
        T_WC, rng = self.place.poses[number], np.random.default_rng(number)
        points, instance = self.place.cast(T_WC)
        seen, _ = self.place.cast(T_WC, self.place.described_rays)
        world = self.place.described_as(seen @ T_WC[:3, :3].T + T_WC[:3, 3])
        descriptors = np.cos(world @ self._waves + self._phases) + rng.normal(0, 0.05, (*seen.shape[:2], 24))
        wrong = rng.random(seen.shape[:2]) < self.outliers
        descriptors[wrong] = rng.normal(size=(int(wrong.sum()), 24))
        descriptors /= np.linalg.norm(descriptors, axis=-1, keepdims=True)
        features = self._words[self._word_of[instance[::4, ::4]]]
        return Seen(number, T_WC, points, descriptors.astype(np.float32), features)

    def decode(self, first: Seen, second: Seen) -> tuple[View, View]:
        """Both views in the first camera's frame, with the pair's noise and scale."""
        rng = np.random.default_rng((first.number, second.number))
        T_12 = np.linalg.inv(first.T_WC) @ second.T_WC
        scale = float(np.exp(self.scale_noise * rng.normal()))
        return (
            self._view(first, first.points, scale, rng),
            self._view(second, second.points @ T_12[:3, :3].T + T_12[:3, 3], scale, rng),
        )

    def _view(self, seen: Seen, points: np.ndarray, scale: float, rng: np.random.Generator) -> View:
        h, w, _ = points.shape
        noise = cv2.resize(rng.normal(size=(4, 5)), (w, h), interpolation=cv2.INTER_CUBIC)
        factor = scale * np.exp(self.depth_noise * noise)
        return View(
            (points * factor[..., None]).astype(np.float32),
            np.full((h, w), 3.0, np.float32),
            seen.descriptors,
            np.ones(seen.descriptors.shape[:2], np.float32),
            seen.features,
        )
