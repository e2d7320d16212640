"""Where others say that the camera is: /tf, /tf_static and an odometry topic, looked up at an image's stamp.

tf2's Python package has no wheel; what is needed of it is a tree of transforms and interpolation along one chain.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Iterator

import numpy as np
from geometry_msgs.msg import Pose, Transform
from nav_msgs.msg import Odometry
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from scipy.spatial.transform import Rotation, Slerp
from tf2_msgs.msg import TFMessage

from sab3r_ros.ros.conversions import seconds

KEPT_S = 30.0  # of each moving transform
REACH_S = 0.1  # a stamp may lie so far outside what was received
STATIC = QoSProfile(
    depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


class KnownPoses:
    """Poses of the camera in `frame` (T_OC), from what other nodes publish. Callbacks and `at` may run in any threads."""

    def __init__(self, node: Node, frame: str) -> None:
        self.frame = frame
        self._lock = threading.Lock()
        self._parents: dict[str, str] = {}
        self._moving: dict[
            str, list[tuple[float, np.ndarray, np.ndarray]]
        ] = {}  # stamp, t (3,), quaternion (4,)
        self._fixed: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        group = MutuallyExclusiveCallbackGroup()
        node.create_subscription(TFMessage, "/tf", self._on_tf, 100, callback_group=group)
        node.create_subscription(TFMessage, "/tf_static", self._on_static, STATIC, callback_group=group)
        node.create_subscription(Odometry, "odometry", self._on_odometry, 50, callback_group=group)

    def _on_tf(self, msg: TFMessage) -> None:
        for t in msg.transforms:
            if t.child_frame_id == self.frame:
                continue  # what lies above it, our own map among it, does not matter
            self.add(t.header.frame_id, t.child_frame_id, seconds(t.header.stamp), *arrays_of(t.transform))

    def _on_static(self, msg: TFMessage) -> None:
        with self._lock:
            for t in msg.transforms:
                self._parents[t.child_frame_id] = t.header.frame_id
                self._fixed[t.child_frame_id] = arrays_of(t.transform)

    def _on_odometry(self, msg: Odometry) -> None:
        self.add(
            msg.header.frame_id, msg.child_frame_id, seconds(msg.header.stamp), *arrays_of(msg.pose.pose)
        )

    def add(self, parent: str, child: str, stamp: float, t: np.ndarray, quaternion: np.ndarray) -> None:
        """A moving transform: points of `child` into `parent`. quaternion x, y, z, w."""
        with self._lock:
            self._parents[child] = parent
            track = self._moving.setdefault(child, [])
            insort(track, (stamp, t, quaternion), key=lambda row: row[0])
            while track[-1][0] - track[0][0] > KEPT_S:
                del track[0]

    def at(self, camera_frame: str, stamp: float) -> np.ndarray | None:
        """T_OC (4, 4) of the camera at `stamp`; None if no chain of transforms leads there, or none so fresh."""
        with self._lock:
            T = np.eye(4)
            for child in self._chain(camera_frame):
                step = self._step(child, stamp)
                if step is None:
                    return None
                T = step @ T
                if self._parents[child] == self.frame:
                    return T
        return None

    def _chain(self, child: str) -> Iterator[str]:
        seen: set[str] = set()
        while child in self._parents and child not in seen:
            seen.add(child)
            yield child
            child = self._parents[child]

    def _step(self, child: str, stamp: float) -> np.ndarray | None:
        """Parent from child, (4, 4): interpolated, or the nearest within REACH_S of the ends."""
        if child in self._fixed:
            return matrix(*self._fixed[child])
        track = self._moving[child]
        if stamp < track[0][0] or stamp > track[-1][0]:
            nearest = track[0] if stamp < track[0][0] else track[-1]
            return matrix(*nearest[1:]) if abs(nearest[0] - stamp) <= REACH_S else None
        k = max(bisect_left(track, stamp, key=lambda row: row[0]), 1)
        if len(track) == 1:
            return matrix(*track[0][1:])
        (t0, a, p), (t1, b, q) = track[k - 1], track[k]
        share = (stamp - t0) / max(t1 - t0, 1e-9)
        turn = Slerp([0, 1], Rotation.from_quat([p, q]))(np.clip(share, 0, 1))
        return matrix(a + share * (b - a), turn.as_quat())


def arrays_of(pose: Pose | Transform) -> tuple[np.ndarray, np.ndarray]:
    """Translation (3,) and quaternion x, y, z, w (4,)."""
    t = pose.position if isinstance(pose, Pose) else pose.translation
    q = pose.orientation if isinstance(pose, Pose) else pose.rotation
    return np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w])


def matrix(t: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.from_quat(quaternion).as_matrix(), t
    return T
