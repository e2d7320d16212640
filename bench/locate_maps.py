"""Maps of rooms with truth: exact geometry with true or predicted features, or the mapper's own; which voxel is which thing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.config import MapperConfig
from sab3r_ros.geometry.sim3 import Sim3, umeyama
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.model.feature_model import FeatureModel
from sab3r_ros.querying.text import TextEncoder
from sab3r_ros.training.shards import Shard, transform, unproject
from sab3r_ros.types import Frame, MapSnapshot, Trajectory

VOXEL_M = 0.04
REACH_M = 0.25  # a mapped voxel belongs to the true thing within this distance
PIXEL_STRIDE = 2  # each fourth pixel is enough for voxels of this size
LEAST_VOXELS = 25  # smaller things are not asked for
STRUCTURE = ("wall", "floor", "ceiling")


@dataclass(frozen=True, eq=False)
class Thing:
    """One piece of furniture as the frames show it. rows: voxels of the room's map that are it. center: (3,) metres, true."""

    caption: str
    name: str
    nyu40: str
    rows: np.ndarray
    center: np.ndarray


@dataclass(frozen=True)
class RoomMap:
    """A map with its truth. instance: (N,) of each voxel, 0 = none. basis: (L, D) of the map's features."""

    snapshot: MapSnapshot
    instance: np.ndarray
    things: list[Thing]
    basis: np.ndarray


@dataclass(frozen=True)
class Pixels:
    """A room's pixels: points (P, 3) metres, colors (P, 3), instance (P,), frame and flat pixel index (P,)."""

    points: np.ndarray
    colors: np.ndarray
    instance: np.ndarray
    frame: np.ndarray
    index: np.ndarray


def room_pixels(shard: Shard, a: int, b: int) -> Pixels:
    """Pixels with depth of frames a..b, on a coarse grid."""
    h, w = shard.size
    v, u = np.mgrid[:h, :w]
    uv = np.stack([u.ravel(), v.ravel()], 1)
    chosen = ((u % PIXEL_STRIDE == 0) & (v % PIXEL_STRIDE == 0)).ravel()
    parts = []
    for k in range(a, b):
        z = np.asarray(shard.depths[k]).astype(float).ravel()
        seen = np.flatnonzero(chosen & (z > 0))
        points = transform(shard.frames[k]["T_WC"], unproject(uv[seen], z[seen], shard.frames[k]["K"]))
        colors = np.asarray(shard.images[k]).reshape(-1, 3)[seen]
        parts.append(
            (points, colors, np.asarray(shard.instances[k]).ravel()[seen], np.full(len(seen), k), seen)
        )
    return Pixels(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def fused(pixels: Pixels, features: np.ndarray, trajectory: Trajectory) -> tuple[MapSnapshot, np.ndarray]:
    """Voxel means of points, colours and features (P, D); the most frequent instance of each voxel."""
    cell = np.floor(pixels.points / VOXEL_M).astype(np.int64)
    cell -= cell.min(0)
    keys = (cell[:, 0] * (cell[:, 1].max() + 1) + cell[:, 1]) * (cell[:, 2].max() + 1) + cell[:, 2]
    _, inverse, hits = np.unique(keys, return_inverse=True, return_counts=True)
    n = len(hits)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = [np.bincount(inverse, values[:, c], n) for c in range(values.shape[1])]
        return np.stack(sums, 1) / hits[:, None]

    pairs, votes = np.unique(np.stack([inverse, pixels.instance]), axis=1, return_counts=True)
    instance = np.zeros(n, int)
    order = np.argsort(votes, kind="stable")
    instance[pairs[0, order]] = pairs[1, order]  # the last assignment, the most frequent, stays
    snapshot = MapSnapshot.of_arrays(
        mean(pixels.points).astype(np.float32),
        mean(pixels.colors).astype(np.uint8),
        mean(features).astype(np.float16),
        hits.astype(np.float32),
        hits.astype(np.int32),
        VOXEL_M,
        trajectory,
        "bench",
        1,
    )
    return snapshot, instance


def named_instances(shard: Shard, a: int, b: int) -> dict[int, tuple[str, str, str]]:
    """Instance id → (caption, name, NYU40 class) of a room's frames."""
    entries = shard.vocabulary.entries
    found = {}
    for k in range(a, b):
        ids = shard.frames[k]["ids"]
        found |= {i: entries[ids[i]] for i in np.flatnonzero(ids >= 0).tolist()}
    return found


def things_of(
    instance: np.ndarray, names: dict[int, tuple[str, str, str]], points: np.ndarray, exact: np.ndarray
) -> list[Thing]:
    """Furniture with enough true voxels to be asked for, mapped or not. points (M, 3), exact (M,): those voxels and their
    instances. instance: (N,) of the map's voxels.
    """
    seen = {i: exact == i for i in names if names[i][1] not in STRUCTURE}
    return [
        Thing(*names[i], np.flatnonzero(instance == i), points[here].mean(0))
        for i, here in seen.items()
        if here.sum() >= LEAST_VOXELS
    ]


def camera_path(shard: Shard, a: int, b: int) -> Trajectory:
    return Trajectory(np.arange(b - a, dtype=float), np.stack([shard.frames[k]["T_WC"] for k in range(a, b)]))


def caption_map(shard: Shard, a: int, b: int, text: TextEncoder) -> RoomMap:
    """Exact geometry, each pixel with the vector of its caption, in a basis just large enough for the room."""
    pixels, names = room_pixels(shard, a, b), named_instances(shard, a, b)
    ids = sorted(names)
    vectors = text.encode([names[i][0] for i in ids])
    basis = np.linalg.svd(vectors, full_matrices=False)[2].T.astype(np.float32)  # (L, D), orthonormal
    table = np.zeros((max(ids) + 1, basis.shape[1]))
    table[ids] = vectors @ basis
    known = np.isin(pixels.instance, ids)
    snapshot, instance = fused(
        pixels, table[np.where(known, pixels.instance, ids[0])], camera_path(shard, a, b)
    )
    return RoomMap(snapshot, instance, things_of(instance, names, snapshot.points, instance), basis)


def predicted_map(shard: Shard, a: int, b: int, model: FeatureModel) -> RoomMap:
    """Exact geometry, each pixel with the feature that the network gives it."""
    pixels, names = room_pixels(shard, a, b), named_instances(shard, a, b)
    h, w = shard.size
    features = np.zeros((len(pixels.points), model.feature_basis.shape[1]), np.float32)
    for k in range(a, b):
        encoding = model.encode(np.asarray(shard.images[k]))
        f = model.decode(encoding, encoding)[0].features.astype(np.float32)
        mine = pixels.frame == k
        v, u = np.divmod(pixels.index[mine], w)
        features[mine] = f[v * f.shape[0] // h, u * f.shape[1] // w]
    snapshot, instance = fused(pixels, features, camera_path(shard, a, b))
    return RoomMap(
        snapshot, instance, things_of(instance, names, snapshot.points, instance), model.feature_basis
    )


def full_map(shard: Shard, a: int, b: int, model: FeatureModel, config: MapperConfig) -> RoomMap:
    """What the mapper makes of the images alone, brought into the room by `in_room`. Of a map in pieces the one with most
    keyframes lies in the room, the others far beside it. Empty if no two images fit together: nothing of the room is found.

    A voxel is the thing whose true voxels are nearest, within REACH_M.
    """
    mapper = IncrementalMapper(model, config)
    for k in range(a, b):
        mapper.add_keyframe(Frame(np.asarray(shard.images[k]), float(k), shard.frames[k]["K"]))
    mapper.flush()
    snapshot, atlas = mapper.snapshot(), mapper.atlas
    true_points, exact = exact_voxels(shard, a, b)
    names = named_instances(shard, a, b)
    if not len(snapshot):
        nothing = np.zeros(0, int)
        things = things_of(nothing, names, true_points, exact)
        return RoomMap(empty_map(model), nothing, things, model.feature_basis)
    pieces = list(atlas.graph.piece.values())
    ids = [k for k, piece in atlas.graph.piece.items() if piece == max(pieces, key=pieces.count)]
    frames = [int(atlas.stamps[k]) for k in ids]
    depths = [atlas.depths[k] * atlas.graph.T_WK[k].s for k in ids]
    true_depths = [median_of_seen(np.asarray(shard.depths[k], float)) for k in frames]
    truth = np.stack([shard.frames[k]["T_WC"] for k in frames])
    T_RW = in_room(atlas.graph.poses(ids), np.array(depths), truth, np.array(true_depths))
    points, stamps = T_RW.apply(snapshot.points).astype(np.float32), snapshot.trajectory.stamps
    moved = MapSnapshot(
        (replace(snapshot.voxels(), points=points),),
        snapshot.feature_dim,
        snapshot.voxel_size_m * T_RW.s,
        Trajectory(stamps, np.stack([shard.frames[int(k)]["T_WC"] for k in stamps])),
        snapshot.model_identity,
        snapshot.version,
    )
    distance, nearest = cKDTree(true_points).query(points, distance_upper_bound=REACH_M)
    instance = np.where(np.isfinite(distance), exact[np.minimum(nearest, len(exact) - 1)], 0)
    return RoomMap(moved, instance, things_of(instance, names, true_points, exact), model.feature_basis)


def in_room(T_WC: np.ndarray, depths: np.ndarray, T_RC: np.ndarray, true_depths: np.ndarray) -> Sim3:
    """T_RW: room from map, whose frame and scale images alone do not tell. The cameras settle them: their mean orientation,
    how far away is what they see, and the middle of their centres. Centres alone would leave the turn around a straight path
    open, and the scale of a short one.

    T_WC, T_RC: (K, 4, 4) poses in the map and in the room. depths, true_depths: (K,) median of each view, of the map's unit
    and metres.
    """
    axes, true_axes = (T[:, :3, :3].swapaxes(1, 2).reshape(-1, 3) for T in (T_WC, T_RC))
    _, R, _ = umeyama(np.concatenate([axes, -axes]), np.concatenate([true_axes, -true_axes]))
    s = float(np.exp(np.median(np.log(true_depths / depths))))
    return Sim3(s, R, T_RC[:, :3, 3].mean(0) - s * R @ T_WC[:, :3, 3].mean(0))


def median_of_seen(depth: np.ndarray) -> float:
    """Of an image's true depths, 0 = none."""
    return float(np.median(depth[depth > 0]))


def empty_map(model: FeatureModel) -> MapSnapshot:
    dim, trajectory = model.feature_basis.shape[1], Trajectory(np.zeros(0), np.zeros((0, 4, 4)))
    return MapSnapshot((), dim, VOXEL_M, trajectory, model.identity, 1)


def exact_voxels(shard: Shard, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact voxel positions (N, 3) and instances (N,)."""
    pixels = room_pixels(shard, a, b)
    snapshot, instance = fused(pixels, np.zeros((len(pixels.points), 1)), camera_path(shard, a, b))
    return snapshot.points, instance
