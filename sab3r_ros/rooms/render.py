"""Ray-cast images of a scene with exact depth and instances: textures, soft shadows, ambient occlusion (Open3D, Embree)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.rooms.lens import Lens
from sab3r_ros.rooms.scene import Rng, Scene

OFFSET_M = 2e-3  # start of secondary rays above the surface
OCCLUSION_REACH_M = 0.25
OCCLUSION_STRENGTH = 0.55
PINHOLE = Lens()
ROOM_M = 1.2  # narrower spaces of a flat are doorways


@dataclass(frozen=True)
class Shot:
    """radiance (H, W, 3) float32 ≥ 0, linear; depth (H, W) float32, z in metres; instance (H, W) uint16; 0 = nothing."""

    radiance: np.ndarray
    depth: np.ndarray
    instance: np.ndarray


@dataclass(frozen=True)
class Light:
    position: np.ndarray
    color: np.ndarray
    radius: float


def random_lights(scene: Scene, rng: Rng) -> list[Light]:
    """One to three lamps below the ceiling, or bright windows at a wall; in a flat, a lamp in each room."""
    size, lights = scene.size, []
    if scene.tour:
        for low, high in scene.spaces:
            if (high - low)[:2].min() > ROOM_M:
                position = low + (high - low) * [*rng.uniform(0.35, 0.65, 2), 0.93]
                color = rng.uniform(0.5, 1.0) * (1 + rng.normal(0, 0.06, 3))
                lights.append(Light(position, color, rng.uniform(0.05, 0.3)))
        return lights
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.7:
            position = np.array([*(size[:2] * rng.uniform(0.1, 0.9, 2)), size[2] * rng.uniform(0.75, 0.97)])
        else:
            position = np.array(
                [size[0] * rng.choice([0.03, 0.97]), size[1] * rng.uniform(0.1, 0.9), rng.uniform(1, 2)]
            )
        if any(
            o.height >= size[2] and (np.abs(position[:2] - o.center) < o.half).all() for o in scene.obstacles
        ):
            position[:2] = size[:2] - position[:2]  # not in an L-shaped room's missing corner
        lights.append(
            Light(position, rng.uniform(0.3, 1.0) * (1 + rng.normal(0, 0.06, 3)), rng.uniform(0.05, 0.5))
        )
    return lights


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row: (N, 3), (N, 3) → (N,)."""
    return np.einsum("ij,ij->i", a, b)


class Renderer:
    """Renders one scene under fixed lights. Raises ImportError where Open3D or its system libraries are missing."""

    def __init__(self, scene: Scene, rng: Rng) -> None:
        try:
            import open3d as o3d
        except (ImportError, OSError) as error:
            raise ImportError(
                "rendering needs Open3D: pip install open3d; apt install libusb-1.0-0 libgl1 libgomp1 libegl1"
            ) from error
        self._tensor = lambda a: o3d.core.Tensor(np.ascontiguousarray(a, np.float32))
        self.triangles = np.concatenate(scene.triangles)
        self.uv, self.colors = np.concatenate(scene.uv), np.concatenate(scene.colors)  # float32
        self.texture, self.instance = np.concatenate(scene.texture), np.concatenate(scene.instance)
        self.textures = np.stack(scene.textures)
        self.labels, self.rng = scene.labels, rng
        self.caster = o3d.t.geometry.RaycastingScene(nthreads=1)  # one process a core is faster than threads
        self.caster.add_triangles(
            self._tensor(np.concatenate(scene.vertices)), o3d.core.Tensor(self.triangles.astype(np.uint32))
        )
        self.lights = random_lights(scene, rng)
        self.ambient = rng.uniform(0.25, 0.6) * (1 + rng.normal(0, 0.04, 3))

    def shot(self, K: np.ndarray, T_WC: np.ndarray, width: int, height: int, lens: Lens = PINHOLE) -> Shot:
        """What the camera sees, sharp. K (3, 3) pixels, T_WC (4, 4) RDF camera to room."""
        rays = lens.rays(K, width, height)
        D = (rays @ T_WC[:3, :3].T).astype(np.float32)
        origin = np.broadcast_to(T_WC[:3, 3].astype(np.float32), D.shape)
        answer = self.caster.cast_rays(self._tensor(np.concatenate([origin, D], 1)))
        t, triangle = answer["t_hit"].numpy(), answer["primitive_ids"].numpy().astype(np.int64)
        hit = np.isfinite(t)
        triangle[~hit], t = 0, np.where(hit, t, 0)
        normal = answer["primitive_normals"].numpy()
        normal *= np.where(dot(normal, D) > 0, np.float32(-1), np.float32(1))[:, None]
        P = origin + D * t[:, None] + normal * np.float32(OFFSET_M)
        albedo = self._albedo(triangle, answer["primitive_uvs"].numpy())
        light = cv2.bilateralFilter(self._light(P, normal).reshape(height, width, 3), 5, 0.5, 1.5)
        light *= 1 - OCCLUSION_STRENGTH * self._occlusion(P, normal, height, width)[..., None]
        radiance = albedo.reshape(height, width, 3) * light
        radiance[~hit.reshape(height, width)] = 0.9
        instance = np.where(hit, self.instance[triangle], 0).astype(np.uint16)
        return Shot(radiance, t.reshape(height, width), instance.reshape(height, width))

    def _albedo(self, triangle: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        """Colour times texture (nearest texel) of each hit, (N, 3) float32."""
        color, texture = self.colors[triangle], self.texture[triangle]
        on = np.flatnonzero(texture >= 0)
        corners, b = self.uv[triangle[on]], barycentric[on]
        uv = (
            corners[:, 0]
            + (corners[:, 1] - corners[:, 0]) * b[:, :1]
            + (corners[:, 2] - corners[:, 0]) * b[:, 1:]
        )
        size = self.textures.shape[1]
        cell = ((uv - np.floor(uv)) * np.float32(size - 0.01)).astype(np.int64)
        color[on] *= self.textures[texture[on], size - 1 - cell[:, 1], cell[:, 0]] * np.float32(1 / 255)
        return color

    def _light(self, P: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Ambient and lamps, one shadow ray each to a random point of the lamp: (N, 3) float32."""
        light = (0.75 + 0.25 * normal[:, 2:]) * self.ambient.astype(np.float32)
        for lamp in self.lights:
            jitter = self.rng.standard_normal(P.shape) * (lamp.radius * 0.3)
            to = (lamp.position + jitter).astype(np.float32) - P
            squared = dot(to, to)
            lambert = dot(normal, to) / np.sqrt(squared)
            lit = np.flatnonzero(lambert > 0)
            rays = np.concatenate([P[lit], to[lit]], 1)
            lit = lit[~self.caster.test_occlusions(self._tensor(rays), 1e-3, 0.98).numpy()]
            strength = lambert[lit] * np.minimum(6 / (1 + squared[lit]), 2.0)
            light[lit] += strength[:, None] * lamp.color.astype(np.float32)
        return light

    def _occlusion(self, P: np.ndarray, normal: np.ndarray, height: int, width: int) -> np.ndarray:
        """Share of short random rays that hit something, one a pixel, smoothed: (H, W) 0..1."""
        direction = self.rng.standard_normal(P.shape).astype(np.float32)
        direction = direction / np.sqrt(dot(direction, direction))[:, None] + normal
        blocked = self.caster.test_occlusions(
            self._tensor(np.concatenate([P, direction * np.float32(OCCLUSION_REACH_M)], 1)), 1e-3, 1.0
        )
        return cv2.GaussianBlur(blocked.numpy().reshape(height, width).astype(np.float32), (0, 0), 1.6)


def develop(radiance: np.ndarray, exposure: float, gamma: float) -> np.ndarray:
    """Linear radiance → uint8 image: exposure, a soft shoulder, gamma, a little lens blur."""
    x = np.clip(radiance * exposure, 0, None)
    x = np.clip(x / (1 + 0.25 * x), 0, 1) ** (1 / gamma)
    return (cv2.GaussianBlur(x, (0, 0), 0.45) * 255).astype(np.uint8)
