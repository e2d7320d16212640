"""The incremental mapper: frames in, a semantic map and a trajectory out (paper Fig. 2, made incremental)."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from sab3r_ros.config import AlignmentConfig, LoopConfig, MapperConfig
from sab3r_ros.errors import ConfigError, MapFileError
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.atlas import Atlas, median_depth
from sab3r_ros.mapping.between import Between
from sab3r_ros.mapping.keyframes import Keyframe, KeyframeSelector, check_image
from sab3r_ros.mapping.loops import Hypothesis, Recogniser, between, same
from sab3r_ros.mapping.metric import HeightScale, carried_on, known_poses
from sab3r_ros.mapping.semantic_map import SemanticMap
from sab3r_ros.mapping.window import Window
from sab3r_ros.model.feature_model import FeatureModel
from sab3r_ros.types import Frame, MapSnapshot, MapStatus, TrackingState, Trajectory

log = logging.getLogger(__name__)

LARGEST_MISFIT = (
    0.25  # a window whose shared points miss the map by more than this share of their spread is not forced in
)
OVERTAKEN_S = 0.5  # a frame that is so much older than the last was overtaken on its way; by more, a recording begins again


@dataclass(frozen=True)
class MapUpdate:
    """What a window changed: ids of keyframes now placed, ids that found no place, new voxels, relative misfit.

    loop: the keyframe seen before whose place it showed again, if it closed a loop.
    """

    keyframes: tuple[int, ...]
    rejected: tuple[int, ...]
    new_voxels: int
    misfit: float
    loop: int | None = None


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
        loops: LoopConfig | None = None,
    ) -> None:
        self.model, self.config = model, config or MapperConfig()
        self.alignment, self.loops = alignment or AlignmentConfig(), loops or LoopConfig()
        self.reset()

    def reset(self) -> None:
        """Forget everything but the configuration."""
        self.selector = KeyframeSelector(self.config)
        self.window = Window(self.model, self.alignment)
        version = self.atlas.version + 1 if hasattr(self, "atlas") else 0
        self.atlas = Atlas(
            self.config, self.loops, self.model.feature_basis.shape[1], self.model.identity, version
        )
        self.recogniser = Recogniser(self.atlas, self.alignment, self.loops)
        self.tracking = TrackingState.INITIALISING
        self.windows_rejected = 0
        self._hypothesis: Hypothesis | None = None
        self._height = HeightScale(self.config.camera_height_m)
        self._metres_a_unit: float | None = None
        self._odometry = False  # the window in hand stands where the frames' own poses say
        self._last_stamp = -np.inf
        self._rng = np.random.default_rng(0)
        self._times: deque[float] = deque(maxlen=20)

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
        """Encode a keyframe once; when it completes a window, align the window, fuse it into the map, look for a loop."""
        image, K = self.model.prepare(frame.image, frame.K)
        encoding = self.model.encode(image)
        keyframe = Keyframe(self.atlas.next_id, frame.stamp, image, K, encoding, T_OC=frame.T_OC)
        self.atlas.next_id += 1
        self._times.append(time.monotonic())
        self.window.add(keyframe)
        if self.tracking in (TrackingState.LOST, TrackingState.RELOCALISING):
            self._relocalise(keyframe)
        return self._process_window() if len(self.window.keyframes) >= self.config.window else None

    def flush(self) -> MapUpdate | None:
        """Process the keyframes that wait for their window to fill; nothing to do with fewer than two, or none waiting."""
        update = self._process_window() if self._waiting() and len(self.window.keyframes) >= 2 else None
        self.atlas.rest()
        self._refresh()
        return update

    def _process_window(self) -> MapUpdate | None:
        fresh = self._waiting()
        poses = self._known(self.window.solve(self._rng))  # pointmaps of the window in one frame V
        placing = self._place(poses)  # that frame in the map, from the shared keyframes
        if placing is None:
            return self._reject(fresh)
        T_WV, misfit, piece = placing
        placed = [k for k in fresh if k.id in poses]
        for keyframe in placed:
            self._add(keyframe, T_WV @ poses[keyframe.id], poses, piece)
        new_voxels = self.atlas.fuse()
        loop = self._close_loop(placed[-1])
        self._use_height(placed[-1])
        self._update_tracking(placed[-1])
        ahead = [
            k for k in fresh if k.id > placed[-1].id
        ]  # connected to nothing yet: the next window decides
        self.window.keyframes = [k for k in self.window.keyframes if k.T_WK is not None] + ahead
        self.window.keep_anchors(self.config.shared, ahead)
        self.atlas.thin({k.id for k in self.window.keyframes})
        lost = tuple(k.id for k in fresh if k.T_WK is None and k not in ahead)
        return MapUpdate(tuple(k.id for k in placed), lost, new_voxels, misfit, loop)

    def _place(self, poses: dict[int, Sim3]) -> tuple[Sim3, float, int] | None:
        """T_WV, its misfit and piece of the map; None if too little of the window is connected, or it does not fit."""
        shared = [k for k in self.window.keyframes if k.T_WK is not None]
        fresh = [k for k in self._waiting() if k.id in poses]
        if not fresh or len(poses) < 2:
            return None
        if not shared:
            return self.atlas.new_piece(known=self._odometry), 0.0, fresh[0].id
        placing = self.window.place(poses, self._rng)
        if placing is None or placing[1] >= LARGEST_MISFIT:
            return None
        T_WV, misfit = placing
        newest = shared[-1]
        if self._odometry and self.atlas.metric and newest.id in poses:
            T_WV = carried_on(newest.T_WK, poses[newest.id])
        return T_WV, misfit, self.atlas.graph.piece[newest.id]

    def _add(self, keyframe: Keyframe, T_WK: Sim3, poses: dict[int, Sim3], piece: int) -> None:
        """Into the map, tied to the keyframes of the window before it."""
        before = [
            k for k in self.window.keyframes if k.id < keyframe.id and k.T_WK is not None and k.id in poses
        ]
        edges = []
        for other in before:
            pair = self.window.settled(other, keyframe, poses[other.id].inverse() @ poses[keyframe.id])
            if pair is not None:
                edges.append(between(other.id, keyframe.id, pair))
        if before:
            self.window.agree(keyframe, before[-1], poses[keyframe.id].inverse() @ poses[before[-1].id])
        self.atlas.add(keyframe, self.window.view(keyframe), T_WK, edges, piece)

    def _known(self, poses: dict[int, Sim3]) -> dict[int, Sim3]:
        """The poses that came with the frames, where all of a window have them; the window's own otherwise."""
        T_OC = {k.id: k.T_OC for k in self.window.keyframes if k.id in poses and k.T_OC is not None}
        found = known_poses(poses, T_OC, self._metres_a_unit) if len(T_OC) == len(poses) >= 2 else None
        self._odometry = found is not None
        if found is None:
            return poses
        poses, self._metres_a_unit = found
        self.atlas.metric |= not len(self.atlas.graph)
        return poses

    def _use_height(self, keyframe: Keyframe) -> None:
        """Once the floor is certain, a known height of the camera makes the map metric."""
        factor = self._height.factor(self.window.view(keyframe), keyframe.T_WK.s, self._rng)
        if factor is not None and not self.atlas.metric:
            self.rescale(factor)
            log.info("the camera's height makes the map metric: all lengths times %.3f", factor)

    def rescale(self, factor: float) -> None:
        """Multiply all lengths of the map by what makes them metres: a known distance over its length in the map.

        Belongs to the thread of `add_frame`. Raises ConfigError unless factor is positive and finite.
        """
        if not (np.isfinite(factor) and factor > 0):
            raise ConfigError(
                f"a map cannot be scaled by {factor}: give a known distance and two points apart"
            )
        self.atlas.rescale(factor)
        self._refresh()

    def _close_loop(self, keyframe: Keyframe) -> int | None:
        """Whether the keyframe shows a place seen long before; the map then moves until both agree."""
        if not self.recogniser.is_new_viewpoint(keyframe.id):
            return None
        loop = self.recogniser.revisit(keyframe.id, self.window.view(keyframe))
        if loop is None:
            return None
        self._move(loop)
        return loop.i

    def _move(self, loop: Between) -> None:
        self.atlas.close(loop)
        self._refresh()

    def _refresh(self) -> None:
        """The window's keyframes stand where the graph has moved them."""
        for k in self.window.keyframes:
            k.T_WK = self.atlas.graph.T_WK.get(k.id)

    def _reject(self, fresh: list[Keyframe]) -> MapUpdate:
        """A window that does not fit is not forced in: what is new in it has to recognise a place, or to begin a new piece."""
        self.windows_rejected += 1
        ids = [k.id for k in fresh]
        if any(k.T_WK is not None for k in self.window.keyframes):
            self.tracking = TrackingState.LOST
            self.window.keep_last(len(fresh))
            log.warning("lost: keyframes %s do not fit the map; show a place that it knows", ids)
            for keyframe in fresh:
                self._relocalise(keyframe)
        else:
            self.window.keep_last(1)
            log.warning("keyframes %s do not match one another; move slowly, sideways", ids)
        return MapUpdate((), tuple(k.id for k in fresh if k.T_WK is None), 0, float("nan"))

    def _relocalise(self, keyframe: Keyframe) -> None:
        """If the keyframe shows a place of another piece of the map, join it, and with it the piece it continues."""
        placed = [k for k in self.window.keyframes if k.T_WK is not None]
        own = self.atlas.graph.piece[placed[-1].id] if placed else keyframe.id
        view = self.window.view(keyframe)
        claim, before = self.recogniser.locate(keyframe.id, view, own, median_depth(view)), self._hypothesis
        self._hypothesis = claim
        if claim is None or not (claim.sure or (before is not None and self._agree(before, claim))):
            return
        self._hypothesis = None
        place, pair = claim.sighting.place, claim.sighting.alignment
        went = self.window.pair(placed[-1], keyframe, self._rng) if placed else None
        if went is None:  # here after a cut: nothing to bring along
            self.window.keyframes = [keyframe]
            self.atlas.add(keyframe, view, claim.T_WK, [], self.atlas.graph.piece[place])
            self.atlas.fuse()
            self.atlas.graph.connect(between(place, keyframe.id, pair))
        else:
            T_WK = placed[-1].T_WK @ went.T_ij
            edge = between(placed[-1].id, keyframe.id, went)
            self.atlas.add(keyframe, view, T_WK, [edge], own)
            self.atlas.fuse()
            self._move(between(place, keyframe.id, pair, loop=True))
        self._update_tracking(keyframe)
        log.info("relocalised: %d matches with keyframe %d agree", pair.count, place)

    def _agree(self, before: Hypothesis, now: Hypothesis) -> bool:
        """Whether two keyframes of the window stand to each other as the places say that they know them by."""
        a, b = (next((k for k in self.window.keyframes if k.id == h.keyframe), None) for h in (before, now))
        went = self.window.pair(a, b, self._rng) if a and b else None
        return went is not None and same(before.T_WK @ went.T_ij, now.T_WK, now.depth)

    def _waiting(self) -> list[Keyframe]:
        return [k for k in self.window.keyframes if k.T_WK is None]

    def _update_tracking(self, keyframe: Keyframe) -> None:
        """The newest keyframe stands in the map, or in a piece whose place in the map is not known."""
        piece = self.atlas.graph.piece
        home = piece[keyframe.id] == min(piece.values())
        self.tracking = TrackingState.TRACKING if home else TrackingState.RELOCALISING

    def _begin_sequence(self) -> None:
        """Frames no longer follow from the last one: the next keyframe has to recognise a place of the map, if there is any."""
        self.selector.reset()
        self.window.keep_last(0)
        if len(self.atlas.graph):
            self.tracking = TrackingState.LOST

    @property
    def world(self) -> SemanticMap:
        return self.atlas.world

    @property
    def version(self) -> int:
        """Grows with every change of the map."""
        return self.atlas.version

    def status(self) -> MapStatus:
        """A summary; cheap, from any thread."""
        times = list(self._times)
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
        atlas = self.atlas
        return MapStatus(
            self.tracking,
            len(atlas.graph),
            len(self._waiting()),
            len(atlas.world),
            atlas.memory_bytes,
            rate,
            atlas.metric,
            self.windows_rejected,
            atlas.graph.loops,
            atlas.graph.pieces,
        )

    def trajectory(self) -> Trajectory:
        """Poses of the keyframes in the map, by stamp order of arrival."""
        return self.atlas.trajectory()

    def snapshot(self) -> MapSnapshot:
        """The map as it is now, consistent and read-only; free while nothing changes. From any thread."""
        return self.atlas.snapshot()

    def state(self) -> dict[str, np.ndarray]:
        """What, besides the snapshot, a later session needs to go on in this map."""
        return self.atlas.state()

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
        self.atlas.restore(snapshot, state)
        if state:
            self.tracking = TrackingState.LOST

    def current_pose(self) -> tuple[float, np.ndarray] | None:
        """Stamp and T_WC (4, 4) of the newest keyframe in the map, or None."""
        newest = next(reversed(self.atlas.stamps.items()), None)
        return (newest[1], self.atlas.graph.pose(newest[0]).rigid()) if newest else None
