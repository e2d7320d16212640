"""Everything that is kept of what the camera saw: voxels, the pose graph of keyframes, and places to know again."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np

from sab3r_ros.config import LoopConfig, MapperConfig
from sab3r_ros.errors import MapFileError
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.between import Between
from sab3r_ros.mapping.fusion import look, surface_pixels, surface_points
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.meeting import Seen
from sab3r_ros.mapping.places import PlaceMemory
from sab3r_ros.mapping.pose_graph import PoseGraph
from sab3r_ros.mapping.semantic_map import SemanticMap
from sab3r_ros.types import MapSnapshot, Trajectory, View

# Map from first camera: the camera's right, down, forward (RDF) become −y, −z, x (REP-103).
T_WC0 = Sim3(1.0, np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
MOVED_AT_ONCE = 10_000  # voxels that follow their keyframes with each new keyframe; the rest wait
MOST_KEYFRAMES = (
    1000  # that the graph settles: beyond it those that are no places are carried, the oldest first
)
ON_THE_WAY, AT_REST = 0.5, 0.05  # voxels that a keyframe may have moved by before its own follow it
MOST_FRESH = 30  # keyframes that a loop may bend the way between before they are carried
PIECE_GAP_M = 100.0  # a part of the map whose place is not known yet lies so far beside the rest


class Atlas:
    """The map in one or more pieces. One thread changes it; `snapshot`, `trajectory` and `state` belong to any.

    A loop moves keyframes, and the voxels move with the keyframe that first saw them: nothing is asked of the network again.
    They move a few at a time, those around the camera first, so that a loop costs no more in a large map. What a snapshot
    shows in between is consistent keyframe by keyframe: all that one has seen first lies where it stands now, or all where
    it stood before, give or take half a voxel.
    """

    def __init__(
        self, config: MapperConfig, loops: LoopConfig, feature_dim: int, model_identity: str, version: int = 0
    ) -> None:
        self.config, self.model_identity = config, model_identity
        self.lock = threading.Lock()
        self.world = SemanticMap(config.voxel_size_m, feature_dim, 1e6 * config.max_map_mb)
        self.graph, self.places = PoseGraph(), PlaceMemory()
        self.stamps: dict[int, float] = {}
        self.depths: dict[int, float] = {}  # median distance of what a keyframe sees, in its own unit
        self.next_id = 0
        # Whether lengths of the oldest piece are metres, and not only the network's guess.
        self.metric = False
        self.version = version
        # Where a keyframe's voxels were put, or will be when they have moved.
        self._sits: dict[int, Sim3] = {}
        # How voxels that have not moved yet will move; the first come first.
        self._waiting: dict[int, Sim3] = {}
        self._unfused: list[tuple[Keyframe, View]] = []
        self._fresh: list[int] = []  # keyframes that may come to be carried by others
        self._snapshot: MapSnapshot | None = None

    @property
    def memory_bytes(self) -> int:
        parts = (self.world, self.places, self.graph)
        return self.world.index_bytes + sum(part.memory_bytes for part in parts)

    def new_piece(self, known: bool = False) -> Sim3:
        """T_WV of a window that is connected to nothing: the origin, or a place beside all that is there.

        known: V is the frame of the poses that the frames came with, which is the map's own; else V is the first camera's.
        """
        ends = [float(block.points[:, 0].max()) for block in self.world.blocks()]
        aside = [max(ends) + PIECE_GAP_M, 0, 0] if ends else [0, 0, 0]
        return Sim3(1.0, np.eye(3) if known else T_WC0.R, np.array(aside))

    def add(self, keyframe: Keyframe, view: View, T_WK: Sim3, edges: Iterable[Between], piece: int) -> None:
        """A keyframe stands at its pose; `fuse` then puts what it sees into the map."""
        with self.lock:
            self.graph.add(keyframe.id, T_WK, piece)
            for edge in edges:
                self.graph.connect(edge)
            self.stamps[keyframe.id], self.depths[keyframe.id] = keyframe.stamp, median_depth(view)
            self._sits[keyframe.id] = keyframe.T_WK = T_WK
            self._fresh.append(keyframe.id)
            self._unfused.append((keyframe, view))
            self.version += 1

    def fuse(self) -> int:
        """What the keyframes that were added see becomes voxels, and some that wait move. Returns how many are new."""
        with self.lock:
            added, self._unfused = self._unfused, []
            seen = [Seen.nothing(self.world.feature_dim)]
            for keyframe, view in added:
                surface, T_WK = surface_pixels(view, self.config), self._sits[keyframe.id]
                self.world.fade(look(view, surface, keyframe, T_WK, self.config))
                seen.append(surface_points(view, surface, keyframe, T_WK, self.world.feature_dim))
            fresh = self.world.update(Seen.joined(seen), self._next_moves(MOVED_AT_ONCE * len(added)))
            self.version += 1
        return fresh

    def close(self, loop: Between) -> None:
        """Settle the graph with a loop; the voxels follow, with the next keyframes."""
        with self.lock:
            same = self.graph.piece[loop.i] == self.graph.piece[loop.j]
            self._follow(self.graph.close(loop) if same else self.graph.join(loop), max(loop.i, loop.j))
            self.version += 1

    def _follow(self, moved: Iterable[int], near: int, least: float = ON_THE_WAY) -> None:
        """Voxels of keyframes that moved by more than `least` voxels are to move; those around keyframe `near` first."""
        for k in moved:
            T, sits = self.graph.T_WK[k], self._sits[k]
            ahead = np.array([[0, 0, 0], [0, 0, self.depths[k]]])
            gap = np.linalg.norm(T.apply(ahead) - sits.apply(ahead), axis=1).max()
            if gap > least * self.config.voxel_size_m:
                self._sits[k] = T
                for anchor in (k, *self.graph.carried.of(k)):
                    self._wait(anchor, T @ sits.inverse())
        if not self._waiting:
            return
        away = self.graph.poses(self._waiting)[:, :3, 3] - self.graph.T_WK[near].t
        waiting = list(self._waiting.items())
        self._waiting = dict(waiting[n] for n in np.argsort(np.linalg.norm(away, axis=1)))

    def _wait(self, anchor: int, correction: Sim3) -> None:
        """A keyframe's voxels will move by a correction, after what they wait for already."""
        if self.world.anchored(anchor):
            before = self._waiting.get(anchor)
            self._waiting[anchor] = correction if before is None else correction @ before

    def _next_moves(self, room: int) -> dict[int, Sim3]:
        """How voxels that have waited move: those that are first, so many, or those of one keyframe."""
        chosen = {}
        for anchor, correction in self._waiting.items():
            room -= self.world.anchored(anchor)
            if chosen and room < 0:
                break
            chosen[anchor] = correction
        for anchor in chosen:
            del self._waiting[anchor]
        return chosen

    def thin(self, busy: set[int]) -> None:
        """Beyond MOST_KEYFRAMES those that are no places of their own come to be carried by those that are, but for `busy`.

        Those after the newest place or loop wait, MOST_FRESH at most: the next loop may still bend the way between them.
        """
        graph, places = self.graph, self.places.places
        if len(graph.T_WK) <= MOST_KEYFRAMES:
            return
        ends = [k for k in self._fresh if k in places or any(e.loop for e in graph.edges[k])]
        with self.lock:
            end = max([*ends[-1:], *self._fresh[:-MOST_FRESH][-1:]], default=-1)
            done = set()
            for k in self._fresh:
                if k >= end or len(graph.T_WK) <= MOST_KEYFRAMES:
                    break
                if k in busy:
                    continue
                done.add(k)
                carrier = None if k in places else graph.carrier_of(k)
                if carrier is not None:
                    self._sits_beside(k, carrier)
                    graph.carry(k, carrier)
            self._fresh = [k for k in self._fresh if k not in done]

    def _sits_beside(self, k: int, carrier: int) -> None:
        """k's voxels will move with the carrier's: bring them to where they then belong, if that is not where they are."""
        T_CK = self.graph.T_WK[carrier].inverse() @ self.graph.T_WK[k]
        T_WK, sits, depth = self._sits[carrier] @ T_CK, self._sits.pop(k), self.depths.pop(k)
        ahead = np.array([[0, 0, 0], [0, 0, depth]])
        gap = np.linalg.norm(T_WK.apply(ahead) - sits.apply(ahead), axis=1).max()
        if gap > ON_THE_WAY * self.config.voxel_size_m:
            for anchor in (k, *self.graph.carried.of(k)):
                self._wait(anchor, T_WK @ sits.inverse())

    def rest(self) -> None:
        """Nothing comes for a while: the whole graph settles, and all voxels move to where they belong.

        Others may look at the map in between.
        """
        with self.lock:
            self.graph.settle_all()
            self._follow(self.graph.T_WK, max(self.graph.T_WK, default=0), AT_REST)
        while self._waiting:
            with self.lock:
                self.version += self.world.move(self._next_moves(MOVED_AT_ONCE)) > 0

    def rescale(self, factor: float) -> None:
        """Multiply all lengths of the map, which are metres from then on."""
        grow = Sim3(factor, np.eye(3), np.zeros(3))
        with self.lock:
            self.graph.T_WK = {k: grow @ T for k, T in self.graph.T_WK.items()}
            waiting, self._waiting = self._waiting, {}
            self.world.move(
                {k: grow @ waiting.get(k, Sim3.identity()) for k in (*self.graph.T_WK, *self.graph.carried)}
            )
            self._sits = {k: grow @ T for k, T in self._sits.items()}
            self.metric = True
            self.version += 1

    def trajectory(self) -> Trajectory:
        """Poses of the keyframes, in the order of their arrival."""
        with self.lock:
            return self._trajectory()

    def _trajectory(self) -> Trajectory:
        return Trajectory(np.array(list(self.stamps.values())), self.graph.poses(self.stamps))

    def snapshot(self) -> MapSnapshot:
        """The map as it is now, consistent and read-only; free while nothing changes."""
        with self.lock:
            if self._snapshot is None or self._snapshot.version != self.version:
                self._snapshot = MapSnapshot(
                    self.world.blocks(),
                    self.world.feature_dim,
                    self.world.voxel_size_m,
                    self._trajectory(),
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
                "waiting_ids": np.array(list(self._waiting), np.int64),
                "waiting_moves": np.array([T.matrix() for T in self._waiting.values()]).reshape(-1, 4, 4),
                **self.graph.arrays(),
                **self.places.arrays(),
            }

    def restore(self, snapshot: MapSnapshot, state: dict[str, np.ndarray]) -> None:
        """Fill an empty atlas from a saved map; without state it can be asked, but not continued.

        Older files, in which no keyframe is carried and no voxel waits, are continued, too. Raises MapFileError if
        something else is missing.
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
                every, ids = sorted((*self.graph.T_WK, *self.graph.carried)), list(self.graph.T_WK)
                self.stamps = dict(zip(every, snapshot.trajectory.stamps.tolist(), strict=True))
                self.depths = dict(zip(ids, state["keyframe_depth"].tolist(), strict=True))
                sits = map(Sim3.from_matrix, state["keyframe_sits"])
                self._sits = dict(zip(ids, sits, strict=True))
                self.metric = bool(state["metric"][0])
                waiting = state.get("waiting_ids", np.zeros(0, np.int64)).tolist()
                moves = map(Sim3.from_matrix, state.get("waiting_moves", []))
                self._waiting = dict(zip(waiting, moves, strict=True))
                self.next_id = 1 + max(every, default=-1)
            self.version += 1


def median_depth(view: View) -> float:
    """Of a view's points, in their own unit."""
    z = view.points[::4, ::4, 2]
    return float(np.median(z[np.isfinite(z)]))
