"""The compiled half of querying, src/cells.cpp. Other threads run while it does."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec

import numpy as np

NUMBERS, ROWS, REALS, FLOATS = (
    np.ctypeslib.ndpointer(kind, flags="C_CONTIGUOUS")
    for kind in (np.int64, np.int32, np.float64, np.float32)
)
COUNT, REAL, FLOAT = ctypes.c_int64, ctypes.c_double, ctypes.c_float
ARGUMENTS = {
    "pieces": (NUMBERS, COUNT, ROWS),
    "smoothed": (NUMBERS, COUNT, FLOATS, FLOAT, COUNT, FLOATS),
    "parts": (
        *(COUNT, ROWS, FLOATS, REALS, REALS, ROWS, ROWS, NUMBERS, COUNT),
        *(REALS, COUNT, REAL, REAL, COUNT, REALS, NUMBERS, ROWS),
    ),
}


@cache
def library() -> ctypes.CDLL:
    """Raises ImportError if it was not built."""
    found = find_spec("sab3r_ros._cells")
    if found is None or found.origin is None:
        raise ImportError("sab3r_ros._cells is not built: run `make`, `pip install .` or `colcon build`")
    compiled = ctypes.CDLL(found.origin)
    for name, kinds in ARGUMENTS.items():
        function = getattr(compiled, name)
        function.argtypes, function.restype = kinds, COUNT
    return compiled


def pieces(numbers: np.ndarray) -> np.ndarray:
    """(C,) ascending numbers → (C,) int32 connected piece of each cell, from 0 in the order of their first cells."""
    out = np.empty(len(numbers), np.int32)
    library().pieces(numbers, len(numbers), out)
    return out


def smoothed(
    values: np.ndarray, lab: np.ndarray, numbers: np.ndarray, width: float, rounds: int
) -> np.ndarray:
    """Values (C,) of cells after rounds of averaging with the neighbours, which count e times less for each `width` that
    their colours (C, 3) float32 are away. numbers: (C,) ascending.
    """
    out = np.array(values, np.float32)
    library().smoothed(numbers, len(numbers), lab, width, rounds, out)
    return out


def parts(
    values: np.ndarray,
    counts: np.ndarray,
    logits: np.ndarray,
    place: np.ndarray,
    block: np.ndarray,
    blocks: np.ndarray,
    levels: np.ndarray,
    top_share: float,
    least: int,
    least_cells: int,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Connected parts of each level of cells; one that is as at the level above is not told again.

    values: (C,) float32 that reach levels (L,), the highest first. counts, logits: (C,) voxels of each, and the sum of
    their logits. place: (3, C). block: (C,) which of the blocks, (B,) ascending numbers, each lies in: blocks that touch
    and reach a level both are one part. Parts hold `least` voxels and least_cells cells or more.

    Returns (R, 4) strength (mean value of its top_share), mean logit, cells, share of its box's largest side; and the
    cells of each part, those of the largest values first.
    """
    most = len(levels) * len(values)
    traits, size = np.empty((most // least_cells, 4)), np.empty(most // least_cells, np.int64)
    cells, order = np.empty(most, np.int32), np.argsort(-values, kind="stable").astype(np.int32)
    count = library().parts(
        *(len(values), order, values, counts.astype(float), logits.astype(float)),
        *(place.astype(np.int32), block.astype(np.int32), blocks, len(blocks)),
        *(np.asarray(levels, float), len(levels), top_share, least, least_cells, traits, size, cells),
    )
    ends = np.cumsum(size[:count])
    starts = (ends - size[:count]).tolist()
    return traits[:count].copy(), [cells[a:b] for a, b in zip(starts, ends.tolist(), strict=True)]
