"""Groups of overlapping, diverse views (paper Sec. 3 and B.1).

The paper: 2 sets a scene of 2, 3 and 4 views each; "each image overlaps with at least one other in the group"; objects are
"visible across multiple images"; "varying camera viewpoints". It gives no numbers. Reading taken, with the numbers in
`MapAndLocateConfig`:

* the overlap of two views is the smaller of the shares of each that the other sees (points reprojected, depths agree);
* views whose overlap is at least `min_overlap` are linked, and the links join the whole group;
* no two views overlap by more than `max_overlap`: they would be one viewpoint;
* at least `shared_labels` labels are seen by two views or more;
* no two groups of a scene have the same views; the first view of a group is the one whose depth and pose are given.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sab3r_ros.config import MapAndLocateConfig
from sab3r_ros.evaluation.scenes import LabelledView, Scene
from sab3r_ros.geometry.camera import project

log = logging.getLogger(__name__)

SIZES = (2, 3, 4)  # views a group
CANDIDATES = 60  # frames of a scene, evenly spread, that groups are drawn from
GRID = (24, 32)  # points a view whose visibility elsewhere measures the overlap
DEPTH_AGREES = 0.05  # relative
SEEN_SHARE = 0.005  # of the pixels: a view with less of a label does not see it
TRIES = 400


@dataclass(frozen=True)
class Group:
    """views: frame numbers, the reference first. set: 0 or 1 (…): which of the sets of this size."""

    views: tuple[int, ...]
    set: int


def unprojected(view: LabelledView, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """World points (N, 3) float64 of pixels (N,), (N,)."""
    z = view.depth[rows, columns].astype(np.float64)
    xy = (np.stack([columns, rows], 1) - view.K[:2, 2]) / [view.K[0, 0], view.K[1, 1]]
    X = np.concatenate([xy * z[:, None], z[:, None]], 1)
    return X @ view.T_WC[:3, :3].T + view.T_WC[:3, 3]


def share_seen(a: LabelledView, b: LabelledView) -> float:
    """The share of a's points, on a grid, that b sees."""
    h, w = a.depth.shape
    rows, columns = (
        g.ravel()
        for g in np.meshgrid(
            np.linspace(0, h - 1, GRID[0]).astype(int),
            np.linspace(0, w - 1, GRID[1]).astype(int),
            indexing="ij",
        )
    )
    valid = a.depth[rows, columns] > 0
    if not valid.any():
        return 0.0
    X = unprojected(a, rows[valid], columns[valid])
    in_b = (X - b.T_WC[:3, 3]) @ b.T_WC[:3, :3]
    uv = project(in_b, b.K)
    uv = np.where(np.isfinite(uv), np.round(uv), -1)
    H, W = b.depth.shape
    inside = (uv >= 0).all(1) & (uv[:, 0] < W) & (uv[:, 1] < H)
    u, v = uv[inside].astype(int).T
    z = in_b[inside, 2]
    return float((np.abs(b.depth[v, u] - z) < DEPTH_AGREES * z).sum() / valid.sum())


def overlaps(views: list[LabelledView]) -> np.ndarray:
    """(N, N) symmetric, 0..1, the diagonal 0."""
    out = np.zeros((len(views), len(views)))
    for i, j in combinations(range(len(views)), 2):
        out[i, j] = out[j, i] = min(share_seen(views[i], views[j]), share_seen(views[j], views[i]))
    return out


def labels_seen(view: LabelledView) -> frozenset[int]:
    labels, counts = np.unique(view.labels[view.labels >= 0], return_counts=True)
    return frozenset(labels[counts >= SEEN_SHARE * view.labels.size].tolist())


def draw_groups(scene: Scene, config: MapAndLocateConfig) -> list[Group]:
    """The scene's groups, the same for the same scene and seed. Where too few follow the rules, there are fewer, and the log
    says so.
    """
    frames = np.unique(np.linspace(0, scene.frames - 1, min(CANDIDATES, scene.frames)).astype(int))
    loaded = [(int(k), scene.load(int(k))) for k in frames]
    numbers = [k for k, view in loaded if view is not None]
    views = [view for _, view in loaded if view is not None]
    shared, seen = overlaps(views), [labels_seen(view) for view in views]
    groups: list[Group] = []
    for size in SIZES:
        taken: set[frozenset[int]] = set()
        rng = np.random.default_rng([config.seed, zlib.crc32(scene.name.encode()), size])
        for n in range(config.sets):
            members = grow(size, shared, seen, taken, config, rng)
            if members is None:
                log.warning("%s: no set %d of %d views follows the rules", scene.name, n + 1, size)
                break
            taken.add(frozenset(members))
            groups.append(Group(tuple(numbers[k] for k in members), n))
    return groups


def grow(
    size: int,
    shared: np.ndarray,
    seen: list[frozenset[int]],
    taken: set[frozenset[int]],
    config: MapAndLocateConfig,
    rng: np.random.Generator,
) -> list[int] | None:
    """One group by random growth: from any view, each next one linked to a member and no member's twin."""
    for _ in range(TRIES if len(seen) >= size else 0):
        members = [int(rng.integers(len(seen)))]
        while len(members) < size:
            to_members = shared[members]
            fits = (to_members.max(0) >= config.min_overlap) & (to_members.max(0) <= config.max_overlap)
            fits[members] = False
            if not fits.any():
                break
            members.append(int(rng.choice(np.flatnonzero(fits))))
        twice = [a & b for a, b in combinations([seen[k] for k in members], 2)]
        enough = len(frozenset().union(*twice)) >= config.shared_labels
        if len(members) == size and enough and frozenset(members) not in taken:
            return members
    return None
