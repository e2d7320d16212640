"""Matches between two views: reciprocal nearest neighbours of the network's descriptors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sab3r_ros.mapping import compiled
from sab3r_ros.mapping.probability import TRAITS, colors_around, probability, traits
from sab3r_ros.types import View

STRIDE = 3  # descriptors along the edge of a block, of which the surest looks for its match
FEWEST = 400  # blocks; in smaller maps of descriptors they are smaller
MOST = 1000  # blocks: those of which the network is surest; of their matches an alignment takes 600
RETURN_RADIUS = 1  # descriptors: the way back may miss the start by this much
APART = 6  # descriptors: what is liked farther away than this is elsewhere
COLOR_REACH = 2.5  # descriptors around a match whose colours are compared
EDGE = 0.05  # log ratio of distances between neighbouring pixels beyond which they are two surfaces


@dataclass(frozen=True)
class Matches:
    """M matches. first, second: (M, 2) float pixels (u, v) in the pointmaps' resolution. probability: (M,) of being right."""

    first: np.ndarray
    second: np.ndarray
    probability: np.ndarray

    def __len__(self) -> int:
        return len(self.probability)


def match_views(first: View, second: View, images: tuple[np.ndarray, np.ndarray]) -> Matches:
    """Reciprocal matches of two views of one decoding (or of two own-frame views of a monocular model), and their images."""
    *uv, traits = described_matches(first, second, images)
    return Matches(*uv, probability(traits))


def described_matches(
    first: View, second: View, images: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """M matches: pixels in either view, (M, 2), and what tells of right ones, (M, len(TRAITS))."""
    h, w, d = first.descriptors.shape
    stride = block_edge(h, w)
    sides = ((v.descriptors, v.descriptor_confidence) for v in (first, second))
    here, there, likeness, lead = compiled.matched(*sides, stride, MOST, RETURN_RADIUS, APART)
    if not len(here):
        return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, len(TRAITS)))
    uv = pixels(here, first), between_descriptors(first.descriptors.reshape(-1, d)[here], second, there)
    confidence = first.descriptor_confidence.ravel()[here] * second.descriptor_confidence.ravel()[there]
    seen = (
        colors_around(image, at, round(COLOR_REACH * image.shape[1] / w))
        for image, at in zip(images, uv, strict=True)
    )
    share = len(here) / min(MOST, (h // stride) * (w // stride))
    return *uv, traits(np.sqrt(confidence), likeness, lead, np.subtract(*seen), share)


def block_edge(h: int, w: int) -> int:
    """Descriptors along the edge of a block of a map of h × w."""
    return max(1, min(STRIDE, int(np.sqrt(h * w / FEWEST))))


def between_descriptors(queries: np.ndarray, view: View, index: np.ndarray) -> np.ndarray:
    """(Q, 2) pixels (u, v) near the view's descriptors `index` where the likeness to the queries peaks."""
    h, w, _ = view.descriptors.shape
    step = [view.size[1] / w, view.size[0] / h]
    return pixels(index, view) + compiled.peaks(queries, view.descriptors, index) * step


def pixels(index: np.ndarray, view: View) -> np.ndarray:
    """Flat descriptor indices → (M, 2) pixels (u, v) of the pointmap's resolution, at the descriptors' centres."""
    h, w, _ = view.descriptors.shape
    H, W = view.size  # a lazy view knows it without computing points
    return np.stack([(index % w + 0.5) * (W / w) - 0.5, (index // w + 0.5) * (H / h) - 0.5], 1)


def points_at(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Pointmap values at (M, 2) pixels, between pixels too: (M, 3) float64.

    Directions change smoothly over an image and are interpolated. Distances are where they are smooth (their inverse, which
    is linear on a plane); the nearest pixel's counts where interpolation would bridge an edge.
    """
    return compiled.points_at(points, uv, EDGE)
