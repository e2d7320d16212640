"""Floor, ceiling and walls of a room, with doorways in the walls and, in an L-shaped room, a corner cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sab3r_ros.rooms.scene import Footprint, Rng, Scene
from sab3r_ros.rooms.textures import surface

CUT_SHARE = (0.3, 0.45)  # edges of the corner that an L-shaped room lacks, of the room's: less than half


@dataclass(frozen=True)
class Gap:
    """A doorway without a door: in wall 0 (y = 0), 1 (y = size), 2 (x = 0) or 3 (x = size); metres along it."""

    wall: int
    center: float
    width: float
    height: float


def build_shell(scene: Scene, rng: Rng, gaps: Sequence[Gap] = ()) -> None:
    floor, wall, ceiling = (surface(rng, kind) for kind in ("floor", "wall", "ceiling"))
    accent = surface(rng, "wall") if rng.random() < 0.3 else wall
    X, Y, Z = np.diag(scene.size)
    origin, tile = np.zeros(3), rng.uniform(0.6, 2.5)
    scene.add_surface(origin, X, Y, floor[0], rng.uniform(0.8, 2.5), "floor", floor[1])
    scene.add_surface(Z, X, Y, ceiling[0], 2.0, "ceiling", ceiling[1])
    for number, (corner, along, look) in enumerate(
        ((origin, X, wall), (Y, X, wall), (origin, Y, wall), (X, Y, accent))
    ):
        instance = None
        for low, high, bottom, top in wall_parts(
            float(np.linalg.norm(along)), float(scene.size[2]), [g for g in gaps if g.wall == number]
        ):
            step, up = along / np.linalg.norm(along), np.array([0, 0, 1.0])
            part = (corner + low * step + bottom * up, (high - low) * step, (top - bottom) * up)
            instance = scene.add_surface(
                *part, look[0], tile, "wall", look[1], instance=instance, start_m=(low, bottom)
            )


def wall_parts(length: float, height: float, gaps: Sequence[Gap]) -> list[tuple[float, float, float, float]]:
    """What is left of a wall: rectangles (from, to, bottom, top) beside and above its gaps, metres."""
    parts, start = [], 0.0
    for gap in sorted(gaps, key=lambda g: g.center):
        left, right = gap.center - gap.width / 2, gap.center + gap.width / 2
        parts += [(start, left, 0.0, height), (left, right, gap.height, height)]
        start = right
    return [*parts, (start, length, 0.0, height)]


def cut_corner(scene: Scene, rng: Rng) -> tuple[Footprint, list[tuple[int, float, float]]]:
    """Wall off a corner: the room becomes an L. Returns the corner and (wall, share of its length, half metres) it hides."""
    size = scene.size
    block = np.array([*(size[:2] * rng.uniform(*CUT_SHARE, 2)), size[2]])
    far = rng.random(2) < 0.5  # whether the corner is at the far end of x and of y
    low = np.where(far, size[:2] - block[:2], 0)
    look, tile, (X, Y, Z) = surface(rng, "wall"), rng.uniform(0.6, 2.5), np.diag(block)
    inner = np.where(far, low, block[:2])  # the L's inner corner
    scene.add_surface(np.array([low[0], inner[1], 0]), X, Z, look[0], tile, "wall", look[1])
    scene.add_surface(np.array([inner[0], low[1], 0]), Y, Z, look[0], tile, "wall", look[1])
    corner = Footprint(low + block[:2] / 2, block[:2] / 2, float(size[2]))
    scene.obstacles.append(corner)
    share = corner.center / size[:2]
    hidden = [
        (int(far[1]), float(share[0]), float(corner.half[0])),
        (2 + int(far[0]), float(share[1]), float(corner.half[1])),
    ]
    return corner, hidden
