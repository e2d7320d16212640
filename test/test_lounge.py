"""A real photo with real CLIP vectors: what is there is found by its name, what is not there is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sab3r_ros.querying.locate import Locator
from sab3r_ros.types import MapSnapshot, Trajectory

DATA = Path(__file__).parent / "data" / "lounge" / "lounge.npz"
HORIZON, FOCAL, EYE_M = 55.0, 130.0, 1.2  # rows and pixels of the reduced photo; the camera's height
CHAIRS, FLOOR, WALL, DOORS = {1, 3, 5}, {10}, {2, 11}, {7, 14, 16}


class ClipWords:
    """The words whose vectors come with the photo; all others are far from everything."""

    space, dim, spread = "clip-vit-l-14", 768, 0.2

    def __init__(self, words: np.ndarray, text: np.ndarray) -> None:
        self.table = dict(zip(words.tolist(), text.astype(np.float32), strict=True))

    def encode(self, phrases: list[str]) -> np.ndarray:
        zero = np.zeros(self.dim, np.float32)
        return np.stack([self.table.get(p, zero) for p in phrases]) if phrases else np.zeros((0, self.dim))


@pytest.fixture(scope="module")
def lounge():
    """Each region stands upright where its lowest pixel meets the floor, at most 8 m away."""
    data = np.load(DATA)
    features = data["features"].astype(np.float32)
    basis = np.linalg.svd(features, full_matrices=False)[2].T.astype(np.float32)
    row, column = np.nonzero(data["region"])
    region = data["region"][row, column].astype(int)
    lowest = np.array([row[region == r].max() if (region == r).any() else 0 for r in range(24)])[region]
    lowest = np.where(region == 10, row, lowest)  # the floor lies
    depth = np.clip(FOCAL * EYE_M / np.maximum(lowest - HORIZON, 1), 0.5, 8)
    points = np.stack([depth, -(column - 79.5) / FOCAL * depth, EYE_M - (row - HORIZON) / FOCAL * depth], 1)
    n = len(points)
    snapshot = MapSnapshot.of_arrays(
        points.astype(np.float32),
        data["image"][row, column],
        (features @ basis)[region - 1].astype(np.float16),
        np.ones(n, np.float32),
        np.ones(n, np.int32),
        0.02,
        Trajectory(np.zeros(1), np.eye(4)[None]),
        "clip",
        1,
    )
    return snapshot, Locator(basis, ClipWords(data["words"], data["text"])), region


def regions(answer, region) -> list[set[int]]:
    """The regions that make up at least a tenth of each object."""
    return [
        {r for r in set(region[o.indices]) if (region[o.indices] == r).mean() > 0.1} for o in answer.objects
    ]


def test_all_three_chairs_are_found_one_by_one(lounge):
    snapshot, locator, region = lounge
    found = regions(locator.locate(snapshot, "chairs"), region)
    assert [r for r in found if r & CHAIRS] and set().union(*found) >= CHAIRS
    assert all(len(r & CHAIRS) <= 1 for r in found)


@pytest.mark.parametrize(("query", "expected"), [("the floor", FLOOR), ("a wall", WALL), ("door", DOORS)])
def test_floor_wall_and_door(lounge, query, expected):
    snapshot, locator, region = lounge
    assert regions(locator.locate(snapshot, query), region)[0] & expected


@pytest.mark.parametrize("query", ["bed", "bathtub", "toilet", "window"])
def test_what_is_not_in_the_photo_is_not_found(lounge, query):
    snapshot, locator, _ = lounge
    answer = locator.locate(snapshot, query)
    assert not answer.success and "Nearest" in answer.message
