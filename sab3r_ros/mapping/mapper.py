"""The incremental mapper: frames in, a semantic map and a trajectory out (paper Fig. 2, made incremental)."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from sab3r_ros.config import AlignmentConfig, MapperConfig
from sab3r_ros.errors import MapFileError
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.fusion import fuse
from sab3r_ros.mapping.keyframes import Keyframe, KeyframeSelector, check_image
from sab3r_ros.mapping.places import PlaceMemory
from sab3r_ros.mapping.semantic_map import SemanticMap
from sab3r_ros.mapping.window import Window
from sab3r_ros.model.feature_model import FeatureModel
from sab3r_ros.types import Frame, MapSnapshot, MapStatus, TrackingState, Trajectory

log = logging.getLogger(__name__)

# Map from first camera: the camera's right, down, forward (RDF) become −y, −z, x (REP-103).
T_WC0 = Sim3(1.0, np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
LARGEST_MISFIT = (
    0.25  # a window whose shared points miss the map by more than this share of their spread is not forced in
)
OVERTAKEN_S = 0.5  # a frame that is so much older than the last was overtaken on its way; by more, a recording begins again


@dataclass(frozen=True)
class MapUpdate:
    """What a window changed: ids of keyframes now placed, ids that found no place, new voxels, relative misfit."""

    keyframes: tuple[int, ...]
    rejected: tuple[int, ...]
    new_voxels: int
    misfit: float


@dataclass(frozen=True)
class FrameResult:
    """accepted: the frame became a keyframe. reason: why, or why not. update: if it completed a window."""

    accepted: bool
    reason: str
    update: MapUpdate | None = None


class IncrementalMapper:
    """One camera's map. `add_frame` and `add_keyframe` belong to one thread; `status` and `snapshot` to any."""

    def __init__(
        self,
        model: FeatureModel,
        config: MapperConfig | None = None,
        alignment: AlignmentConfig | None = None,
    ) -> None:
        self.model, self.config, self.alignment = (
            model,
            config or MapperConfig(),
            alignment or AlignmentConfig(),
        )
        self._lock = threading.Lock()
        self._version = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything but the configuration."""
        with self._lock:
            self.selector = KeyframeSelector(self.config)
            self.window = Window(self.model, self.alignment)
            self.places = PlaceMemory()
            self.world = SemanticMap(
                self.config.voxel_size_m, self.model.feature_basis.shape[1], self.config.max_voxels
            )
            self.tracking = TrackingState.INITIALISING
            self.windows_rejected = 0
            self._placed: list[tuple[float, Sim3]] = []
            self._next_id = 0
            self._last_stamp = -np.inf
            self._rng = np.random.default_rng(0)
            self._times: deque[float] = deque(maxlen=20)
            self._snapshot: MapSnapshot | None = None
            self._version += 1

    def add_frame(self, frame: Frame) -> FrameResult:
        """Make a keyframe of the frame if it shows enough that is new. Raises ImageError for an unusable image."""
        check_image(frame.image)
        back = self._last_stamp - frame.stamp
        if 0 < back < OVERTAKEN_S:
            return FrameResult(False, f"overtaken: {back:.3f} s older than the image before it")
        if back > 0:
            log.warning("stamps jumped back by %.3f s: a new sequence begins, the map stays", back)
            self._begin_sequence()
        self._last_stamp = frame.stamp
        decision = self.selector.judge(frame)
        return FrameResult(
            decision.accepted, decision.reason, self.add_keyframe(frame) if decision.accepted else None
        )

    def add_keyframe(self, frame: Frame) -> MapUpdate | None:
        """Encode a keyframe once; when it completes a window, align the window and fuse it into the map."""
        image, K = self.model.prepare(frame.image, frame.K)
        keyframe = Keyframe(self._next_id, frame.stamp, image, K, self.model.encode(image))
        self._next_id += 1
        self._times.append(time.monotonic())
        if self.tracking is TrackingState.LOST and not self._relocalised(keyframe):
            return None
        self.window.add(keyframe)
        return self._process_window() if len(self.window.keyframes) >= self.config.window else None

    def flush(self) -> MapUpdate | None:
        """Process the keyframes that wait for their window to fill; nothing to do with fewer than two, or none waiting."""
        waiting = [k for k in self.window.keyframes if k.T_WK is None]
        return self._process_window() if waiting and len(self.window.keyframes) >= 2 else None

    def _process_window(self) -> MapUpdate | None:
        poses = self.window.solve(self._rng)  # pointmaps of the window in one frame V
        placing = self._place(poses)  # that frame in the map, from the shared keyframes
        fresh = [k for k in self.window.keyframes if k.T_WK is None]
        if placing is None:
            return self._reject(fresh)
        T_WV, misfit = placing
        placed = [k for k in fresh if k.id in poses]
        new_voxels = 0
        for keyframe in placed:
            keyframe.T_WK = T_WV @ poses[keyframe.id]
            new_voxels += self._fuse(keyframe)
        lost = tuple(k.id for k in fresh if k.id not in poses)
        self.window.keyframes = [k for k in self.window.keyframes if k.T_WK is not None]
        self.window.keep_last(self.config.shared)
        self.tracking = TrackingState.TRACKING
        return MapUpdate(tuple(k.id for k in placed), lost, new_voxels, misfit)

    def _place(self, poses: dict[int, Sim3]) -> tuple[Sim3, float] | None:
        """T_WV and its misfit; None if too little of the window is connected, or it does not fit the map."""
        fresh = [k for k in self.window.keyframes if k.T_WK is None and k.id in poses]
        if not fresh or len(poses) < 2:
            return None
        if not self._placed:
            return T_WC0, 0.0  # the first window makes the map: its first keyframe is the origin
        placing = self.window.place(poses, self._rng)
        return placing if placing and placing[1] < LARGEST_MISFIT else None

    def _fuse(self, keyframe: Keyframe) -> int:
        view = self.window.view(keyframe)
        with self._lock:
            fresh = fuse(self.world, view, keyframe.image, keyframe.T_WK, self.config)
            self.places.remember(keyframe.id, keyframe.T_WK, view)
            self._placed.append((keyframe.stamp, keyframe.T_WK))
            self._version += 1
        return fresh

    def _reject(self, fresh: list[Keyframe]) -> MapUpdate:
        """A window that does not fit is not forced in: before the map begins try again later, afterwards we are lost."""
        self.windows_rejected += 1
        if self._placed:
            self.tracking = TrackingState.LOST
            self.window.keep_last(0)
            log.warning(
                "lost: keyframes %s do not fit the map; show a place that it knows", [k.id for k in fresh]
            )
        else:
            self.window.keep_last(1)
            log.warning(
                "cannot begin yet: the first keyframes do not match one another; move slowly, sideways"
            )
        return MapUpdate((), tuple(k.id for k in fresh), 0, float("nan"))

    def _relocalised(self, keyframe: Keyframe) -> bool:
        """Whether a keyframe shows a place of the map; it then carries the next window."""
        self.window.keyframes = [keyframe]
        found = self.places.recognise(self.window.view(keyframe), self.alignment, self._rng)
        if found is None:
            self.window.keep_last(0)
            return False
        keyframe.T_WK, alignment = found
        self._fuse(keyframe)
        self.window.keyframes = []
        self.tracking = TrackingState.TRACKING
        log.info("relocalised: %d matches agree", alignment.count)
        return True

    def _begin_sequence(self) -> None:
        """Frames no longer follow from the last one: the next keyframe has to recognise a place of the map, if there is any."""
        self.selector.reset()
        self.window.keep_last(0)
        if self._placed:
            self.tracking = TrackingState.LOST

    @property
    def version(self) -> int:
        """Grows with every change of the map."""
        return self._version

    def status(self) -> MapStatus:
        """A summary; cheap, from any thread."""
        times = list(self._times)
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
        memory = self.world.memory_bytes + self.places.memory_bytes
        waiting = sum(k.T_WK is None for k in self.window.keyframes)
        return MapStatus(
            self.tracking,
            len(self._placed),
            waiting,
            len(self.world),
            memory,
            rate,
            False,
            self.windows_rejected,
        )

    def trajectory(self) -> Trajectory:
        """Poses of the keyframes in the map, by stamp order of arrival."""
        placed = list(self._placed)
        poses = np.stack([T.rigid() for _, T in placed]) if placed else np.zeros((0, 4, 4))
        return Trajectory(np.array([stamp for stamp, _ in placed]), poses)

    def snapshot(self) -> MapSnapshot:
        """The map as it is now, consistent and read-only; free while nothing changes. From any thread."""
        with self._lock:
            if self._snapshot is None or self._snapshot.version != self._version:
                n, world = len(self.world), self.world
                self._snapshot = MapSnapshot(
                    world.points[:n].copy(),
                    np.clip(np.rint(world.colors[:n]), 0, 255).astype(np.uint8),
                    world.features[:n].copy(),
                    world.confidence[:n].copy(),
                    world.hits[:n].copy(),
                    world.voxel_size_m,
                    self.trajectory(),
                    self.model.identity,
                    self._version,
                )
            return self._snapshot

    def state(self) -> dict[str, np.ndarray]:
        """What, besides the snapshot, a later session needs to go on in this map."""
        with self._lock:
            poses = np.array([T.matrix() for _, T in self._placed]).reshape(-1, 4, 4)
            return {"placed_T_WK": poses, **self.places.arrays()}

    def restore(self, snapshot: MapSnapshot, state: dict[str, np.ndarray]) -> None:
        """Replace the map by a saved one; new frames join it once they recognise a place of it.

        Raises MapFileError if another model made it. A map saved without state can be asked, but not continued.
        """
        if snapshot.model_identity != self.model.identity:
            raise MapFileError(
                f"this map was made by {snapshot.model_identity}, the loaded model is {self.model.identity}: "
                "their features differ; load that model, or map again"
            )
        self.reset()
        with self._lock:
            self.world = SemanticMap(snapshot.voxel_size_m, self.world.feature_dim, self.config.max_voxels)
            self.world.load(
                snapshot.points, snapshot.colors, snapshot.features, snapshot.confidence, snapshot.hits
            )
            if state:
                stamps, poses = snapshot.trajectory.stamps, state["placed_T_WK"]
                self._placed = [(float(t), Sim3.from_matrix(T)) for t, T in zip(stamps, poses, strict=True)]
                self.places = PlaceMemory.from_arrays(state)
                self._next_id = 1 + max((p.id for p in self.places.places), default=-1)
                self.tracking = TrackingState.LOST
            self._version += 1

    def current_pose(self) -> tuple[float, np.ndarray] | None:
        """Stamp and T_WC (4, 4) of the newest keyframe in the map, or None."""
        return (self._placed[-1][0], self._placed[-1][1].rigid()) if self._placed else None
