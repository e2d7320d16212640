"""All triangles of a room in a few arrays, with what each belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from sab3r_ros.rooms.pieces import TEXTURE_SIZE, Piece, caption
from sab3r_ros.rooms.textures import random_color

Rng = np.random.Generator
RECOLOURED = 0.55  # share of library pieces that get another colour: a name must not mean one colour
MAIN_COLOR_SPREAD = 0.08  # materials within this of the main one are recoloured with it


@dataclass(frozen=True)
class Footprint:
    """A piece's place on the floor: center (2,), half sizes (2,) along the room's axes, height; metres."""

    center: np.ndarray
    half: np.ndarray
    height: float

    def overlaps(self, center: np.ndarray, half: np.ndarray, gap: float = 0.03) -> bool:
        return bool((np.abs(center - self.center) < half + self.half + gap).all())


@dataclass
class Scene:
    """size (3,): edges of the box 0..size that holds it all, metres. labels: instance id → caption, name, nyu40, piece.

    spaces: (low (3,), high (3,)) of the boxes of air, the whole by default: rooms, then the doorways between them.
    obstacles: what a camera must not stand in. focus: (center (3,), size (2,)) of surfaces with things on them.
    tour: points (2,) on the floor to be visited in this order; empty in a single room. gaze: (3,) point that a tour looks
    about; None = ahead.
    """

    size: np.ndarray
    labels: dict[int, dict[str, str]] = field(default_factory=dict)
    spaces: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    obstacles: list[Footprint] = field(default_factory=list)
    tour: list[np.ndarray] = field(default_factory=list)
    gaze: np.ndarray | None = None
    focus: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    vertices: list[np.ndarray] = field(default_factory=list)
    triangles: list[np.ndarray] = field(default_factory=list)
    uv: list[np.ndarray] = field(default_factory=list)
    colors: list[np.ndarray] = field(default_factory=list)
    texture: list[np.ndarray] = field(default_factory=list)
    instance: list[np.ndarray] = field(default_factory=list)
    textures: list[np.ndarray] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        if not self.spaces:
            self.spaces.append((np.zeros(3), np.asarray(self.size, float)))

    def _append(self, V, T, uv, colors, texture, label: dict[str, str], number: int | None = None) -> int:
        if number is None:
            number = len(self.labels) + 1
            self.labels[number] = label
        self.vertices.append(V.astype(np.float32))
        self.triangles.append((T + self.count).astype(np.int32))
        self.count += len(V)
        self.uv.append(uv.astype(np.float32))
        self.colors.append(colors.astype(np.float32))
        self.texture.append(texture.astype(np.int32))
        self.instance.append(np.full(len(T), number, np.int32))
        return number

    def add_surface(
        self,
        corner,
        a,
        b,
        image: np.ndarray,
        tile_m: float,
        name: str,
        color: np.ndarray,
        *,
        nyu40: str | None = None,
        instance: int | None = None,
        start_m: tuple[float, float] = (0.0, 0.0),
    ) -> int:
        """A wall, floor or ceiling: the parallelogram corner, a, b (3,) with a texture that repeats every `tile_m` metres.

        nyu40: its class, by default the name. instance: one that this is a part of. start_m: where in the texture it
        begins, so that a wall's parts join. Returns the instance.
        """
        la, lb = np.linalg.norm(a), np.linalg.norm(b)
        V = np.array([corner, corner + a, corner + a + b, corner + b], float)
        T = np.array([[0, 1, 2], [0, 2, 3]])
        uv = (np.array([[0, 0], [la, 0], [la, lb], [0, lb]]) + start_m) / tile_m
        self.textures.append(cv2.resize(image, (TEXTURE_SIZE, TEXTURE_SIZE)))
        label = {"caption": caption(name, color), "name": name, "nyu40": nyu40 or name, "piece": ""}
        return self._append(V, T, uv[T], np.ones((2, 3)), np.full(2, len(self.textures) - 1), label, instance)

    def add_scene(self, other: Scene, offset: np.ndarray) -> None:
        """All of another scene, moved by offset (3,), as new instances; its spaces, obstacles and surfaces come along."""
        instances, textures = len(self.labels), len(self.textures)
        self.labels |= {number + instances: label for number, label in other.labels.items()}
        self.vertices += [(V + offset).astype(np.float32) for V in other.vertices]
        self.triangles += [T + self.count for T in other.triangles]
        self.count += other.count
        self.uv += other.uv
        self.colors += other.colors
        self.texture += [np.where(t >= 0, t + textures, -1) for t in other.texture]
        self.instance += [i + instances for i in other.instance]
        self.textures += other.textures
        self.spaces += [(low + offset, high + offset) for low, high in other.spaces]
        self.obstacles += [Footprint(o.center + offset[:2], o.half, o.height) for o in other.obstacles]
        self.focus += [(center + offset, size) for center, size in other.focus]

    def add_piece(
        self, piece: Piece, position: np.ndarray, yaw: float, rng: Rng, keep_colors: bool = False
    ) -> None:
        """A piece at position (3,) of its lowest centre, turned by yaw about z; some library pieces in another colour."""
        c, s = np.cos(yaw), np.sin(yaw)
        V = piece.vertices @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + position
        area = material_areas(piece)
        main = int(area.argmax())
        colors = piece.colors if piece.procedural or keep_colors else recoloured(piece, main, rng)
        looks = colors * texture_means(piece)
        dominant = (
            looks[main]
            if area[main] > 0.5 * area.sum()
            else (looks * area[:, None]).sum(0) / max(area.sum(), 1e-9)
        )
        first = len(self.textures)
        self.textures += piece.textures
        texture = np.where(piece.texture[piece.material] >= 0, piece.texture[piece.material] + first, -1)
        label = {
            "caption": caption(piece.name, dominant),
            "name": piece.name,
            "nyu40": piece.nyu40,
            "piece": piece.id,
        }
        self._append(V, piece.triangles, piece.uv, colors[piece.material], texture, label)


def material_areas(piece: Piece) -> np.ndarray:
    """Area of each material, (M,)."""
    a, b, c = (piece.vertices[piece.triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return np.bincount(piece.material, area, len(piece.colors))


def texture_means(piece: Piece) -> np.ndarray:
    """What each material's texture multiplies its colour by on average, (M, 3); ones without a texture."""
    means = [np.array(cv2.mean(t)[:3]) / 255 for t in piece.textures]
    return np.array([means[t] if t >= 0 else np.ones(3) for t in piece.texture])


def recoloured(piece: Piece, main: int, rng: Rng) -> np.ndarray:
    """The piece's colours with, often, another one for its main material and those like it."""
    colors = piece.colors.copy()
    if rng.random() >= RECOLOURED:
        return np.clip(colors * rng.uniform(0.8, 1.2), 0, 1)
    new = random_color(rng)
    if piece.texture[main] >= 0:
        colors[main] = np.clip(1.4 * new + 0.1, 0, 1.3)  # tints the texture
    else:
        alike = (piece.texture < 0) & (np.abs(colors - colors[main]).max(1) < MAIN_COLOR_SPREAD)
        colors[alike] = new
    return colors
