"""Scenes with everything that is true of them, from wherever: what a benchmark draws its groups of views from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sab3r_ros.evaluation.labels import ASKED, VOID, asked_index
from sab3r_ros.rooms.clip import RoomClip, render_room
from sab3r_ros.rooms.pieces import Piece
from sab3r_ros.rooms.write import FIRST_SEED

ROOM_VIEWS = 16  # of which groups are drawn
ROOM_SIZE = (256, 192)  # width, height


@dataclass(frozen=True)
class LabelledView:
    """image (H, W, 3) uint8 RGB; depth (H, W) float32 metres, z, 0 = none; labels (H, W) int16, index into the scene's
    classes, −1 = void; K (3, 3) of the depth's pixels; T_WC (4, 4) world from camera (RDF).
    """

    image: np.ndarray
    depth: np.ndarray
    labels: np.ndarray
    K: np.ndarray
    T_WC: np.ndarray


@dataclass(frozen=True)
class Scene:
    """classes: the words that are asked for. load: frame number, 0 to frames − 1, → its view; None where the camera was lost."""

    name: str
    classes: tuple[str, ...]
    frames: int
    load: Callable[[int], LabelledView | None]


def room_scenes(rooms: int, library: Sequence[Piece]) -> list[Scene]:
    """The first `rooms` rooms of the test split. library: furniture, may be empty (procedural furniture alone)."""
    return [room_scene(FIRST_SEED["test"] + k, library) for k in range(rooms)]


def room_scene(seed: int, library: Sequence[Piece]) -> Scene:
    """One room, rendered when it is first looked at."""

    @lru_cache(maxsize=1)
    def clip() -> RoomClip:
        return render_room(seed, "test", ROOM_VIEWS, library, ROOM_SIZE)

    def load(k: int) -> LabelledView | None:
        c = clip()
        if k >= len(c.images):  # the camera came too near to something
            return None
        lookup = np.full(int(c.instance.max()) + 1, VOID, np.int16)
        for instance, what in c.labels.items():
            if instance < len(lookup):
                lookup[instance] = asked_index(what["nyu40"])
        return LabelledView(c.images[k], c.depth[k], lookup[c.instance[k]], c.K, c.T_WC[k])

    return Scene(f"room-{seed}", ASKED, ROOM_VIEWS, load)
