"""A mapper that is led through a made-up place, and what its map is worth against the truth."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from mapping_clips import ate, path_length
from oracle_flat import OracleNetwork
from scipy.spatial import cKDTree
from tqdm import tqdm

from sab3r_ros.config import LoopConfig, MapperConfig
from sab3r_ros.geometry.sim3 import Sim3, umeyama
from sab3r_ros.mapping.between import Between
from sab3r_ros.mapping.mapper import IncrementalMapper

REACH_M = 0.05  # accuracy and completeness
COARSE = MapperConfig(voxel_size_m=0.03)


class Walk:
    """A mapper that is led along true poses. times_s: processor time of each keyframe, without the network."""

    def __init__(
        self, model: OracleNetwork, config: MapperConfig = COARSE, loops: LoopConfig | None = None
    ) -> None:
        self.model, self.mapper = model, IncrementalMapper(model, config, loops=loops)
        self.times_s: list[float] = []
        self.truth: list[np.ndarray] = []
        self.loops: list[Between] = []  # as they were accepted
        close = self.mapper.atlas.close
        self.mapper.atlas.close = lambda loop: self.loops.append(loop) or close(loop)
        self._network_s = 0.0
        for name in ("encode", "decode"):
            setattr(model, name, self._clocked(getattr(type(model), name).__get__(model)))

    def _clocked(self, call: Callable) -> Callable:
        def clocked(*arguments):
            clock = time.process_time()
            answer = call(*arguments)
            self._network_s += time.process_time() - clock
            return answer

        return clocked

    def go(self, poses: list[np.ndarray], name: str = "walk") -> None:
        for T_WC in tqdm(poses, name, leave=False, disable=None):
            self.step(T_WC)

    def step(self, T_WC: np.ndarray) -> None:
        frame = self.model.place.frame(T_WC, float(len(self.truth)))
        self.truth.append(T_WC)
        clock, self._network_s = time.process_time(), 0.0
        self.mapper.add_keyframe(frame)
        self.times_s.append(time.process_time() - clock - self._network_s)

    def placed(self) -> tuple[np.ndarray, np.ndarray]:
        """Estimated and true poses (K, 4, 4) of the keyframes in the map's first piece: others stand anywhere."""
        trajectory, graph = self.mapper.trajectory(), self.mapper.atlas.graph
        first = min(graph.piece.values())
        here = np.array([graph.piece_of(k) == first for k in self.mapper.atlas.stamps])
        return trajectory.T_WC[here], np.stack([self.truth[int(t)] for t in trajectory.stamps[here]])

    def drift(self) -> float:
        """ATE as a share of the path."""
        estimate, truth = self.placed()
        return ate(estimate, truth) / path_length(truth)

    def to_truth(self) -> Sim3:
        estimate, truth = self.placed()
        s, R, t = umeyama(estimate[:, :3, 3], truth[:, :3, 3])
        return Sim3(float(s), R, t)


def map_quality(walk: Walk) -> tuple[float, float]:
    """Share of the voxels within REACH_M of a true surface, and of the surfaces seen within REACH_M of a voxel."""
    place, points = walk.model.place, walk.to_truth().apply(walk.mapper.snapshot().points.astype(float))
    accuracy = float((place.distance(points) < REACH_M).mean())
    seen = []
    for T_WC in walk.truth[::2]:
        X, _ = place.cast(T_WC)
        X = X[::2, ::2].reshape(-1, 3)
        X = X[np.linalg.norm(X, axis=1) < walk.mapper.config.max_range_m]
        seen.append(X @ T_WC[:3, :3].T + T_WC[:3, 3])
    surface = np.concatenate(seen)
    surface = surface[np.unique(np.floor(surface / REACH_M).astype(int), axis=0, return_index=True)[1]]
    distance, _ = cKDTree(points).query(surface, distance_upper_bound=REACH_M)
    return accuracy, float(np.isfinite(distance).mean())


def jittered(T_WC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pose near another: no visit is the same twice."""
    out = T_WC.copy()
    out[:3, 3] += rng.normal(0, 0.03, 3)
    out[:3, :3] = out[:3, :3] @ Sim3.exp(np.r_[rng.normal(0, 0.02, 3), 0, 0, 0, 0]).R
    return out


def fill(mapper: IncrementalMapper, count: int) -> None:
    """Voxels far beside the camera, until the map holds `count`."""
    world, rng = mapper.world, np.random.default_rng(0)
    while len(world) < count:
        points = rng.uniform([20, 20, 0], [30, 30, 3], (100_000, 3))
        colors = rng.integers(0, 255, (len(points), 3)).astype(np.uint8)
        features = mapper.model.feature_basis[rng.integers(0, 16, len(points))].astype(np.float16)
        world.integrate(points, colors, features, np.full(len(points), 3.0, np.float32), anchor=0)
