"""Whether a thing has the colour that was asked for: by its voxels' colours and by what its features say."""

from __future__ import annotations

import cv2
import numpy as np

from sab3r_ros.querying.language import COLORS
from sab3r_ros.querying.text import TextEncoder

# What things of each of COLORS look like: mean CIELAB of the median colour, in light whose white is WHITE_LEVEL, and the
# covariance that they share. Fitted on 1,700 things of 260 rendered training rooms; shade takes lightness and chroma away.
SEEN_MEANS = np.array(
    [
        (37, 1, 2),
        (81, 0, 0),
        (65, 1, 1),
        (52, 37, 24),
        (59, -26, 22),
        (53, 6, -28),
        (70, -6, 35),
        (66, 8, 33),
        (52, 8, 19),
        (75, 1, 9),
        (71, 12, 1),
        (55, 23, -22),
    ],
    np.float32,
)
SEEN_PRECISION = np.linalg.inv([[243.0, -18, 28], [-18, 88, -19], [28, -19, 131]])
WHITE_QUANTILE = 0.8  # a room's light: this quantile of its brightest channels is about white
WHITE_LEVEL = 235.0
WORD_WIDTH = 0.1  # cosine over which a colour word loses a factor e by what the features say


def room_white(colors: np.ndarray) -> float:
    """How bright white is in a map's light, 0..255, from a sample of its voxels' colours (N, 3)."""
    return max(float(np.quantile(colors.max(1), WHITE_QUANTILE)), 1.0)


def seen_colors(colors: np.ndarray, white: float) -> np.ndarray:
    """(N, 3) uint8 of a thing → (C,) likelihood of its median colour under each of COLORS, best 1."""
    corrected = np.clip(colors.astype(np.float32) * np.float32(WHITE_LEVEL / white), 0, 255)
    lab = np.median(cv2.cvtColor(corrected[None] / 255, cv2.COLOR_RGB2Lab)[0], axis=0)
    away = lab - SEEN_MEANS
    distance = np.einsum("ci,ij,cj->c", away, SEEN_PRECISION, away)
    return np.exp(-(distance - distance.min()) / 2)


def said_colors(language: np.ndarray, thing: str, text: TextEncoder) -> np.ndarray:
    """A thing's mean language vector (L,) → (C,) likelihood of each colour word before its name, best 1."""
    vectors = text.encode([f"{color} {thing}" for color in COLORS])
    cosine = vectors @ (language / max(float(np.linalg.norm(language)), 1e-9))
    return np.exp((cosine - cosine.max()) / (WORD_WIDTH * text.spread))


def color_lift(color: str, seen: np.ndarray, said: np.ndarray) -> float:
    """By what factor a colour word changes the odds that a thing is meant: its share of the likelihood, times the number
    of words. Above 1 where it fits better than a word drawn at random.
    """
    both = seen * said
    return float(both[COLORS.index(color)] / both.mean())
