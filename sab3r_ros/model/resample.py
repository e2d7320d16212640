"""Images resampled as in the public networks' training: Pillow's antialiased Lanczos and bicubic filters, without Pillow."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_matrix


def lanczos(x: np.ndarray) -> np.ndarray:
    """sinc(x) sinc(x / 3) inside ±3."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def bicubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic with a = −0.5, inside ±2 (OpenCV's has −0.75)."""
    x = np.abs(x)
    return np.where(x < 1, (1.5 * x - 2.5) * x**2 + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))


REACH = {lanczos: 3, bicubic: 2}  # of each filter, in pixels of the smaller image


@lru_cache(maxsize=16)
def weights(size: int, out: int, kernel: Callable[[np.ndarray], np.ndarray]) -> csr_matrix:
    """(out, size) float32, rows sum to 1: new pixels from old ones. On the way down the filter is widened by the ratio."""
    scale = size / out
    stretch = max(scale, 1.0)
    centre = (np.arange(out)[:, None] + 0.5) * scale
    reach = REACH[kernel] * stretch
    column = np.floor(centre - reach + 0.5).astype(int) + np.arange(int(2 * reach) + 2)
    inside = (column >= 0) & (column < np.minimum(size, np.floor(centre + reach + 0.5)))
    value = np.where(inside, kernel((column + 0.5 - centre) / stretch), 0)
    value /= value.sum(1, keepdims=True)
    row = np.broadcast_to(np.arange(out)[:, None], column.shape)
    return csr_matrix((value[inside].astype(np.float32), (row[inside], column[inside])), (out, size))


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """image: (H, W, 3) uint8. size: (width, height) → (height, width, 3) uint8; Lanczos if it shrinks, else bicubic.

    Rounded to whole grey levels after each direction, as Pillow does: the two differ by one level at most.
    """
    (h, w), (width, height) = image.shape[:2], size
    kernel = lanczos if max(size) < max(h, w) else bicubic

    def apply(matrix: csr_matrix, x: np.ndarray) -> np.ndarray:
        flat = matrix @ x.reshape(len(x), -1).astype(np.float32)
        return np.clip(np.round(flat), 0, 255).astype(np.uint8).reshape(matrix.shape[0], *x.shape[1:])

    across = apply(weights(w, width, kernel), np.ascontiguousarray(image.transpose(1, 0, 2)))
    return apply(weights(h, height, kernel), np.ascontiguousarray(across.transpose(1, 0, 2)))
