"""`render_room`: a room and a walk through it, with everything that is true of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sab3r_ros.errors import ConfigError
from sab3r_ros.rooms.attribute_pairs import attribute_room
from sab3r_ros.rooms.flat import flat, lap, twin_rooms
from sab3r_ros.rooms.layout import SPLITS, furnished_room
from sab3r_ros.rooms.lens import Lens
from sab3r_ros.rooms.pieces import Piece
from sab3r_ros.rooms.render import PINHOLE, Renderer, develop
from sab3r_ros.rooms.scene import Rng, Scene
from sab3r_ros.rooms.tour import tour
from sab3r_ros.rooms.trajectory import random_path

KINDS: dict[str, Callable[[int, str, Sequence[Piece]], tuple[Scene, Rng]]] = {
    "room": furnished_room,
    "l-room": partial(furnished_room, l_shaped=True),
    "lap": lap,
    "flat": flat,
    "twins": twin_rooms,
    "pairs": attribute_room,
}

RULES = 3  # grows when the same seed gives another room or other pixels; the README says what each changed
FIELD_OF_VIEW_DEG = (62.0, 7.0, 48.0, 82.0)  # horizontal: mean, deviation, least, greatest
NEAR_M, NEAR_SHARE = 0.2, 0.08  # a view with more than this share of pixels nearer than NEAR_M is left out
FEW_INSTANCES, KEEP_BARE = 5, 0.3  # views with fewer instances are kept this often: bare walls teach little


@dataclass(frozen=True)
class RoomClip:
    """F views of a room. images (F, H, W, 3) uint8; depth (F, H, W) float32 metres, z, 0 = none; instance (F, H, W) uint16;

    K (3, 3) pixels; T_WC (F, 4, 4) camera (RDF) to room; labels: instance → caption, name, nyu40, piece.
    """

    images: np.ndarray
    depth: np.ndarray
    instance: np.ndarray
    K: np.ndarray
    T_WC: np.ndarray
    labels: dict[int, dict[str, str]]


def random_intrinsics(width: int, height: int, rng: Rng) -> np.ndarray:
    mean, deviation, least, greatest = FIELD_OF_VIEW_DEG
    angle = np.deg2rad(np.clip(rng.normal(mean, deviation), least, greatest))
    focal = width / 2 / np.tan(angle / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def build_room(kind: str, seed: int, split: str, library: Sequence[Piece] = ()) -> tuple[Scene, Rng]:
    """A scene of one of KINDS, and the random stream to go on with. Raises ConfigError for another kind or split."""
    if kind not in KINDS or split not in SPLITS:
        raise ConfigError(
            f"unknown room '{kind}' or split '{split}': take one of {', '.join(KINDS)} and of {', '.join(SPLITS)}"
        )
    return KINDS[kind](seed, split, library)


def render_room(
    seed: int,
    split: str = "train",
    views: int = 10,
    library: Sequence[Piece] = (),
    size: tuple[int, int] = (256, 192),
    kind: str = "room",
    lens: Lens = PINHOLE,
) -> RoomClip:
    """The same room and views for the same arguments. May give fewer views than asked for, where the camera is too close.

    split: "train", "val" or "test": which furniture models of `library` may appear; without a library the furniture is
    procedural, of every split. size: width, height. kind: one of KINDS; a flat's tour wants about 30 views a room.
    Raises ConfigError for an unknown split or kind.
    """
    scene, rng = build_room(kind, seed, split, library)
    renderer = Renderer(scene, rng)
    width, height = size
    K = random_intrinsics(width, height, rng)
    shots, poses = [], []
    path = tour(scene, rng, views) if scene.tour else random_path(scene, rng, views)
    for v, T_WC in enumerate(path):
        shot = renderer.shot(K, T_WC, width, height, lens)
        instances = len(np.unique(shot.instance))
        too_close = (shot.depth < NEAR_M).mean() > NEAR_SHARE
        if not too_close and (scene.tour or instances >= FEW_INSTANCES or rng.random() < KEEP_BARE):
            onward = path[v + 1] if v + 1 < len(path) else T_WC
            shots.append(replace(shot, radiance=lens.smear(shot.radiance, shot.depth, K, T_WC, onward)))
            poses.append(T_WC)
    if not shots:
        return empty_clip(K, scene.labels, width, height)
    brightness = max(np.percentile(shots[0].radiance, 60), 0.02)
    exposure, gamma = rng.uniform(0.32, 0.55) / brightness, rng.uniform(1.6, 2.4)
    return RoomClip(
        np.stack([develop(s.radiance, exposure * rng.uniform(0.95, 1.05), gamma) for s in shots]),
        np.stack([s.depth for s in shots]),
        np.stack([s.instance for s in shots]),
        K,
        np.stack(poses),
        scene.labels,
    )


def empty_clip(K: np.ndarray, labels: dict[int, dict[str, str]], width: int, height: int) -> RoomClip:
    images, maps = np.zeros((0, height, width, 3), np.uint8), np.zeros((0, height, width))
    return RoomClip(images, maps.astype(np.float32), maps.astype(np.uint16), K, np.zeros((0, 4, 4)), labels)
