"""Places for furniture in a room: on the floor without overlap, on walls where nothing else hangs."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from sab3r_ros.rooms.pieces import Piece
from sab3r_ros.rooms.scene import Footprint, Rng, Scene


@dataclass
class Layout:
    """Places pieces without overlap and keeps what is taken."""

    scene: Scene
    rng: Rng
    pool: Sequence[Piece]
    taken: list[Footprint] = field(default_factory=list)
    on_walls: dict[int, list[tuple[float, float]]] = field(default_factory=lambda: {k: [] for k in range(4)})
    surfaces: list[tuple[Piece, np.ndarray, float]] = field(default_factory=list)

    def in_wall(self, xy: np.ndarray) -> bool:
        """Whether a point is in the corner that an L-shaped room lacks."""
        return any(
            t.height >= self.scene.size[2] and t.overlaps(xy, np.zeros(2), gap=0.5) for t in self.taken
        )

    def of(self, *roles: str) -> list[Piece]:
        return [p for p in self.pool if p.role in roles]

    def pick(self, pieces: Sequence):
        return pieces[int(self.rng.integers(len(pieces)))]

    def wall_pose(self, wall: int, share: float, offset: float) -> tuple[np.ndarray, float]:
        """Position (2,) at a share of wall 0..3, `offset` metres into the room, and the yaw that faces inwards."""
        x, y, _ = self.scene.size
        return (
            (np.array([share * x, offset]), np.pi),
            (np.array([share * x, y - offset]), 0.0),
            (np.array([offset, share * y]), np.pi / 2),
            (np.array([x - offset, share * y]), -np.pi / 2),
        )[wall]

    def put(self, piece: Piece, xy: np.ndarray, yaw: float, keep_colors: bool = False) -> bool:
        """Stand a piece on the floor if it fits; remember it as an obstacle and, if it has a top, as a surface."""
        half = half_extent(piece, yaw)
        if (xy - half < 0).any() or (xy + half > self.scene.size[:2]).any():
            return False
        if any(t.overlaps(xy, half) for t in self.taken):
            return False
        self.scene.add_piece(piece, np.array([*xy, 0.0]), yaw, self.rng, keep_colors)
        footprint = Footprint(xy, half, float(piece.size[2]))
        self.taken.append(footprint)
        self.scene.obstacles.append(footprint)
        if piece.top > 0.15:
            self.surfaces.append((piece, xy, yaw))
        return True

    def hang(
        self, piece: Piece, height: float, inset: float, avoid: Set[int] = frozenset()
    ) -> np.ndarray | None:
        """Put a piece on a wall where no other hangs; returns its position (2,)."""
        wall = int(self.rng.integers(4))
        if wall in avoid:
            return None
        length = self.scene.size[0 if wall < 2 else 1]
        margin = piece.size[0] / 2 / length
        if margin > 0.4 or height + piece.size[2] > self.scene.size[2]:
            return None
        share = self.rng.uniform(margin, 1 - margin)
        if any(abs(share - s) * length < half + piece.size[0] / 2 for s, half in self.on_walls[wall]):
            return None
        self.on_walls[wall].append((share, float(piece.size[0] / 2)))
        xy, yaw = self.wall_pose(wall, share, inset)
        self.scene.add_piece(piece, np.array([*xy, height]), yaw, self.rng)
        return xy


def half_extent(piece: Piece, yaw: float) -> np.ndarray:
    c, s = abs(np.cos(yaw)), abs(np.sin(yaw))
    w, d = piece.size[:2]
    return np.array([w * c + d * s, w * s + d * c]) / 2


def turn(yaw: float) -> np.ndarray:
    return np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
