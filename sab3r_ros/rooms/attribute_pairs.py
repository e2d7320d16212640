"""Rooms with things twice: in two colours or in two sizes, so that "the black chair" and "the smallest box" have one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sab3r_ros.rooms import procedural, simple_furniture
from sab3r_ros.rooms.layout import furnish, in_split, room_size
from sab3r_ros.rooms.pieces import COLORS, Piece
from sab3r_ros.rooms.placing import Layout
from sab3r_ros.rooms.scene import Rng, Scene

TWICE = ("chair", "sofa", "table", "cabinet", "bookshelf", "dresser", "box", "bag", "night stand")
SMALLER = (0.55, 0.7)  # the second of a pair of sizes, as a share of the first
TRIES = 40  # places tried for each thing


def attribute_room(seed: int, split: str, library: Sequence[Piece] = ()) -> tuple[Scene, Rng]:
    """A room as `layout.furnished_room`'s, with two to four pairs in it, and the random stream to go on with."""
    rng = np.random.default_rng(seed)
    layout = Layout(Scene(room_size(rng)), rng, [p for p in library if in_split(p, split)])
    furnish(layout, first=add_pairs)
    return layout.scene, rng


def add_pairs(layout: Layout) -> None:
    """Each of another kind of thing; one that finds no place for its second stays alone."""
    rng, kinds = layout.rng, set()
    for _ in range(int(rng.integers(2, 5))):
        own = [
            m
            for m, kind in ((simple_furniture.chair, "chair"), (procedural.cardboard_box, "box"))
            if kind not in kinds
        ]
        pieces = [p for p in layout.of("floor") if p.nyu40 in TWICE and p.nyu40 not in kinds]
        if own and (not pieces or rng.random() < 0.3):
            piece = layout.pick(own)(rng)
        elif pieces:
            piece = layout.pick(pieces)
        else:
            return
        kinds.add(piece.nyu40)
        names = [str(n) for n in rng.choice(list(COLORS), 2, replace=False)]
        if rng.random() < 0.7:
            pair = [painted(piece, name) for name in names]
        else:
            pair = [painted(p, names[0]) for p in (piece, resized(piece, rng.uniform(*SMALLER)))]
        for thing in pair:
            any(stand(layout, thing) for _ in range(TRIES))


def stand(layout: Layout, piece: Piece) -> bool:
    """Put it somewhere, more often along a wall than not; whether it fitted."""
    rng, size = layout.rng, layout.scene.size
    if rng.random() < 0.6:
        wall, share = int(rng.integers(4)), rng.uniform(0.1, 0.9)
        xy, yaw = layout.wall_pose(wall, share, piece.size[1] / 2 + 0.03)
    else:
        xy, yaw = size[:2] * rng.uniform(0.15, 0.85, 2), rng.uniform(0, 2 * np.pi)
    return layout.put(piece, xy, yaw, keep_colors=True)


def painted(piece: Piece, name: str) -> Piece:
    """The piece in one named colour, its textures gone, dark materials a little darker than light ones."""
    shade = 0.85 + 0.15 * piece.colors.mean(1, keepdims=True).clip(0, 1)
    colors = (np.array(COLORS[name]) / 255 * shade).astype(np.float32)
    return replace(piece, colors=colors, texture=np.full_like(piece.texture, -1))


def resized(piece: Piece, factor: float) -> Piece:
    return replace(
        piece,
        size=piece.size * factor,
        vertices=piece.vertices * np.float32(factor),
        top=piece.top * factor if piece.top > 0 else piece.top,
    )
