"""Whether a thing has the colour that was asked for: by its voxels' colours and by what its features say."""

from __future__ import annotations

import cv2
import numpy as np

from sab3r_ros.querying.language import COLORS
from sab3r_ros.querying.text import TextEncoder

PROTOTYPES = np.array(
    [
        (15, 15, 15),
        (240, 240, 240),
        (128, 128, 128),
        (190, 30, 30),
        (40, 130, 50),
        (40, 70, 180),
        (225, 200, 50),
        (225, 120, 30),
        (105, 65, 35),
        (215, 195, 160),
        (230, 150, 170),
        (110, 50, 140),
    ],
    np.float32,
)  # RGB of COLORS, in their order
WHITE_QUANTILE = 0.8  # a room's light: this quantile of its brightest channels is about white
WHITE_LEVEL = 235.0
LIGHTNESS_WEIGHT = 0.5  # lamps and shadows change lightness more than hue
LAB_WIDTH = 20.0  # distance in CIELAB over which a colour word loses a factor e
WORD_WIDTH = 0.1  # and in cosine, for what the features say


def lab(rgb: np.ndarray) -> np.ndarray:
    """(N, 3) RGB 0..255 → (N, 3) CIELAB, lightness weighted."""
    out = cv2.cvtColor(np.asarray(rgb, np.float32)[None] / 255, cv2.COLOR_RGB2Lab)[0]
    return out * np.float32([LIGHTNESS_WEIGHT, 1, 1])


def room_white(colors: np.ndarray) -> float:
    """How bright white is in a map's light, 0..255, from a sample of its voxels' colours (N, 3)."""
    return max(float(np.quantile(colors.max(1), WHITE_QUANTILE)), 1.0)


def seen_colors(colors: np.ndarray, white: float) -> np.ndarray:
    """(N, 3) uint8 of a thing → (C,) how much of it looks like each of COLORS, sums to 1."""
    corrected = np.clip(colors.astype(np.float32) * (WHITE_LEVEL / white), 0, 255)
    distance = np.linalg.norm(lab(corrected)[:, None] - lab(PROTOTYPES)[None], axis=2)  # (N, C)
    share = np.exp(-(distance - distance.min(1, keepdims=True)) / LAB_WIDTH)
    return (share / share.sum(1, keepdims=True)).mean(0)


def said_colors(language: np.ndarray, thing: str, text: TextEncoder) -> np.ndarray:
    """A thing's mean language vector (L,) → (C,) likelihood of each colour word before its name, best 1."""
    vectors = text.encode([f"{color} {thing}" for color in COLORS])
    cosine = vectors @ (language / max(float(np.linalg.norm(language)), 1e-9))
    return np.exp((cosine - cosine.max()) / (WORD_WIDTH * text.spread))


def color_degree(color: str, seen: np.ndarray, said: np.ndarray) -> float:
    """0..1: how well a colour word fits, 1 if no other word fits better."""
    both = seen * said
    return float(both[COLORS.index(color)] / both.max())
