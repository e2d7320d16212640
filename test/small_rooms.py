"""A room whose every distance a person can compute: the inside of a box, seen by pinhole cameras."""

import numpy as np

from sab3r_ros.evaluation.scenes import LabelledView, Scene
from sab3r_ros.rooms.trajectory import look

ROOM = np.array([4.0, 3.0, 2.5])  # metres; walls are label 0, the floor 1, the ceiling void
CLASSES = ("wall", "floor", "box")


def box_view(eye, forward, size=(96, 128), focal=100.0, seed=0) -> LabelledView:
    """What a camera in the room sees."""
    h, w = size
    T_WC = look(np.asarray(eye, float), np.asarray(forward, float))
    K = np.array([[focal, 0, (w - 1) / 2], [0, focal, (h - 1) / 2], [0, 0, 1]])
    v, u = np.mgrid[:h, :w]
    rays = np.stack([(u - K[0, 2]) / focal, (v - K[1, 2]) / focal, np.ones((h, w))], -1)
    world = rays @ T_WC[:3, :3].T
    with np.errstate(divide="ignore"):
        reach = np.where(world > 0, ROOM - T_WC[:3, 3], -T_WC[:3, 3]) / world
    reach[world == 0] = np.inf
    axis, depth = reach.argmin(-1), reach.min(-1)  # z-depth, as rays have z = 1
    labels = np.where(axis < 2, 0, np.where(world[..., 2] < 0, 1, -1)).astype(np.int16)
    place = T_WC[:3, 3] + world * depth[..., None]
    waves = np.random.default_rng(seed).normal(0, 4, (3, 3))
    image = (127.5 * (1 + np.sin(place @ waves))).astype(np.uint8)
    return LabelledView(image, depth.astype(np.float32), labels, K, T_WC)


def box_views(count: int = 8, **options) -> list[LabelledView]:
    """Cameras that turn and walk a little."""
    return [
        box_view((1.5 + 0.1 * k, 1.4, 1.3), (np.cos(0.15 * k), np.sin(0.15 * k), -0.35), **options)
        for k in range(count)
    ]


def box_room(name: str = "box", count: int = 8, **options) -> Scene:
    views = box_views(count, **options)
    return Scene(name, CLASSES, count, lambda k: views[k])
