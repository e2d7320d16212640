"""What a look says of voxels that are there already: those it looks through fade, those beside its surface are doubted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.compiled import floats, library, table
from sab3r_ros.mapping.tiles import TILE, Tile, tile_centers

MAX_WEIGHT = 200.0  # summed confidence beyond which a voxel's mean keeps adapting at a constant rate
DOUBT = 0.14  # of its confidence that a voxel on the surface seen loses to a look; hits give back more
BELIEVED = 20.0  # confidence from which it loses none: seven pixels or so
LEAST_CONFIDENCE = 1.0  # that of one pixel
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

    def faded(self, tiles: Sequence[Tile], voxel_size_m: float) -> list[Tile | None]:
        """Each of some tiles of the map with the confidence that the look leaves, or None where it changes nothing.

        A voxel that is looked through loses half. One within the margin of the surface is doubted a little until it is
        BELIEVED: what noise has put beside a surface goes, what is hit again stays, so that seeing a place again thickens
        nothing. What is left with less than LEAST_CONFIDENCE goes.
        """
        sizes = np.array([len(t) for t in tiles], np.int64)
        changed, gone = np.empty_like(sizes), np.empty_like(sizes)
        left = [np.empty(n, np.float16) for n in sizes.tolist()]
        h, w = self.depth.shape
        pixels = (self.K[0, 0] * voxel_size_m * self.T_KW.s) ** 2 / PIXELS_A_VOXEL
        T, K = floats(self.T_KW.matrix()[:3]), floats(self.K[[0, 1, 0, 1], [0, 1, 2, 2]])
        library().faded(
            *(len(tiles), np.stack([t.addresses for t in tiles]), sizes, T, K, floats(self.depth), h, w),
            *(self.margin, pixels, DOUBT, BELIEVED, MAX_WEIGHT, LEAST_CONFIDENCE, table(left), changed, gone),
        )
        return [
            self._with(tile, confidence, lost > 0) if some else None
            for tile, confidence, some, lost in zip(tiles, left, changed.tolist(), gone.tolist(), strict=True)
        ]

    @staticmethod
    def _with(tile: Tile, confidence: np.ndarray, lost: bool) -> Tile:
        tile = Tile(tile.cells, replace(tile.voxels, confidence=confidence))
        return tile.kept(confidence >= LEAST_CONFIDENCE) if lost else tile
