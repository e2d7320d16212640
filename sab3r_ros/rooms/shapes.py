"""Simple solids as (vertices, triangles), and pieces put together from them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.rooms.pieces import TEXTURE_SIZE, Piece

Mesh = tuple[np.ndarray, np.ndarray]
BOX_TRIANGLES = np.array(
    [
        [0, 1, 3],
        [0, 3, 2],
        [4, 6, 7],
        [4, 7, 5],
        [0, 4, 5],
        [0, 5, 1],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 5, 7],
        [1, 7, 3],
    ]
)


@dataclass(frozen=True)
class Part:
    """A mesh with one look: a colour (3,) 0..1, or a texture image spread over the two axes given (0 x, 1 y, 2 z)."""

    mesh: Mesh
    look: np.ndarray
    axes: tuple[int, int] = (0, 1)


def box(center, size) -> Mesh:
    corners = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) / 2
    return corners * size + center, BOX_TRIANGLES


def lathe(profile, sides: int = 20, center=(0, 0, 0)) -> Mesh:
    """A profile of (radius, height) turned around the z axis."""
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rings = [np.stack([r * np.cos(angle), r * np.sin(angle), np.full(sides, h)], 1) for r, h in profile]
    triangles = []
    for k in range(len(rings) - 1):
        for i in range(sides):
            j = (i + 1) % sides
            a, b, c, d = k * sides + i, k * sides + j, (k + 1) * sides + i, (k + 1) * sides + j
            triangles += [[a, b, d], [a, d, c]]
    return np.concatenate(rings) + center, np.array(triangles)


def ball(center, radius, sides: int = 14) -> Mesh:
    """An ellipsoid; radius is one number or three."""
    latitudes = np.linspace(-np.pi / 2, np.pi / 2, sides // 2 + 2)
    vertices, triangles = lathe([(max(np.cos(t), 1e-3), np.sin(t)) for t in latitudes], sides)
    return vertices * np.broadcast_to(radius, 3) + center, triangles


def turned(mesh: Mesh, degrees: float, axis: int) -> Mesh:
    """Rotated about the x (0) or z (2) axis through the origin."""
    a = np.deg2rad(degrees)
    c, s = np.cos(a), np.sin(a)
    R = np.array([[1, 0, 0], [0, c, -s], [0, s, c]] if axis == 0 else [[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return mesh[0] @ R.T, mesh[1]


def moved(mesh: Mesh, offset) -> Mesh:
    return mesh[0] + offset, mesh[1]


def assemble(name: str, nyu40: str, parts: list[Part], role: str = "top", top: float = -1.0) -> Piece:
    """A piece from its parts, moved to stand on z = 0 about the origin."""
    vertices, triangles, uv, material, colors, texture, textures, start = [], [], [], [], [], [], [], 0
    for k, part in enumerate(parts):
        V, T = part.mesh
        vertices.append(V)
        triangles.append(T + start)
        start += len(V)
        material.append(np.full(len(T), k))
        if part.look.ndim == 3:
            texture.append(len(textures))
            textures.append(cv2.resize(part.look, (TEXTURE_SIZE, TEXTURE_SIZE)))
            colors.append((1.0, 1.0, 1.0))
            low, high = V.min(0), V.max(0)
            uv.append(((V - low) / np.maximum(high - low, 1e-6))[:, list(part.axes)][T])
        else:
            texture.append(-1)
            colors.append(tuple(part.look))
            uv.append(np.zeros((len(T), 3, 2)))
    V = np.concatenate(vertices)
    low, high = V.min(0), V.max(0)
    V = V - [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]
    return Piece(
        f"procedural/{name}",
        name,
        nyu40,
        role,
        high - low,
        V.astype(np.float32),
        np.concatenate(triangles).astype(np.int32),
        np.concatenate(uv).astype(np.float32),
        np.concatenate(material).astype(np.int32),
        np.array(colors, np.float32),
        np.array(texture, np.int32),
        textures,
        top,
    )
