"""What a look says of voxels that are there already: those it looks through fade, those beside its surface are doubted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.tiles import TILE, tile_centers

MAX_WEIGHT = 200.0  # summed confidence beyond which a voxel's mean keeps adapting at a constant rate
DOUBT = 0.1  # of its confidence that a voxel on the surface seen loses to a look; hits give back more
BELIEVED = 20.0  # confidence from which it loses none: seven pixels or so
PIXELS_A_VOXEL = 4.0  # a look from so far that fewer fall into a voxel doubts it by so much less


@dataclass(frozen=True)
class Look:
    """A keyframe's view of free space.

    T_KW: keyframe from map. K: (3, 3) intrinsics. depth: (H, W) float32 to the surface seen, in the keyframe's unit, 0 where
    unknown. margin: share of that depth by which a voxel must lie nearer to be looked through.
    """

    T_KW: Sim3
    K: np.ndarray
    depth: np.ndarray
    margin: float

    def tiles_in_view(self, numbers: np.ndarray, voxel_size_m: float) -> np.ndarray:
        """Those of some tiles' numbers (T,) that may show in the image, no farther than the farthest surface."""
        K, center = self.K, self.T_KW.apply(tile_centers(numbers, voxel_size_m))
        radius = self.T_KW.s * TILE * voxel_size_m * np.sqrt(3) / 2
        z = np.maximum(center[:, 2], radius)
        focal = K[[0, 1], [0, 1]]
        uv, reach = center[:, :2] / z[:, None] * focal + K[:2, 2], focal * radius / z[:, None]
        inside = ((uv > -reach) & (uv < self.depth.shape[::-1] + reach)).all(1)
        return numbers[inside & (center[:, 2] > -radius) & (center[:, 2] < self.depth.max() + radius)]

    def faded(
        self, points: np.ndarray, confidence: np.ndarray, voxel_size_m: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows that the look changes, and their new confidence.

        points (N, 3) float32 metres in the map frame, confidence (N,) float16, of voxels. One that is looked through loses
        half. One that lies within the margin of the surface is doubted a little until it is BELIEVED: what noise has put
        beside a surface goes, what is hit again stays, so that seeing a place again thickens nothing.
        """
        z, ratio = depth_ratio(self.T_KW.apply(points), self.K, self.depth)
        through = ratio < 1 - self.margin
        rows = np.flatnonzero(through | ((ratio <= 1 + self.margin) & (confidence < BELIEVED)))
        through, held = through[rows], confidence[rows].astype(np.float32)
        pixels = (self.K[0, 0] * voxel_size_m * self.T_KW.s) ** 2 / PIXELS_A_VOXEL
        doubt = 1 - DOUBT * np.minimum(pixels / z[rows] ** 2, 1)
        return rows, np.where(through, np.minimum(held, MAX_WEIGHT) / 2, held * doubt)


def depth_ratio(points: np.ndarray, K: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) float32 each: depth of camera points (N, 3), and it over that of the surface seen at their pixels.

    The ratio is inf where no surface is.
    """
    h, w = depth.shape
    x, y, z = points.T.astype(np.float32, order="C")
    scale = 1 / np.maximum(z, np.float32(1e-6))
    u, v = (
        x * (scale * np.float32(K[0, 0])) + np.float32(K[0, 2]),
        y * (scale * np.float32(K[1, 1])) + np.float32(K[1, 2]),
    )
    rows = np.flatnonzero((z > 1e-6) & (u > -0.5) & (u < w - 0.5) & (v > -0.5) & (v < h - 0.5))
    pixel = np.rint(v[rows]).astype(np.int64) * w + np.rint(u[rows]).astype(np.int64)
    surface = depth.ravel().take(pixel)
    rows, surface = rows[surface > 0], surface[surface > 0]
    ratio = np.full(len(points), np.inf, np.float32)
    ratio[rows] = z[rows] / surface
    return z, ratio
