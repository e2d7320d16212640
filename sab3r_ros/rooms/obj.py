"""OBJ models with several materials, out of a zip file."""

from __future__ import annotations

import os
import zipfile

import cv2
import numpy as np

from sab3r_ros.rooms.pieces import TEXTURE_SIZE


def read_materials(archive: zipfile.ZipFile, path: str) -> dict[str, dict]:
    """An MTL file: name → colour kd (3,) 0..1, opacity d, texture file map."""
    materials: dict[str, dict] = {}
    current: dict = {}
    for line in archive.read(path).decode("latin-1").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "newmtl":
            current = materials.setdefault(
                " ".join(words[1:]), {"kd": (0.7, 0.7, 0.7), "map": None, "d": 1.0}
            )
        elif words[0] == "Kd":
            current["kd"] = tuple(float(x) for x in words[1:4])
        elif words[0] == "map_Kd":
            current["map"] = words[-1]
        elif words[0] == "d":
            current["d"] = float(words[1])
    return materials


def read_obj(archive: zipfile.ZipFile, path: str) -> tuple:
    """An OBJ file: vertices, triangles (polygons are fanned), uv (T, 3, 2), material (T,), colors, texture, textures."""
    base = os.path.dirname(path)
    vertices: list[list[float]] = []
    coordinates: list[list[float]] = []
    triangles, uv_index, material = [], [], []
    names: dict[str, int] = {}
    materials: dict[str, dict] = {}
    current = 0
    for line in archive.read(path).decode("latin-1").splitlines():
        if line.startswith("v "):
            vertices.append([float(x) for x in line.split()[1:4]])
        elif line.startswith("vt "):
            coordinates.append([float(x) for x in line.split()[1:3]])
        elif line.startswith("f "):
            corners = [corner(word, len(vertices), len(coordinates)) for word in line.split()[1:]]
            for k in range(1, len(corners) - 1):
                fan = (corners[0], corners[k], corners[k + 1])
                triangles.append([c[0] for c in fan])
                uv_index.append([c[1] for c in fan])
                material.append(current)
        elif line.startswith("usemtl"):
            current = names.setdefault(line.split(None, 1)[1].strip(), len(names))
        elif line.startswith("mtllib"):
            materials |= read_materials(archive, os.path.join(base, line.split(None, 1)[1].strip()))
    colors, texture, textures = [], [], []
    for name in names or {"": 0}:
        m = materials.get(name, {"kd": (0.7, 0.7, 0.7), "map": None, "d": 1.0})
        image = read_texture(archive, base, m["map"])
        texture.append(len(textures) if image is not None else -1)
        textures += [image] if image is not None else []
        glass = m["d"] < 0.35
        colors.append((0.75, 0.8, 0.85) if glass else (1.0, 1.0, 1.0) if image is not None else m["kd"])
    points = np.array(
        [*coordinates, [0, 0]], np.float32
    )  # the last row serves corners without coordinates (index −1)
    return (
        np.array(vertices, float),
        np.array(triangles, np.int32),
        points[np.array(uv_index)],
        np.array(material, np.int32),
        np.array(colors, np.float32),
        np.array(texture, np.int32),
        textures,
    )


def corner(word: str, vertices: int, coordinates: int) -> tuple[int, int]:
    """'v/vt/vn' → zero-based vertex and coordinate indices; negative ones count from the end, no coordinate is −1."""
    v, _, rest = word.partition("/")
    vt = rest.partition("/")[0]
    a, b = int(v), int(vt) if vt else 0
    return (a - 1 if a > 0 else vertices + a), (b - 1 if b > 0 else coordinates + b if b < 0 else -1)


def read_texture(archive: zipfile.ZipFile, base: str, name: str | None) -> np.ndarray | None:
    if name is None:
        return None
    try:
        data = archive.read(os.path.normpath(os.path.join(base, name.replace("\\", "/"))))
    except KeyError:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return None
    image = cv2.resize(image, (TEXTURE_SIZE, TEXTURE_SIZE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
