"""A furnished room from a seed: doors and windows, tables with chairs, furniture along walls, small things on surfaces."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence, Set

import numpy as np

from sab3r_ros.rooms import procedural, simple_furniture
from sab3r_ros.rooms.pieces import Piece
from sab3r_ros.rooms.placing import Layout, half_extent, turn
from sab3r_ros.rooms.scene import Footprint, Rng, Scene
from sab3r_ros.rooms.shell import Gap, build_shell, cut_corner

SPLITS = {"train": range(8), "val": range(8, 9), "test": range(9, 10)}  # tenths of the furniture models
DOOR_CLEARANCE_M = 0.35
DOORWAY_CLEARANCE_M = 1.0  # between rooms: people walk through
L_SHAPED_LEAST_M = 4.0  # shortest edge of an L-shaped room
LARGE = ("sofa", "bed", "cabinet", "bookshelf", "dresser", "shelves")


def in_split(piece: Piece, split: str) -> bool:
    """Whether a furniture model belongs to a split; no model is in two."""
    return zlib.crc32(piece.id.encode()) % 10 in SPLITS[split]


def furnished_room(
    seed: int, split: str, library: Sequence[Piece] = (), l_shaped: bool = False
) -> tuple[Scene, Rng]:
    """A room and the random stream to go on with. library: furniture, of which `split`'s models are used; may be empty."""
    rng = np.random.default_rng(seed)
    size = room_size(rng)
    if l_shaped:
        size[:2] = np.maximum(size[:2], L_SHAPED_LEAST_M)
    layout = Layout(Scene(size), rng, [p for p in library if in_split(p, split)])
    furnish(layout, l_shaped=l_shaped)
    return layout.scene, rng


def room_size(rng: Rng) -> np.ndarray:
    """(3,) metres."""
    return np.array([rng.uniform(2.8, 6.5), rng.uniform(2.8, 6.5), rng.uniform(2.35, 3.0)])


def furnish(
    layout: Layout,
    gaps: Sequence[Gap] = (),
    l_shaped: bool = False,
    first: Callable[[Layout], None] | None = None,
) -> None:
    """Build the room and fill it. gaps: doorways to keep free, in walls without windows. first: places furniture of its own."""
    build_shell(layout.scene, layout.rng, gaps)
    if l_shaped:
        corner, hidden = cut_corner(layout.scene, layout.rng)
        layout.taken.append(corner)
        for wall, share, half in hidden:
            layout.on_walls[wall].append((share, half))
    for gap in gaps:
        keep_free(layout, gap)
    add_openings(layout, {gap.wall for gap in gaps})
    if first is not None:
        first(layout)
    add_rug(layout)
    for _ in range(int(layout.rng.integers(1, 4))):
        add_table_with_chairs(layout)
    add_furniture(layout)
    add_wall_pieces(layout)
    for piece, xy, yaw in layout.surfaces:
        cover_surface(layout, piece, xy, yaw)


def keep_free(layout: Layout, gap: Gap) -> None:
    """Nothing stands in a doorway or hangs over it."""
    length = layout.scene.size[0 if gap.wall < 2 else 1]
    layout.on_walls[gap.wall].append((gap.center / length, gap.width / 2))
    xy, _ = layout.wall_pose(gap.wall, gap.center / length, DOORWAY_CLEARANCE_M / 2)
    half = (
        np.array([gap.width, DOORWAY_CLEARANCE_M] if gap.wall < 2 else [DOORWAY_CLEARANCE_M, gap.width]) / 2
    )
    layout.taken.append(Footprint(xy, half, gap.height))


def add_openings(layout: Layout, inner: Set[int]) -> None:
    """Doors, and windows where behind the wall is no other room (inner: walls with one)."""
    rng = layout.rng
    for role, count in (("door", 1 + (rng.random() < 0.3)), ("window", rng.integers(0, 3))):
        pieces = layout.of(role)
        for _ in range(int(count) if pieces else 0):
            piece = layout.pick(pieces)
            sill = 0.0 if role == "door" else rng.uniform(0.6, 1.1) if piece.size[2] < 1.5 else 0.05
            xy = layout.hang(piece, sill, float(piece.size[1]) * 0.3, inner)
            if role == "door" and xy is not None:  # keep the way free
                layout.taken.append(
                    Footprint(xy, np.full(2, max(DOOR_CLEARANCE_M, float(piece.size[0]) / 2)), 2.0)
                )


def add_rug(layout: Layout) -> None:
    rugs = layout.of("rug")
    if rugs and layout.rng.random() < 0.35:
        xy = layout.scene.size[:2] * layout.rng.uniform(0.3, 0.7, 2)
        if not layout.in_wall(xy):
            layout.scene.add_piece(
                layout.pick(rugs),
                np.array([*xy, 0.001]),
                float(layout.rng.choice([0, np.pi / 2])),
                layout.rng,
            )


def any_chair(layout: Layout) -> Piece:
    chairs = [p for p in layout.of("floor") if p.nyu40 == "chair"]
    return (
        simple_furniture.chair(layout.rng) if not chairs or layout.rng.random() < 0.4 else layout.pick(chairs)
    )


def add_table_with_chairs(layout: Layout) -> None:
    rng, size = layout.rng, layout.scene.size
    tables = [p for p in layout.of("floor") if p.nyu40 in ("table", "desk")]
    table = simple_furniture.table(rng) if not tables or rng.random() < 0.45 else layout.pick(tables)
    if rng.random() < 0.45:
        xy, yaw = layout.wall_pose(int(rng.integers(4)), rng.uniform(0.2, 0.8), table.size[1] / 2 + 0.02)
    else:
        xy, yaw = (
            size[:2] * rng.uniform(0.25, 0.75, 2),
            float(rng.choice(4)) * np.pi / 2 + rng.normal(0, 0.15),
        )
    if not layout.put(table, xy, yaw):
        return
    under = layout.taken.pop()  # chairs may stand half under their table
    kind = any_chair(layout)
    for _ in range(int(rng.integers(0, 5))):
        seat = kind if rng.random() < 0.7 else any_chair(layout)
        side = int(rng.integers(4))
        out = np.array([(0, -1), (0, 1), (-1, 0), (1, 0)][side])
        half = table.size[:2] / 2
        offset = out * (half + seat.size[1] / 2 * rng.uniform(0.3, 1.1)) + out[::-1] * half * rng.uniform(
            -0.6, 0.6
        )
        facing = yaw + [np.pi, 0, np.pi / 2, -np.pi / 2][side] + rng.normal(0, 0.35)
        layout.put(seat, xy + turn(yaw) @ offset, facing)
    layout.taken.append(under)


def add_furniture(layout: Layout) -> None:
    rng, size = layout.rng, layout.scene.size
    floor = layout.of("floor")
    large = [p for p in floor if p.nyu40 in LARGE]
    for _ in range(int(rng.integers(4, 14))):
        chance = rng.random()
        if chance < 0.08 or not floor:
            piece = simple_furniture.bookcase(rng)
        else:
            piece = layout.pick(large if large and chance < 0.5 else floor)
        if piece.size[2] > size[2] - 0.05:
            continue
        if rng.random() < 0.75:
            layout.put(
                piece,
                *layout.wall_pose(int(rng.integers(4)), rng.uniform(0.05, 0.95), piece.size[1] / 2 + 0.02),
            )
        else:
            layout.put(piece, size[:2] * rng.uniform(0.1, 0.9, 2), rng.uniform(0, 2 * np.pi))
    for _ in range(int(rng.integers(0, 4))):
        layout.put(
            layout.pick(procedural.CLUTTER)(rng),
            size[:2] * rng.uniform(0.05, 0.95, 2),
            rng.uniform(0, 2 * np.pi),
        )


def add_wall_pieces(layout: Layout) -> None:
    rng, size = layout.rng, layout.scene.size
    hung = layout.of("wall")
    for _ in range(int(rng.integers(1, 6))):
        piece = procedural.picture(rng) if not hung or rng.random() < 0.6 else layout.pick(hung)
        layout.hang(
            piece,
            max(min(rng.uniform(1.1, 1.7), size[2] - piece.size[2] - 0.05), 0.0),
            piece.size[1] / 2 + 0.01,
        )
    lamps = layout.of("ceiling")
    if lamps and rng.random() < 0.5:
        lamp = layout.pick(lamps)
        xy = size[:2] * rng.uniform(0.3, 0.7, 2)
        if not layout.in_wall(xy):
            layout.scene.add_piece(lamp, np.array([*xy, size[2] - lamp.size[2]]), 0.0, rng)


def cover_surface(layout: Layout, piece: Piece, xy: np.ndarray, yaw: float) -> None:
    """Small things on a surface; a desk gets a computer at its back more often than not."""
    rng, half = layout.rng, piece.size[:2] / 2 * 0.85
    work = piece.nyu40 in ("desk", "table")
    placed: list[Footprint] = []

    def stand(thing: Piece, at: np.ndarray, angle: float) -> None:
        extent = half_extent(thing, angle)
        if (np.abs(at) + extent > half * 1.1).any() or any(p.overlaps(at, extent, 0.005) for p in placed):
            return
        placed.append(Footprint(at, extent, float(thing.size[2])))
        layout.scene.add_piece(thing, np.array([*(xy + turn(yaw) @ at), piece.top]), yaw + angle, rng)

    if work and piece.size[0] > 0.7 and rng.random() < 0.6:
        x = rng.uniform(-0.4, 0.4) * half[0]
        computer = procedural.monitor(rng) if rng.random() < 0.75 else procedural.laptop(rng)
        stand(computer, np.array([x, half[1] - computer.size[1] / 2 - 0.03]), rng.normal(0, 0.15))
        front = rng.uniform(-0.5, 0.1) * half[1]
        if rng.random() < 0.8:
            stand(procedural.keyboard(rng), np.array([x + rng.normal(0, 0.05), front]), rng.normal(0, 0.12))
        if rng.random() < 0.7:
            stand(procedural.mouse(rng), np.array([x + 0.32, front]), rng.normal(0, 0.3))
    count = rng.integers(2, 13) if work else rng.integers(0, 3)
    if piece.nyu40 in ("chair", "sofa", "bed"):
        count = int(rng.random() < 0.25)
    small = layout.of("top")
    for _ in range(int(count)):
        thing = (
            layout.pick(procedural.SMALL_THINGS)(rng)
            if not small or rng.random() < 0.6
            else layout.pick(small)
        )
        if thing.role != "floor" and thing.size[2] < 1:
            stand(
                thing,
                rng.uniform(-1, 1, 2) * half,
                rng.uniform(0, 2 * np.pi) if rng.random() < 0.6 else rng.normal(0, 0.2),
            )
    if placed and work:
        layout.scene.focus.append((np.array([*xy, piece.top]), piece.size[:2]))
