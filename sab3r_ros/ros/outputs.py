"""What the node publishes: map cloud, trajectory, TF, located objects, status. Nothing is made that nobody listens to."""

from __future__ import annotations

import numpy as np
from nav_msgs.msg import Path
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from sab3r_ros.config import NodeConfig
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.msg import MapStatus
from sab3r_ros.ros import conversions
from sab3r_ros.ros.poses import KnownPoses
from sab3r_ros.types import LocateAnswer, MapSnapshot, TrackingState

LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
STATES = {
    TrackingState.INITIALISING: MapStatus.INITIALISING,
    TrackingState.TRACKING: MapStatus.TRACKING,
    TrackingState.LOST: MapStatus.LOST,
    TrackingState.RELOCALISING: MapStatus.RELOCALISING,
}


class Outputs:
    """The publishers of a node. Each method may be called from any thread."""

    def __init__(self, node: Node, config: NodeConfig) -> None:
        self.node, self.config = node, config
        self.map = node.create_publisher(PointCloud2, "map_cloud", LATCHED)
        self.path = node.create_publisher(Path, "trajectory", LATCHED)
        self.located_cloud = node.create_publisher(PointCloud2, "located_cloud", LATCHED)
        self.located_markers = node.create_publisher(MarkerArray, "located_markers", LATCHED)
        self.map_status = node.create_publisher(MapStatus, "status", 10)
        self.tf = node.create_publisher(TFMessage, "/tf", 100)
        self._shown_map: tuple[IncrementalMapper, int] | None = None
        self._shown_path: tuple[IncrementalMapper, int] | None = None

    def header(self, mapper: IncrementalMapper) -> Header:
        """In the map frame, stamped as the newest keyframe, or now while there is none."""
        pose = mapper.current_pose()
        stamp = conversions.time_of(pose[0]) if pose else self.node.get_clock().now().to_msg()
        return Header(frame_id=self.config.map_frame, stamp=stamp)

    def publish_pose(self, mapper: IncrementalMapper, camera_frame: str, known: KnownPoses | None) -> None:
        """TF at the newest keyframe: from the map to the camera, or to the frame in which its pose is known (REP-105)."""
        pose = mapper.current_pose()
        if pose is None or not self.config.publish_tf or mapper.tracking is TrackingState.RELOCALISING:
            return  # a piece beside the map says nothing of where the camera is in it
        (stamp, T), child = pose, camera_frame
        if known is not None:  # the camera has a parent there already
            T_OC = known.at(camera_frame, stamp)
            if T_OC is None:
                return
            T, child = T @ np.linalg.inv(T_OC), known.frame
        self.tf.publish(TFMessage(transforms=[conversions.transform_of(T, self.header(mapper), child)]))

    def publish_map(self, mapper: IncrementalMapper) -> None:
        """Map cloud and trajectory, each if it has changed since it was last shown and somebody listens."""
        now = (mapper, mapper.version)
        if self._shown_path != now and self.path.get_subscription_count():
            self.path.publish(conversions.path_of(mapper.trajectory(), self.header(mapper)))
            self._shown_path = now
        if self._shown_map != now and self.map.get_subscription_count():
            snapshot = mapper.snapshot()
            self.map.publish(conversions.cloud(self.header(mapper), snapshot.points, snapshot.colors))
            self._shown_map = (mapper, snapshot.version)

    def publish_located(self, answer: LocateAnswer, snapshot: MapSnapshot, header: Header) -> None:
        """The objects of the last answer as one cloud and as boxes with labels; none clears them."""
        self.located_cloud.publish(conversions.located_cloud(answer.objects, snapshot, header))
        self.located_markers.publish(conversions.markers(answer.objects, header))

    def publish_status(self, mapper: IncrementalMapper, remark: str, counts: dict[str, int]) -> None:
        """counts: the frame counters of MapStatus by their names there."""
        status = mapper.status()
        words = status.state.value.replace("initialising", "waits for a first window of keyframes that match")
        self.map_status.publish(
            MapStatus(
                header=self.header(mapper),
                tracking_state=STATES[status.state],
                message=f"{words}; {remark}" if remark else words,
                model=mapper.model.identity,
                keyframes=status.keyframes,
                keyframes_waiting=status.pending_keyframes,
                points=status.voxels,
                memory_bytes=status.memory_bytes,
                rate=float(status.keyframes_per_second),
                scale_known=status.scale_known,
                loops=status.loops,
                pieces=status.pieces,
                **counts,
            )
        )
