"""Ray-cast images of a scene with exact depth and instances: textures, soft shadows, ambient occlusion (Open3D, Embree)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.rooms.lens import Lens
from sab3r_ros.rooms.pieces import TEXTURE_SIZE
from sab3r_ros.rooms.scene import Rng, Scene

OFFSET_M = 2e-3  # start of secondary rays above the surface
OCCLUSION_REACH_M = 0.25
OCCLUSION_STRENGTH = 0.55
LAMP_SPREAD = 0.5  # of a lamp's radius: where its light comes from
UNLIKE = np.float32(1e-2)  # squared distance of `alike` at which two pixels hardly share their light
MIP_LEVELS = 5  # textures at full size to a sixteenth
SLANT = np.float32(0.1)  # cosine below which a surface counts as seen edge-on
PINHOLE = Lens()
ROOM_M = 1.2  # narrower spaces of a flat are doorways


def fibonacci_sphere(count: int) -> np.ndarray:
    """(count, 3) unit vectors, spread evenly."""
    n = np.arange(count) + 0.5
    z, angle = 1 - 2 * n / count, np.pi * (1 + 5**0.5) * n
    across = np.sqrt(1 - z * z)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], 1)


SPHERE = fibonacci_sphere(9)


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
        uv, self.colors = np.concatenate(scene.uv), np.concatenate(scene.colors)  # float32
        # A corner and the two edges from it, as barycentric coordinates want them.
        self.uv = np.concatenate([uv[:, 0], uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]], 1)
        self.texture, self.instance = np.concatenate(scene.texture), np.concatenate(scene.instance)
        self.texels, self.level_start = mipmaps(scene.textures)
        corners = np.concatenate(scene.vertices)[self.triangles]
        self.texel_m = texel_size(corners, self.uv)
        self.labels, self.rng = scene.labels, rng
        self.caster = o3d.t.geometry.RaycastingScene(nthreads=1)  # one process a core is faster than threads
        self.caster.add_triangles(
            self._tensor(np.concatenate(scene.vertices)), o3d.core.Tensor(self.triangles.astype(np.uint32))
        )
        self._camera: tuple | None = None
        self.lights = random_lights(scene, rng)
        self.ambient = rng.uniform(0.25, 0.6) * (1 + rng.normal(0, 0.04, 3))

    def shot(self, K: np.ndarray, T_WC: np.ndarray, width: int, height: int, lens: Lens = PINHOLE) -> Shot:
        """What the camera sees, sharp. K (3, 3) pixels, T_WC (4, 4) RDF camera to room."""
        D = self._rays(K, width, height, lens) @ T_WC[:3, :3].T.astype(np.float32)
        origin = np.broadcast_to(T_WC[:3, 3].astype(np.float32), D.shape)
        answer = self.caster.cast_rays(self._tensor(np.concatenate([origin, D], 1)))
        t, triangle = answer["t_hit"].numpy(), answer["primitive_ids"].numpy().astype(np.int64)
        hit = np.isfinite(t)
        triangle[~hit], t = 0, np.where(hit, t, 0)
        normal = answer["primitive_normals"].numpy()
        slope = dot(normal, D)
        normal *= np.where(slope > 0, np.float32(-1), np.float32(1))[:, None]
        # What a pixel covers, metres: the mean of its sides where the surface is seen at a slant.
        covered = t / np.float32(K[0, 0]) / np.sqrt(np.maximum(np.abs(slope) / np.sqrt(dot(D, D)), SLANT))
        albedo = self._albedo(triangle, answer["primitive_uvs"].numpy(), covered).reshape(height, width, 3)
        depth, normal = t.reshape(height, width), normal.reshape(height, width, 3)
        D = D.reshape(height, width, 3)[::2, ::2]
        P = (
            T_WC[:3, 3].astype(np.float32)
            + D * depth[::2, ::2, None]
            + normal[::2, ::2] * np.float32(OFFSET_M)
        )
        radiance = albedo * spread_light(self._light(P, normal[::2, ::2], depth[::2, ::2]), normal, depth)
        radiance[~hit.reshape(height, width)] = 0.9
        instance = np.where(hit, self.instance[triangle], 0).astype(np.uint16)
        return Shot(radiance, depth, instance.reshape(height, width))

    def _rays(self, K: np.ndarray, width: int, height: int, lens: Lens) -> np.ndarray:
        """The lens's viewing rays, (H·W, 3) float32; a room's views share them."""
        key = (K.tobytes(), width, height, lens)
        if self._camera != key:
            self._camera, self._camera_rays = key, lens.rays(K, width, height).astype(np.float32)
        return self._camera_rays

    def _albedo(self, triangle: np.ndarray, barycentric: np.ndarray, covered: np.ndarray) -> np.ndarray:
        """Colour times texture of each hit, (N, 3) float32: the nearest texel as large as what its pixel covers, metres."""
        color, texture = np.take(self.colors, triangle, 0), np.take(self.texture, triangle)
        on = np.flatnonzero(texture >= 0)
        corner, b = np.take(self.uv, triangle[on], 0), np.take(barycentric, on, 0)
        uv = corner[:, :2] + corner[:, 2:4] * b[:, :1] + corner[:, 4:] * b[:, 1:]
        finer = np.take(covered, on) / np.take(self.texel_m, triangle[on])
        level = np.clip(np.rint(np.log2(np.maximum(finer, 1))), 0, MIP_LEVELS - 1).astype(np.int64)
        size = TEXTURE_SIZE >> level
        cell = ((uv - np.floor(uv)) * (size - 0.01)[:, None]).astype(np.int64)
        texel = (np.take(texture, on) * size + (size - 1 - cell[:, 1])) * size + cell[:, 0]
        texel += np.take(self.level_start, level)
        color[on] *= np.take(self.texels, texel, 0) * np.float32(1 / 255)
        return color

    def _light(self, P: np.ndarray, normal: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Ambient and lamps with soft shadows, and less light in corners.

        P, normal: (h, w, 3) float32; depth (h, w). Returns (h, w, 3) float32.
        """
        size, guide = depth.shape, alike(normal, depth)
        P, normal = P.reshape(-1, 3), np.ascontiguousarray(normal.reshape(-1, 3))
        light = (0.75 + 0.25 * normal[:, 2:]) * self.ambient.astype(np.float32)
        blocked = np.zeros((len(P), len(self.lights) + 1), np.float32)
        strengths = []
        for n, lamp in enumerate(self.lights):
            to = lamp.position.astype(np.float32) - P
            squared = dot(to, to)
            lambert = np.maximum(dot(normal, to), 0) / np.sqrt(squared)
            strengths.append(lambert * np.minimum(6 / (1 + squared), 2.0))
            lit = np.flatnonzero(lambert)
            to += self._directions(size) * np.float32(lamp.radius * LAMP_SPREAD)
            blocked[lit, n] = self._hits(P[lit], to[lit], 0.98)
        around = normal + self._directions(size)
        blocked[:, -1] = self._hits(P, around * np.float32(OCCLUSION_REACH_M), 1.0)
        free = 1 - smooth_alike(blocked.reshape(*size, -1), guide).reshape(len(P), -1)
        for n, lamp in enumerate(self.lights):
            light += (strengths[n] * free[:, n])[:, None] * lamp.color.astype(np.float32)
        light *= 1 - OCCLUSION_STRENGTH * (1 - free[:, -1:])
        return light.reshape(*size, 3)

    def _directions(self, size: tuple[int, int]) -> np.ndarray:
        """A unit direction for each pixel, (h·w, 3) float32: nine that cover the sphere, in every 3 × 3 pixels each once.

        Neighbours' rays complement one another, and their mean is smooth (interleaved sampling, Keller and Heidrich 2001).
        """
        turn, _ = np.linalg.qr(self.rng.standard_normal((3, 3)))
        tile = self.rng.permutation((SPHERE @ turn).astype(np.float32)).reshape(3, 3, 3)
        rows, columns = -(-size[0] // 3), -(-size[1] // 3)
        return np.tile(tile, (rows, columns, 1))[: size[0], : size[1]].reshape(-1, 3)

    def _hits(self, P: np.ndarray, to: np.ndarray, reach: float) -> np.ndarray:
        """(N,) bool: whether anything lies between P and `reach` of the way to P + to."""
        return self.caster.test_occlusions(self._tensor(np.concatenate([P, to], 1)), 1e-3, reach).numpy()


def mipmaps(textures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Texels (N, 3) uint8 of all textures at full size, then all at half of it, …, and where each level starts."""
    level, levels = list(textures), []
    for _ in range(MIP_LEVELS):
        levels.append(np.stack(level).reshape(-1, 3))
        level = [cv2.resize(t, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for t in level]
    return np.concatenate(levels), np.cumsum([0, *(len(v) for v in levels[:-1])])


def texel_size(corners: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Edge in metres of a texel on each triangle, (T,). corners (T, 3, 3); uv (T, 6): a corner and the edges from it."""
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    texels = np.abs(uv[:, 2] * uv[:, 5] - uv[:, 3] * uv[:, 4]) * TEXTURE_SIZE**2
    return np.sqrt(np.maximum(area, 1e-12) / np.maximum(texels, 1e-6)).astype(np.float32)


def alike(normal: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(H, W, 4) whose distance between two pixels says how unlike their surfaces are; 1 is another surface."""
    return np.concatenate([normal, 10 * np.log(np.maximum(depth, 1e-2))[..., None]], -1)


def smooth_alike(values: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Mean over 3 × 3 pixels, of those of the same surface: (H, W, C), guide of `alike`."""
    for axis in (0, 1):
        v, g = values.swapaxes(0, axis), guide.swapaxes(0, axis)
        step = g[1:] - g[:-1]
        w = (UNLIKE / (UNLIKE + np.einsum("hwg,hwg->hw", step, step)))[..., None]
        total, weight = v.copy(), np.ones((*v.shape[:2], 1), np.float32)
        total[1:] += w * v[:-1]
        total[:-1] += w * v[1:]
        weight[1:] += w
        weight[:-1] += w
        values = (total / weight).swapaxes(0, axis)
    return values


def spread_light(light: np.ndarray, normal: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Light of every second row and column → of all pixels: between two lit ones, the one on the like surface counts.

    light (ceil(H/2), ceil(W/2), 3), normal (H, W, 3), depth (H, W) metres, 0 = none. Shadows are soft, edges stay sharp.
    """
    guide = alike(normal, depth)
    rows = fill_between(light, guide[::2], 1)
    return fill_between(rows, guide, 0)


def fill_between(known: np.ndarray, guide: np.ndarray, axis: int) -> np.ndarray:
    """Values at the even places of an axis → at all: an odd place takes its neighbours' mean, weighted by likeness of guide.

    known (…, 3), guide (H, W, G) at the places to be filled.
    """
    known, guide = known.swapaxes(0, axis), guide.swapaxes(0, axis)
    even, odd = guide[::2], guide[1::2]
    last = min(len(odd), len(even) - 1)  # an odd place at the end has a neighbour on one side only
    out = np.empty((*guide.shape[:2], known.shape[2]), np.float32)
    out[::2] = known
    out[1::2] = known[: len(odd)]
    before = odd[:last] - even[:last]
    after = odd[:last] - even[1 : last + 1]
    a = np.einsum("hwg,hwg->hw", before, before) + UNLIKE
    b = np.einsum("hwg,hwg->hw", after, after) + UNLIKE
    share = (b / (a + b))[..., None]
    out[1 : 2 * last : 2] = known[:last] * share + known[1 : last + 1] * (1 - share)
    return out.swapaxes(0, axis)


def develop(radiance: np.ndarray, exposure: float, gamma: float) -> np.ndarray:
    """Linear radiance → uint8 image: exposure, a soft shoulder, gamma, a little lens blur."""
    x = np.clip(radiance * exposure, 0, None)
    x = np.clip(x / (1 + 0.25 * x), 0, 1) ** (1 / gamma)
    return (cv2.GaussianBlur(x, (0, 0), 0.45) * 255).astype(np.uint8)
