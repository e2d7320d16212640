"""A piece of furniture: a textured mesh with a name, a class and a size."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import cv2
import numpy as np

TEXTURE_SIZE = 256

COLORS = {
    "black": (15, 15, 15),
    "white": (240, 240, 240),
    "grey": (128, 128, 128),
    "red": (190, 30, 30),
    "green": (40, 130, 50),
    "blue": (40, 70, 180),
    "yellow": (225, 200, 50),
    "orange": (225, 120, 30),
    "brown": (105, 65, 35),
    "beige": (215, 195, 160),
    "pink": (230, 150, 170),
    "purple": (110, 50, 140),
}

# First pattern found in a name decides its NYU40 class; a name that fits none is "otherprop".
NYU40_PATTERNS = (
    ("armchair|stool|chair|seat|pouf|bench", "chair"),
    ("sofa|couch|futon", "sofa"),
    ("bedside|night", "night stand"),
    ("^desk|wooden desk", "desk"),
    ("table", "table"),
    ("bed", "bed"),
    ("bookcase|bookshelf", "bookshelf"),
    ("dresser|drawers|chest|commode", "dresser"),
    ("wardrobe|cabinet|buffet|sideboard|locker|cupboard", "cabinet"),
    ("shel", "shelves"),
    ("lamp|light", "lamp"),
    ("television|monitor", "television"),
    ("mirror", "mirror"),
    ("refrigerator", "refridgerator"),  # NYU40's own spelling
    ("washbasin|sink|lavatory", "sink"),
    ("toilet", "toilet"),
    ("bathtub|bath$|jacuzzi", "bathtub"),
    ("box", "box"),
    ("bag|suitcase", "bag"),
    ("pillow|cushion", "pillow"),
    ("frame|picture|painting|artwork", "picture"),
    ("door", "door"),
    ("window", "window"),
    ("book|newspaper|magazine", "books"),
    ("trousers|jacket|suit$|clothes|shirt|skirt|hat$", "clothes"),
    ("towel", "towel"),
    ("board$", "whiteboard"),
    ("island|counter|worktop", "counter"),
    ("carpet|rug", "floor mat"),
    ("curtain", "curtain"),
    ("blind|shutter", "blinds"),
)


@dataclass
class Piece:
    """A mesh in metres, standing on z = 0, centred in x and y, its front towards −y.

    vertices (V, 3); triangles (T, 3); uv (T, 3, 2); material (T,) index into colors (M, 3) 0..1 and texture (M,), an index
    into textures or −1; textures: uint8 RGB. role: where it goes ("floor", "top" of something, "wall", "ceiling",
    "door", "window", "rug", "any"). top: height of a surface that things may stand on, metres, or −1.
    """

    id: str
    name: str
    nyu40: str
    role: str
    size: np.ndarray
    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    material: np.ndarray
    colors: np.ndarray
    texture: np.ndarray
    textures: list[np.ndarray] = field(default_factory=list)
    top: float = -1.0

    @property
    def procedural(self) -> bool:
        return self.id.startswith("procedural/")


def nyu40_class(name: str) -> str:
    return next((c for pattern, c in NYU40_PATTERNS if re.search(pattern, name)), "otherprop")


def lab(rgb: tuple[int, int, int] | np.ndarray) -> np.ndarray:
    """8-bit RGB → 8-bit CIELAB, as floats."""
    return cv2.cvtColor(np.uint8([[rgb]]), cv2.COLOR_RGB2LAB)[0, 0].astype(float)


COLOR_LABS = {name: lab(rgb) for name, rgb in COLORS.items()}


def color_name(rgb: np.ndarray) -> str:
    """The basic colour word for an RGB colour 0..1: nearest in CIELAB, lightness counting less than hue."""
    here = lab(np.clip(np.asarray(rgb) * 255, 0, 255))
    return min(COLOR_LABS, key=lambda n: float(np.linalg.norm((COLOR_LABS[n] - here) * [0.6, 1.3, 1.3])))


def caption(name: str, rgb: np.ndarray) -> str:
    """ "a black office chair"."""
    color = color_name(rgb)
    return f"{'an' if color[0] in 'aeiou' else 'a'} {color} {name}"
