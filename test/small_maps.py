"""Hand-made maps: boxes of voxels whose features are the vectors of their names, rotated into a short
basis.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sab3r_ros.types import MapSnapshot, Trajectory

VOXEL_M = 0.05


def box_points(center: tuple[float, float, float], size: tuple[float, float, float]) -> np.ndarray:
    """The voxel centres of a solid box, (N, 3) float32."""
    axes = [np.arange(-s / 2 + VOXEL_M / 2, s / 2, VOXEL_M) + c for c, s in zip(center, size, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)


def snapshot_of(parts: list[tuple[np.ndarray, np.ndarray]], identity: str = "hand-made") -> MapSnapshot:
    """parts: (points (N, 3), feature (D,)) of each thing."""
    points = np.concatenate([p for p, _ in parts]) if parts else np.zeros((0, 3), np.float32)
    dim = len(parts[0][1]) if parts else 4
    features = np.concatenate([np.tile(f, (len(p), 1)) for p, f in parts]) if parts else np.zeros((0, dim))
    colors = (
        np.concatenate([np.full((len(p), 3), 40 * (k + 1) % 256) for k, (p, _) in enumerate(parts)])
        if parts
        else points
    )
    n = len(points)
    T_WC = np.stack([np.eye(4), np.eye(4)])
    T_WC[1, :3, 3] = (0.5, 0.0, 0.0)
    return MapSnapshot.of_arrays(
        points.astype(np.float32),
        colors.astype(np.uint8),
        features.astype(np.float16),
        np.full(n, 2.0, np.float32),
        np.ones(n, np.int32),
        VOXEL_M,
        Trajectory(np.array([0.0, 1.0]), T_WC),
        identity,
        1,
    )


class ToyText:
    """Words on axes: each known word is a unit vector, 'couch' lies near 'sofa', all other words share the
    last axes.
    """

    space = "toy"
    dim = 8
    spread = 1.0
    words: ClassVar = {"sofa": 0, "chair": 1, "table": 2, "lamp": 3, "mug": 4}

    def encode(self, phrases: list[str]) -> np.ndarray:
        rows = []
        for phrase in phrases:
            row = np.zeros(self.dim, np.float32)
            if phrase == "couch":
                row[[0, 5]] = 0.9, np.sqrt(1 - 0.81)
            elif phrase in self.words:
                row[self.words[phrase]] = 1
            else:
                row[6] = 1
            rows.append(row)
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)
