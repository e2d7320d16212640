"""Metrics that several benchmarks share. NumPy in, plain numbers out; NaN where a figure has no meaning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def confusion(truth: np.ndarray, guess: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes + 1) int64 counts: rows true, columns guessed, the last column guesses of no class.

    truth, guess: integers of one shape. Pixels whose truth is outside 0..classes−1 (void) are ignored; a guess outside
    counts against its true class alone, and is no guess of another.
    """
    truth, guess = truth.ravel().astype(np.int64), guess.ravel().astype(np.int64)
    known = (truth >= 0) & (truth < classes)
    truth, guess = truth[known], guess[known]
    guess = np.where((guess >= 0) & (guess < classes), guess, classes)
    counts = np.bincount(truth * (classes + 1) + guess, minlength=classes * (classes + 1))
    return counts.reshape(classes, classes + 1)


@dataclass(frozen=True)
class SegmentationScore:
    """All in 0..1. iou: (classes,), NaN where the class is in neither truth nor guess. miou: mean over the classes that
    the truth has. accuracy: of pixels. class_accuracy: mean over the classes that the truth has."""

    iou: np.ndarray
    miou: float
    accuracy: float
    class_accuracy: float


def segmentation_score(counts: np.ndarray) -> SegmentationScore:
    """From `confusion`'s counts, of one image or added over many. NaN without any known pixel."""
    square = counts[:, : len(counts)]
    hit, truth, guessed = np.diag(square).astype(float), counts.sum(1), square.sum(0)
    union = truth + guessed - hit
    iou = np.where(union > 0, hit / np.maximum(union, 1), np.nan)
    present = truth > 0
    if not present.any():
        return SegmentationScore(iou, float("nan"), float("nan"), float("nan"))
    recall = hit[present] / truth[present]
    return SegmentationScore(
        iou, float(iou[present].mean()), float(hit.sum() / truth.sum()), float(recall.mean())
    )
