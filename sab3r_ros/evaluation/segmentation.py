"""Segmentation of images by class names alone (the paper's table of VOC and ADE20K).

A pixel takes the class whose words are nearest to its language feature; a class of several words counts by its best. CLIP's
space reads each word in 80 sentences (`model.clip_templates`). Published numbers leave VOC's background open: both readings
are given, over the 20 things where background is not judged, and over 21 classes where background competes by words of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sab3r_ros.errors import ConfigError
from sab3r_ros.evaluation.image_grid import SeenImage
from sab3r_ros.evaluation.metrics import confusion
from sab3r_ros.model.feature_model import FeatureModel
from sab3r_ros.querying.text import TextEncoder


@dataclass(frozen=True)
class SegmentationImage:
    """name: for people. image: (H, W, 3) uint8 RGB. labels: (H, W) integers, class or −1 = not judged."""

    name: str
    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class SegmentationData:
    """A data set whose images are read one at a time. classes: the words of each class. background: the class that
    `without_background` leaves out, or None. about: which images, for the table."""

    about: str
    classes: tuple[tuple[str, ...], ...]
    background: int | None
    length: int
    load: Callable[[int], SegmentationImage]


class WordSegmenter:
    """Images → classes, by one model and one list of classes."""

    def __init__(self, model: FeatureModel, text: TextEncoder, classes: Sequence[Sequence[str]]) -> None:
        """Raises ConfigError if the model has no language head."""
        if not model.language:
            raise ConfigError(f"{model.identity} has no language head: segmentation by words needs one")
        self.model = model
        self.starts = np.cumsum([0, *(len(words) for words in classes)])[:-1]
        vectors = text.encode([word for words in classes for word in words])
        self.queries = torch.from_numpy((vectors @ model.feature_basis).T.copy())  # (D, words)

    def scores(self, image: np.ndarray) -> tuple[SeenImage, np.ndarray]:
        """The image as seen, and cosines (h, w, classes) float32 over the network's feature cells. Raises ImageError."""
        seen = SeenImage(self.model, image)
        view, _ = self.model.decode(seen.encoding, seen.encoding)
        cosines = (torch.from_numpy(view.features.astype(np.float32)) @ self.queries).numpy()
        return seen, np.maximum.reduceat(cosines, self.starts, axis=-1)


def classes_at_pixels(seen: SeenImage, scores: np.ndarray, allowed: Sequence[int]) -> np.ndarray:
    """(H, W) class of the highest score, brought to the image's pixels one class at a time."""
    h, w = seen.size
    best, guess = np.full((h, w), -np.inf, np.float32), np.zeros((h, w), np.int16)
    for c in allowed:
        score = seen.at_pixels(scores[..., c])
        guess[score > best] = c
        best = np.maximum(best, score)
    return guess


@dataclass
class Tally:
    """Confusion counts over images, with and without the background class (see `evaluation.metrics.confusion`)."""

    data: SegmentationData
    all_classes: np.ndarray
    things: np.ndarray

    @staticmethod
    def empty(data: SegmentationData) -> Tally:
        n = len(data.classes)
        return Tally(data, np.zeros((n, n + 1), np.int64), np.zeros((n, n + 1), np.int64))

    def add(self, segmenter: WordSegmenter, sample: SegmentationImage) -> None:
        n, background = len(self.data.classes), self.data.background
        seen, scores = segmenter.scores(sample.image)
        guess = classes_at_pixels(seen, scores, range(n))
        self.all_classes += confusion(sample.labels, guess, n)
        if background is not None:
            guess = classes_at_pixels(seen, scores, [c for c in range(n) if c != background])
            self.things += confusion(np.where(sample.labels == background, -1, sample.labels), guess, n)
