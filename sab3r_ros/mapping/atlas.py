"""Everything that is kept of what the camera saw: voxels, the pose graph of keyframes, and places to know again."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np

from sab3r_ros.config import LoopConfig, MapperConfig
from sab3r_ros.errors import MapFileError
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.fusion import fuse
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.places import PlaceMemory
from sab3r_ros.mapping.pose_graph import Between, PoseGraph
from sab3r_ros.mapping.semantic_map import SemanticMap
from sab3r_ros.types import MapSnapshot, Trajectory, View

# Map from first camera: the camera's right, down, forward (RDF) become −y, −z, x (REP-103).
T_WC0 = Sim3(1.0, np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
LARGE_MOVE_VOXELS = 2.0  # a correction that is applied at once
LEAST_PATIENCE = 30  # keyframes that smaller ones wait for at least, in a small map
PIECE_GAP_M = 100.0  # a part of the map whose place is not known yet lies so far beside the rest


class Atlas:
    """The map in one or more pieces. One thread changes it; `snapshot`, `trajectory` and `state` belong to any.

    A loop moves keyframes, and the voxels move with the keyframe that first saw them: nothing is asked of the network again.
    """

    def __init__(
        self, config: MapperConfig, loops: LoopConfig, feature_dim: int, model_identity: str, version: int = 0
    ) -> None:
        self.config, self.model_identity = config, model_identity
        self.lock = threading.Lock()
        self.world = SemanticMap(config.voxel_size_m, feature_dim, 1e6 * config.max_map_mb)
        self.graph, self.places = PoseGraph(loops), PlaceMemory()
        self.stamps: dict[int, float] = {}
        self.depths: dict[int, float] = {}  # median distance of what a keyframe sees, in its own unit
        self.next_id = 0
        self.metric = (
            False  # whether lengths of the oldest piece are metres, and not only the network's guess
        )
        self.version = version
        self._sits: dict[int, Sim3] = {}  # where a keyframe's voxels were put
        self._moved_at = 0  # keyframes in the graph when voxels last moved
        self._snapshot: MapSnapshot | None = None

    @property
    def memory_bytes(self) -> int:
        return self.world.memory_bytes + self.places.memory_bytes + self.graph.memory_bytes

    def new_piece(self, known: bool = False) -> Sim3:
        """T_WV of a window that is connected to nothing: the origin, or a place beside all that is there.

        known: V is the frame of the poses that the frames came with, which is the map's own; else V is the first camera's.
        """
        ends = [float(block.points[:, 0].max()) for block in self.world.blocks()]
        aside = [max(ends) + PIECE_GAP_M, 0, 0] if ends else [0, 0, 0]
        return Sim3(1.0, np.eye(3) if known else T_WC0.R, np.array(aside))

    def add(self, keyframe: Keyframe, view: View, T_WK: Sim3, edges: Iterable[Between], piece: int) -> int:
        """Fuse a keyframe at its pose. Returns the number of new voxels."""
        with self.lock:
            fresh = fuse(self.world, view, keyframe, T_WK, self.config)
            self.graph.add(keyframe.id, T_WK, piece)
            for edge in edges:
                self.graph.connect(edge)
            self.stamps[keyframe.id], self.depths[keyframe.id] = keyframe.stamp, median_depth(view)
            self._sits[keyframe.id] = keyframe.T_WK = T_WK
            self.version += 1
        return fresh

    def close(self, loop: Between) -> None:
        """Settle the graph with a loop, and take the voxels along."""
        with self.lock:
            if self.graph.piece[loop.i] == self.graph.piece[loop.j]:
                self.graph.close(loop)
            else:
                self.graph.join(loop)
            self._move_voxels(LARGE_MOVE_VOXELS * self.config.voxel_size_m)
            self.version += 1

    def _move_voxels(self, least_m: float) -> bool:
        """Those of keyframes whose surroundings moved by `least_m`, if any did; then all that moved by half a voxel as well.

        Moving costs as much as the map is large: small corrections wait for a large one, or until there are many new
        keyframes, so that what a keyframe costs does not grow with the map. Returns whether any moved.
        """
        gaps = {}
        for k, T in self.graph.T_WK.items():
            if T is not self._sits[k]:
                ahead = np.array([[0, 0, 0], [0, 0, self.depths[k]]])
                gaps[k] = np.linalg.norm(T.apply(ahead) - self._sits[k].apply(ahead), axis=1).max()
        patience = max(LEAST_PATIENCE, len(self.graph) // 20)
        if not gaps or (max(gaps.values()) < least_m and len(self.graph) < self._moved_at + patience):
            return False
        moved = [k for k, gap in gaps.items() if gap > self.config.voxel_size_m / 2]
        if moved:
            self.world.move({k: self.graph.T_WK[k] @ self._sits[k].inverse() for k in moved})
            self._sits |= {k: self.graph.T_WK[k] for k in moved}
        self._moved_at = len(self.graph)
        return bool(moved)

    def rest(self) -> None:
        """Nothing comes for a while: voxels move to where they belong."""
        with self.lock:
            self.version += self._move_voxels(self.config.voxel_size_m / 2)

    def rescale(self, factor: float) -> None:
        """Multiply all lengths of the map, which are metres from then on."""
        grow = Sim3(factor, np.eye(3), np.zeros(3))
        with self.lock:
            self.graph.T_WK = {k: grow @ T for k, T in self.graph.T_WK.items()}
            self.world.move(dict.fromkeys(self._sits, grow))
            self._sits = {k: grow @ T for k, T in self._sits.items()}
            self.metric = True
            self.version += 1

    def trajectory(self) -> Trajectory:
        """Poses of the keyframes, in the order of their arrival."""
        stamps = list(self.stamps.values())  # a keyframe has its pose before it has its stamp
        poses = [T.rigid() for T in list(self.graph.T_WK.values())[: len(stamps)]]
        return Trajectory(np.array(stamps), np.stack(poses) if poses else np.zeros((0, 4, 4)))

    def snapshot(self) -> MapSnapshot:
        """The map as it is now, consistent and read-only; free while nothing changes."""
        with self.lock:
            if self._snapshot is None or self._snapshot.version != self.version:
                self._snapshot = MapSnapshot(
                    self.world.blocks(),
                    self.world.feature_dim,
                    self.world.voxel_size_m,
                    self.trajectory(),
                    self.model_identity,
                    self.version,
                )
            return self._snapshot

    def state(self) -> dict[str, np.ndarray]:
        """What, besides the snapshot, a later session needs to go on in this map."""
        with self.lock:
            return {
                "metric": np.array([self.metric]),
                "keyframe_depth": np.array(list(self.depths.values())),
                "keyframe_sits": np.array([T.matrix() for T in self._sits.values()]).reshape(-1, 4, 4),
                **self.graph.arrays(),
                **self.places.arrays(),
            }

    def restore(self, snapshot: MapSnapshot, state: dict[str, np.ndarray]) -> None:
        """Fill an empty atlas from a saved map; without state it can be asked, but not continued.

        Raises MapFileError if state is of another version of this program.
        """
        try:
            self._restore(snapshot, state)
        except KeyError as error:
            raise MapFileError(
                f"this map was saved by an older version and cannot be continued ({error} is missing): map again"
            ) from error

    def _restore(self, snapshot: MapSnapshot, state: dict[str, np.ndarray]) -> None:
        with self.lock:
            self.world = SemanticMap(snapshot.voxel_size_m, self.world.feature_dim, self.world.max_bytes)
            self.world.load(snapshot.voxels())
            if state:
                self.graph.load(state)
                self.places = PlaceMemory.from_arrays(state)
                ids = list(self.graph.T_WK)
                self.stamps = dict(zip(ids, snapshot.trajectory.stamps.tolist(), strict=True))
                self.depths = dict(zip(ids, state["keyframe_depth"].tolist(), strict=True))
                sits = map(Sim3.from_matrix, state["keyframe_sits"])
                self._sits = dict(zip(ids, sits, strict=True))
                self.metric = bool(state["metric"][0])
                self.next_id = 1 + max(ids, default=-1)
            self.version += 1


def median_depth(view: View) -> float:
    """Of a view's points, in their own unit."""
    z = view.points[::4, ::4, 2]
    return float(np.median(z[np.isfinite(z)]))
