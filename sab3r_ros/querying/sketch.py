"""Sketches: eight bytes of a cell that rule out most queries before its feature is read from the map.

A unit language vector is split into its coordinates along the directions in which most of a map lies and the length of
the rest. By Cauchy and Schwarz a query's cosine is at most that of the coordinates plus the product of the lengths.
"""

from __future__ import annotations

import numpy as np

SIZE = 8  # bytes: coordinates, and the length of the rest
STEPS = 127  # of each on either side of zero


class Sketcher:
    """Sketches of a feature space.

    gram: (D, D) basisᵀ @ basis. typical: (D, P) basisᵀ @ vectors such as a map holds, longer where there are more.
    """

    def __init__(self, gram: np.ndarray, typical: np.ndarray) -> None:
        values, vectors = np.linalg.eigh(gram.astype(float))
        kept = values > 1e-6 * values.max()
        root = np.sqrt(values[kept])
        self._to_unit = vectors[:, kept] / root  # of a direction (D,) to orthonormal coordinates
        self._axes = np.linalg.svd(self._to_unit.T @ typical, full_matrices=False)[0][:, : SIZE - 1]
        self._along = (vectors[:, kept] * root @ self._axes).astype(
            np.float32
        )  # of a feature, its coordinates

    def sketch(self, features: np.ndarray) -> np.ndarray:
        """(M, D) float32 features, scaled to language vectors of length 1 (or 0) → (M, SIZE) int8."""
        along = features @ self._along
        out = np.zeros((len(features), SIZE), np.int8)
        out[:, : along.shape[1]] = np.rint(STEPS * along).clip(-STEPS, STEPS)
        rest = np.sqrt(np.maximum(1 + 1e-4 - np.square(along).sum(1), 0))  # a little longer, for rounding
        out[:, -1] = np.ceil(STEPS * rest).clip(0, STEPS)
        return out

    def bound(self, direction: np.ndarray) -> tuple[np.ndarray, float]:
        """A query's direction (D,) → weights (SIZE,) and a slack: its cosine with a cell is at most sketch @ weights + slack."""
        unit = self._to_unit.T @ direction
        along = self._axes.T @ unit
        weights = np.zeros(SIZE)
        weights[: len(along)] = along / STEPS
        weights[-1] = np.sqrt(max(float(unit @ unit - along @ along), 0.0)) / STEPS
        return weights, float(np.abs(along).sum()) / 2 / STEPS
