"""Several rooms with doorways between them: flats with loops, and twins, which look alike and are not the same place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sab3r_ros.errors import ConfigError
from sab3r_ros.rooms.layout import add_wall_pieces, furnish, furnished_room, in_split, keep_free
from sab3r_ros.rooms.pieces import Piece
from sab3r_ros.rooms.placing import Layout
from sab3r_ros.rooms.scene import Rng, Scene
from sab3r_ros.rooms.shell import Gap, build_shell
from sab3r_ros.rooms.textures import surface

WALL_M = 0.15  # thickness of a wall between rooms
DOORWAY_HEIGHT_M = 2.05
GAZE_HEIGHT_M = 0.8  # where who films a room looks: at what stands there
OPENING_M = 0.3  # a camera may be this far beyond a doorway's ends: it joins the rooms' free boxes


def flat(seed: int, split: str, library: Sequence[Piece] = (), rooms: int = 4) -> tuple[Scene, Rng]:
    """Rooms in two columns, each joined to its neighbours; four have one loop, six two. The tour ends where it began.

    Raises ConfigError for fewer than two rooms.
    """
    if rooms < 2:
        raise ConfigError(f"a flat has two rooms or more, not {rooms}; render a 'room' instead")
    rng = np.random.default_rng(seed)
    pool = [p for p in library if in_split(p, split)]
    columns, rows = rng.uniform(3.0, 4.6, 2), rng.uniform(3.0, 4.6, (rooms + 1) // 2)
    height = rng.uniform(2.4, 3.0)
    left = np.array([0, columns[0] + WALL_M])
    front = np.concatenate([[0], np.cumsum(rows + WALL_M)[:-1]])
    whole = Scene(np.array([columns.sum() + WALL_M, front[-1] + rows[-1], height]))
    whole.spaces.clear()
    gaps: list[list[Gap]] = [[] for _ in range(rooms)]
    doorways = []
    for n in range(rooms):
        row, column = divmod(n, 2)
        for other, wall, length in ((n + 1, 3, rows[row]), (n + 2, 1, columns[column])):
            if other >= rooms or (wall == 3 and column == 1):
                continue
            gap = Gap(wall, rng.uniform(0.25, 0.75) * length, rng.uniform(0.85, 1.1), DOORWAY_HEIGHT_M)
            gaps[n].append(gap)
            gaps[other].append(Gap(wall - 1, gap.center, gap.width, gap.height))
            doorways.append(
                (np.array([left[column], front[row]]), np.array([columns[column], rows[row]]), gap)
            )
    for n in range(rooms):
        row, column = divmod(n, 2)
        room = Layout(Scene(np.array([columns[column], rows[row], height])), rng, pool)
        furnish(room, gaps[n])
        whole.add_scene(room.scene, np.array([left[column], front[row], 0]))
    for corner, size, gap in doorways:
        add_doorway(whole, rng, corner, size, gap)
    round_trip = [*range(0, rooms, 2), *reversed(range(1, rooms, 2)), 0, 2 % rooms]
    whole.tour = [
        np.array([left[n % 2] + columns[n % 2] / 2, front[n // 2] + rows[n // 2] / 2]) for n in round_trip
    ]
    return whole, rng


def lap(seed: int, split: str, library: Sequence[Piece] = ()) -> tuple[Scene, Rng]:
    """One room, filmed: round it, a quarter of its floor from the walls, looking across it, and a little farther than once."""
    scene, rng = furnished_room(seed, split, library)
    corners = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])
    scene.tour = [*(corners * scene.size[:2]), *(corners[:2] * scene.size[:2])]
    scene.gaze = np.array([*(scene.size[:2] / 2), GAZE_HEIGHT_M])
    return scene, rng


def twin_rooms(seed: int, split: str, library: Sequence[Piece] = ()) -> tuple[Scene, Rng]:
    """Two rooms alike to the last mug, side by side on a corridor: whoever closes a loop between them is wrong."""
    rng = np.random.default_rng(seed)
    size = np.array([rng.uniform(3.0, 4.5), rng.uniform(3.0, 4.5), rng.uniform(2.4, 3.0)])
    gap = Gap(0, rng.uniform(0.3, 0.7) * size[0], rng.uniform(0.85, 1.1), DOORWAY_HEIGHT_M)
    room = Layout(Scene(size), rng, [p for p in library if in_split(p, split)])
    furnish(room, [gap])
    depth, step = rng.uniform(1.4, 2.0), size[0] + WALL_M
    hall = Layout(Scene(np.array([size[0] + step, depth, size[2]])), rng, room.pool)
    doors = [Gap(1, gap.center + k * step, gap.width, gap.height) for k in range(2)]
    build_shell(hall.scene, rng, doors)
    for door in doors:
        keep_free(hall, door)
    for _ in range(2):
        add_wall_pieces(hall)
    whole = Scene(np.array([size[0] + step, depth + WALL_M + size[1], size[2]]))
    whole.spaces.clear()
    whole.add_scene(hall.scene, np.zeros(3))
    centers = []
    for k in range(2):
        corner = np.array([k * step, depth + WALL_M])
        whole.add_scene(room.scene, np.array([*corner, 0]))
        add_doorway(whole, rng, corner, size[:2], gap)
        centers.append(corner + size[:2] / 2)
    whole.tour = [
        centers[0],
        np.array([step, depth / 2]),
        centers[1],
        np.array([step, depth / 2]),
        centers[0],
    ]
    return whole, rng


def add_doorway(scene: Scene, rng: Rng, corner: np.ndarray, size: np.ndarray, gap: Gap) -> None:
    """The passage through the wall at `gap` of the room at corner (2,) with edges size (2,): threshold, jambs, lintel."""
    across = int(gap.wall < 2)  # the axis that one walks along
    low, high = np.zeros(3), np.array([0, 0, gap.height])
    begin = corner[across] + (size[across] if gap.wall % 2 else -WALL_M)
    low[across], high[across] = begin, begin + WALL_M
    center = corner[1 - across] + gap.center
    low[1 - across], high[1 - across] = center - gap.width / 2, center + gap.width / 2
    image, color = surface(rng, "ceiling")
    X, Y, Z = np.diag(high - low)
    instance = None
    along = Y if across else X
    for start, a, b in (
        (low, X, Y),
        (low + Z, X, Y),
        (low, along, Z),
        (low + (X if across else Y), along, Z),
    ):
        instance = scene.add_surface(
            start, a, b, image, 2.0, "doorway", color, nyu40="otherstructure", instance=instance
        )
    reach = np.zeros(3)
    reach[across] = OPENING_M
    scene.spaces.append((low - reach, high + reach))
