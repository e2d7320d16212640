"""Procedural pictures: surfaces of rooms, screens, book covers, keys."""

from __future__ import annotations

import cv2
import numpy as np

from sab3r_ros.rooms.pieces import COLORS, TEXTURE_SIZE

Rng = np.random.Generator
SMALL = 128  # pixels of a texture on a small thing

SURFACES = {  # what a surface may look like, and its usual colours
    "floor": (
        ("planks", "tiles", "carpet", "plain", "checker"),
        ("brown", "beige", "grey", "white", "brown"),
    ),
    "wall": (
        ("plain", "plain", "stripes", "brick", "noise", "dots"),
        ("white", "beige", "grey", "white", "yellow", "blue", "green", "pink", "orange"),
    ),
    "ceiling": (("plain", "noise"), ("white", "white", "beige")),
}


def random_color(rng: Rng, names=None) -> np.ndarray:
    """A colour (3,) 0..1 near one of the named ones."""
    base = np.array(COLORS[str(rng.choice(list(names or COLORS)))], float) / 255
    return np.clip(base * rng.uniform(0.75, 1.2) + rng.normal(0, 0.03, 3), 0.02, 0.98)


def cloud_noise(rng: Rng, stretch: tuple[int, int] = (1, 1), octaves: int = 5) -> np.ndarray:
    """Smooth noise in −1..1, TEXTURE_SIZE squared; stretch: more detail along rows or columns (wood grain)."""
    n = TEXTURE_SIZE
    total = np.zeros((n, n), np.float32)
    for k in range(octaves):
        cells = 2 ** (k + 1)
        grid = rng.normal(size=(cells * stretch[0], cells * stretch[1])).astype(np.float32)
        total += cv2.resize(grid, (n, n), interpolation=cv2.INTER_CUBIC) / 2**k
    return total / np.abs(total).max()


def surface(rng: Rng, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A tiling texture for a floor, wall or ceiling: uint8 RGB, and its base colour 0..1."""
    looks, names = SURFACES[kind]
    color = random_color(rng, names)
    if kind != "floor":
        color = 1 - (1 - color) * rng.uniform(0.2, 0.9)
    image = np.ones((TEXTURE_SIZE, TEXTURE_SIZE, 3), np.float32) * color
    image *= 1 + 0.06 * rng.uniform(0.3, 1.5) * cloud_noise(rng)[..., None]
    look = str(rng.choice(looks))
    if look == "planks":
        lay_planks(image, rng)
    elif look in ("tiles", "brick"):
        lay_tiles(image, rng, staggered=look == "brick")
    elif look == "checker":
        size = int(rng.choice([32, 64]))
        rows, cols = np.mgrid[:TEXTURE_SIZE, :TEXTURE_SIZE] // size
        image[(rows + cols) % 2 == 1] = random_color(rng)
    elif look == "carpet":
        image *= 1 + rng.uniform(0.05, 0.25) * rng.normal(size=(*image.shape[:2], 1))
    elif look == "stripes":
        image[:, (np.arange(TEXTURE_SIZE) // int(rng.choice([8, 16, 32]))) % 2 == 0] *= rng.uniform(
            0.75, 0.95
        )
    elif look == "dots":
        dot = ((random_color(rng) + color) / 2).tolist()
        for _ in range(int(rng.integers(20, 80))):
            cv2.circle(
                image, tuple(rng.integers(0, TEXTURE_SIZE, 2).tolist()), int(rng.integers(3, 14)), dot, -1
            )
    elif look == "noise":
        image *= 1 + rng.uniform(0.02, 0.1) * rng.normal(size=(*image.shape[:2], 1))
    return (image.clip(0, 1) * 255).astype(np.uint8), color


def lay_planks(image: np.ndarray, rng: Rng) -> None:
    rows = int(rng.integers(4, 9))
    height = TEXTURE_SIZE // rows
    for r in range(rows):
        plank = image[r * height : (r + 1) * height]
        plank *= rng.uniform(0.8, 1.15) * (1 + 0.12 * cloud_noise(rng, (8, 1))[: len(plank), :, None])
        joint = int(rng.integers(0, TEXTURE_SIZE - 2))
        plank[:2] *= 0.6
        plank[:, joint : joint + 2] *= 0.6


def lay_tiles(image: np.ndarray, rng: Rng, staggered: bool) -> None:
    width = int(rng.choice([32, 64, 128]))
    height = width // 2 if staggered else width
    grout = rng.uniform(0.5, 1.3)
    for row, y in enumerate(range(0, TEXTURE_SIZE, height)):
        shift = width // 2 if staggered and row % 2 else 0
        for x in range(-shift, TEXTURE_SIZE, width):
            image[y : y + height, max(x, 0) : x + width] *= rng.uniform(0.88, 1.1)
            if x > 0:
                image[y : y + height, x : x + 2] *= grout
        image[y : y + 2] *= grout


def screen(rng: Rng) -> np.ndarray:
    """A display: dark, a wallpaper, or windows with lines of text."""
    image = np.full((SMALL, SMALL, 3), rng.integers(0, 256, 3), np.uint8)
    kind = int(rng.integers(0, 4))
    if kind == 0:
        image[:] = rng.integers(5, 30)
        return image
    if kind == 1:
        image = cv2.resize(
            rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (SMALL, SMALL), interpolation=cv2.INTER_CUBIC
        )
    for _ in range(int(rng.integers(0, 5))):
        x, y, w, h = (int(v) for v in (*rng.integers(0, 90, 2), *rng.integers(20, 90, 2)))
        cv2.rectangle(image, (x, y), (x + w, y + h), rng.integers(0, 256, 3).tolist(), -1)
        for row in range(y + 6, min(y + h, SMALL - 2), 6):
            end = x + int(rng.integers(10, max(w, 12)))
            cv2.line(image, (x + 4, row), (end, row), rng.integers(0, 256, 3).tolist(), 1)
    return image


def cover(rng: Rng) -> np.ndarray:
    """A book's cover: coloured rectangles."""
    image = np.full((SMALL, SMALL, 3), (random_color(rng) * 255).astype(int), np.uint8)
    for _ in range(int(rng.integers(1, 6))):
        x, y = (int(v) for v in rng.integers(0, 100, 2))
        end = (x + int(rng.integers(10, 90)), y + int(rng.integers(5, 50)))
        cv2.rectangle(image, (x, y), end, (random_color(rng) * 255).tolist(), -1)
    return image


def keys(base: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Six rows of sixteen keys. base, key: colours 0..1."""
    image = np.full((SMALL, SMALL, 3), (base * 255).astype(int), np.uint8)
    for row in range(6):
        for column in range(16):
            corner = (2 + column * 8, 4 + row * 20)
            cv2.rectangle(
                image, corner, (corner[0] + 5, corner[1] + 14), (key * 255).astype(int).tolist(), -1
            )
    return image


def painting(rng: Rng) -> np.ndarray:
    cells = rng.integers(2, 9, 2)
    smooth = int(rng.choice([cv2.INTER_CUBIC, cv2.INTER_NEAREST]))
    image = cv2.resize(
        rng.integers(0, 256, (*cells, 3), dtype=np.uint8), (SMALL, SMALL), interpolation=smooth
    )
    for _ in range(int(rng.integers(0, 8))):
        center, axes = rng.integers(0, SMALL, 2).tolist(), rng.integers(5, 50, 2).tolist()
        cv2.ellipse(
            image, center, axes, float(rng.integers(0, 180)), 0, 360, rng.integers(0, 256, 3).tolist(), -1
        )
    return image


def written_page(rng: Rng) -> np.ndarray:
    image = np.full((SMALL, SMALL, 3), 245, np.uint8)
    for row in range(10, 120, 6):
        cv2.line(image, (10, row), (int(rng.integers(60, 120)), row), (90, 90, 90), 1)
    return image
