"""The compiled half of mapping, src/*.cpp. Other threads run while it does."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from types import SimpleNamespace

import numpy as np

from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.native import (
    BYTES,
    COUNT,
    FLAGS,
    FLOAT,
    FLOATS,
    NUMBERS,
    REAL,
    REALS,
    ROWS,
    SEED,
    SHORTS,
    TABLE,
    address,
    load,
)

ARGUMENTS = {
    "both_ways": (FLOATS, COUNT, FLOATS, COUNT, COUNT, ROWS, ROWS),
    "matched": (
        *(FLOATS, FLOATS, COUNT, COUNT, FLOATS, FLOATS, COUNT, COUNT),
        *(COUNT, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, FLOATS, FLOATS),
    ),
    "peaks": (FLOATS, COUNT, FLOATS, COUNT, COUNT, COUNT, NUMBERS, REALS),
    "likest_near": (FLOATS, COUNT, FLOATS, COUNT, COUNT, COUNT, NUMBERS, COUNT, FLOATS),
    "points_at": (FLOATS, COUNT, COUNT, REALS, COUNT, REAL, REALS),
    "best_similarity": (
        *(REALS, REALS, REALS, NUMBERS, COUNT, NUMBERS, COUNT, REAL, REAL, REAL, REAL, REALS),
    ),
    "refine": (
        *(REALS, COUNT, FLAGS, NUMBERS, NUMBERS, COUNT, REALS, REALS, REALS, REALS, COUNT),
        *(REAL, REAL, REAL, REAL, COUNT, REALS),
    ),
    "pair_equations": (
        *(REALS, REALS, REALS, REALS, COUNT, REAL, REAL, REAL, COUNT, REAL, REAL, REAL),
        *(REALS, REALS, REALS, NUMBERS),
    ),
    "grid_equations": (
        *(
            REALS,
            COUNT,
            REALS,
            COUNT,
            COUNT,
            NUMBERS,
            NUMBERS,
            COUNT,
            REALS,
            REALS,
            REALS,
            REALS,
            REALS,
            REALS,
        ),
        *(COUNT, REAL, REAL, REAL, REALS, REALS, REALS),
    ),
    "depth_ratios": (
        *(FLOATS, COUNT, COUNT, COUNT, FLOATS, REALS, REALS, FLOATS, COUNT, COUNT, COUNT, COUNT),
        *(COUNT, REAL, REALS, REALS, REALS),
    ),
    "places": (COUNT, TABLE, NUMBERS, TABLE, NUMBERS, SHORTS, ROWS, ROWS, NUMBERS),
    "beside": (
        *(COUNT, TABLE, NUMBERS, TABLE, NUMBERS, BYTES, NUMBERS, COUNT, FLAGS, NUMBERS, FLOATS),
        *(REAL, REAL, FLOAT, FLOAT),
    ),
    "settle": (
        *(COUNT, TABLE, TABLE, NUMBERS, TABLE, NUMBERS, SHORTS, ROWS, ROWS, COUNT, NUMBERS, NUMBERS, COUNT),
        *(FLOATS, BYTES, FLOATS, FLOATS, ROWS, TABLE, FLOAT, SEED, ROWS, BYTES),
    ),
    "faded": (
        *(COUNT, TABLE, NUMBERS, FLOATS, FLOATS, FLOATS, COUNT, COUNT),
        *(FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, TABLE, NUMBERS, NUMBERS),
    ),
}


@cache
def library() -> SimpleNamespace:
    return load("_mapping", ARGUMENTS)


def table(arrays: Iterable[np.ndarray | None]) -> np.ndarray:
    """Addresses of contiguous arrays, 0 for None."""
    return np.array([0 if a is None else address(a) for a in arrays], np.uintp)


def floats(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)


def both_ways(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of the other with the largest product, of each row of (N, D) and of (M, D), N and M ≥ 1: (N,), (M,) int32."""
    of_first, of_second = np.empty(len(first), np.int32), np.empty(len(second), np.int32)
    library().both_ways(
        *(floats(first), len(first), floats(second), len(second), first.shape[1], of_first, of_second)
    )
    return of_first, of_second


def matched(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    stride: int,
    most: int,
    radius: int,
    apart: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Flat places (M,) int64 of reciprocal matches of two maps of descriptors (H, W, D), given with confidences (H, W).

    The surest of each block of stride², `most` blocks or fewer, look for each other; what agrees is then looked for all
    around, and has to be found from the other side within `radius` places again. Also their likeness (M,) float32, and their
    lead (M,): by how much the two that looked for each other were liker than the likest farther than `apart` from either. Of
    those the best of each 16th of the candidates is known, which mostly is the one. Huge where there is none.
    """
    sides = []
    for descriptors, confidence in (first, second):
        h, w, d = descriptors.shape
        sides += [floats(descriptors), floats(confidence), h, w]
    out = [np.empty(most, kind) for kind in (np.int64, np.int64, np.float32, np.float32)]
    count = library().matched(*sides, d, stride, most, radius, apart, *out)
    here, there, likeness, lead = (a[:count].copy() for a in out)
    return here, there, likeness, lead


def peaks(queries: np.ndarray, descriptors: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(N, 2) float64: how far from flat places (N,) of descriptors (H, W, D), in columns and rows, at most half of one, the
    likeness to queries (N, D) peaks. Of the Gaussian through the place and its neighbours; none at the border.
    """
    shift = np.empty((len(queries), 2))
    library().peaks(
        *(floats(queries), len(queries), floats(descriptors), *descriptors.shape),
        *(np.ascontiguousarray(places, np.int64), shift),
    )
    return shift


def likest_near(queries: np.ndarray, descriptors: np.ndarray, places: np.ndarray, reach: int) -> np.ndarray:
    """(N,) float32: the largest likeness of queries (N, D) to descriptors (H, W, D) within `reach` of flat places (N,)."""
    likeness = np.empty(len(queries), np.float32)
    library().likest_near(
        *(floats(queries), len(queries), floats(descriptors), *descriptors.shape),
        *(np.ascontiguousarray(places, np.int64), reach, likeness),
    )
    return likeness


def points_at(points: np.ndarray, uv: np.ndarray, edge: float) -> np.ndarray:
    """See `matching.points_at`."""
    out = np.empty((len(uv), 3))
    h, w, _ = points.shape
    library().points_at(floats(points), h, w, np.ascontiguousarray(uv, float), len(uv), edge, out)
    return out


def best_similarity(
    Xi: np.ndarray,
    Xj: np.ndarray,
    weight: np.ndarray,
    sets: np.ndarray,
    some: np.ndarray,
    ray_sigma_rad: float,
    log_depth_sigma: float,
    width: float,
    most_log_scale: float,
) -> tuple[Sim3, int]:
    """Of the similarities Xi ≈ S Xj of three matches each, sets (H, 3) int64, the one that the matches `some` (S,) int64
    support most, and how many of them do.

    Xi, Xj: (M, 3). weight: (M,). A match supports it by its weight times 1 − misfit / width², or not at all, of its misfit
    (alignment.py) the mean of both cameras' looks. One whose log scale exceeds most_log_scale is none.
    """
    best = np.array([1, *np.eye(3).ravel(), 0, 0, 0], float)
    Xi, Xj, weight = (np.ascontiguousarray(a, float) for a in (Xi, Xj, weight))
    count = library().best_similarity(
        *(Xi, Xj, weight, sets, len(sets), some, len(some), ray_sigma_rad, log_depth_sigma, width),
        *(most_log_scale, best),
    )
    return Sim3(float(best[0]), best[1:10].reshape(3, 3).copy(), best[10:].copy()), count
