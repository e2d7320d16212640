"""Whether a thing has the colour that was asked for, by its voxels' colours."""

from __future__ import annotations

import cv2
import numpy as np

from sab3r_ros.querying.language import COLORS
from sab3r_ros.types import MapSnapshot

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
WHITE_SAMPLE = 20_000  # voxels, spread over the map, whose colours tell what is white
MOST_LIFT = 2.5  # what a voxel's colour adds to its logit at most: one voxel may be a shadow or a label
LEAST_LIFT = -4.0  # of a whole thing: another colour is another colour
# Of a thing in a colour: weights of the logit of its name's score and of its lift, and an offset. The colour weighs the more:
# of things that the network hardly knows, the one in that colour is meant. Fitted on pairs of things in two colours in 120
# rendered validation rooms, each also asked for in colours that are not there: of those that are there 75 % come first, of
# the others 61 % are refused.
NAME_WEIGHT, LIFT_WEIGHT, OFFSET = 0.2, 2.2, -2.8


def room_white(colors: np.ndarray) -> float:
    """How bright white is in a map's light, 0..255, from a sample of its voxels' colours (N, 3)."""
    return max(float(np.quantile(colors.max(1), WHITE_QUANTILE)), 1.0)


def white_of(snapshot: MapSnapshot) -> float:
    """The same of a map that is not empty."""
    return room_white(snapshot.colors_of(np.arange(0, len(snapshot), max(1, len(snapshot) // WHITE_SAMPLE))))


def lab_in_light(colors: np.ndarray, white: float) -> np.ndarray:
    """(N, 3) 0..255 → (N, 3) CIELAB in light whose white is WHITE_LEVEL."""
    corrected = np.clip(colors.astype(np.float32) * np.float32(WHITE_LEVEL / white), 0, 255)
    return cv2.cvtColor(corrected[None] / 255, cv2.COLOR_RGB2Lab)[0]


def seen_colors(lab: np.ndarray) -> np.ndarray:
    """(N, 3) of `lab_in_light` → (N, C) likelihood of each under each of COLORS, the best 1."""
    away = lab[:, None] - SEEN_MEANS
    distance = np.einsum("nci,ij,ncj->nc", away, SEEN_PRECISION.astype(np.float32), away)
    return np.exp(-(distance - distance.min(1, keepdims=True)) / 2)


def color_lift(color: str, lab: np.ndarray) -> np.ndarray:
    """(N, 3) of `lab_in_light` → (N,) logarithm of the factor by which a colour word changes the odds that each is meant:
    its share of the likelihood, times the number of words. Above 0 where it fits better than a word drawn at random.
    """
    seen = seen_colors(lab)
    return np.log(np.maximum(seen[:, COLORS.index(color)] / seen.mean(1), 1e-6))


def in_color(logit: np.ndarray, lift: np.ndarray) -> np.ndarray:
    """Scores 0..1 of things in a colour, from the logits of their scores by name and the lifts of their median colours."""
    return 1 / (1 + np.exp(-(NAME_WEIGHT * logit + LIFT_WEIGHT * np.maximum(lift, LEAST_LIFT) + OFFSET)))
