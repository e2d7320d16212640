"""How probable it is that a match is right: a logistic regression on what shows when it is found.

Its weights are in probability.json, fitted to rooms of the validation split by `python bench/matches.py`. Two of the traits
are relative to the pair's other matches, so that they mean the same for another network or another light.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np

FILE = Path(__file__).parent / "probability.json"
TRAITS = ("confidence", "likeness", "lead", "color", "share")
WEIGHTS = (*TRAITS, "offset")
MOST_LEAD = 0.2  # a lead beyond it makes a match no surer
COLOR_NOISE = 10.0  # grey levels


@cache
def weights() -> np.ndarray:
    """(len(WEIGHTS),)"""
    values = json.loads(FILE.read_text())
    return np.array([values[name] for name in WEIGHTS])


def traits(
    confidence: np.ndarray, likeness: np.ndarray, lead: np.ndarray, colors: np.ndarray, share: float
) -> np.ndarray:
    """(M, len(TRAITS)) of a pair's M matches. confidence: (M,) > 0, the network's in both descriptors. likeness: (M,) of them,
    and lead: (M,) by how much they are liker than any elsewhere. colors: (M, 3) difference of the colours around them, 0..255.
    share: matches found of those looked for.
    """
    sure = np.log(np.maximum(confidence, 1e-9))
    shift = np.linalg.norm(colors - np.median(colors, axis=0), axis=1)
    columns = (
        sure - np.median(sure),
        likeness,
        np.minimum(lead, MOST_LEAD),
        -np.log(COLOR_NOISE + shift),
        np.full(len(sure), np.log(share)),
    )
    return np.stack(columns, 1)


def probability(traits: np.ndarray) -> np.ndarray:
    """(M,) in 0..1 of traits (M, len(TRAITS))."""
    *slopes, offset = weights()
    return 1 / (1 + np.exp(-(traits @ np.array(slopes) + offset)))


def colors_around(image: np.ndarray, uv: np.ndarray, reach: int) -> np.ndarray:
    """(M, 3) mean colours of an image (H, W, 3) uint8 within `reach` pixels of (M, 2) pixels (u, v)."""
    h, w, _ = image.shape
    u, v = np.rint(uv).astype(int).T
    blurred = cv2.blur(image, (2 * reach + 1, 2 * reach + 1))
    return blurred[np.clip(v, 0, h - 1), np.clip(u, 0, w - 1)].astype(float)
