"""Watches what arrives: says what is waited for, what is refused and why, and when images lag behind their stamps."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from sab3r_ros.config import NodeConfig

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
RATE_WINDOW = 20  # images over which arrival and stamp rates are compared
LATE_FACTOR = 1.5  # stamps this much faster than arrivals mean that images are lost or late on the way
REPEAT_S = 10.0  # a complaint of one kind is repeated at most so often


class Intake:
    """Counts images and complains in the log, at most once every REPEAT_S for each kind."""

    def __init__(self, node: Node, config: NodeConfig, topic: str, type_name: str, qos: QoSProfile) -> None:
        self.node, self.config, self.topic, self.type_name, self.qos = node, config, topic, type_name, qos
        self.received = self.rejected = 0
        self.message = ""
        self._arrivals: list[tuple[float, float]] = []
        self._last = node.get_clock().now()
        node.create_timer(min(config.silence_s, 1.0), self._check_silence)

    def arrived(self, stamp: float) -> None:
        """Count an image stamped `stamp` seconds, and compare the rates."""
        self.received += 1
        self._last = self.node.get_clock().now()
        self._arrivals.append((self._last.nanoseconds * 1e-9, stamp))
        if len(self._arrivals) == RATE_WINDOW:
            (a0, s0), (a1, s1) = self._arrivals[0], self._arrivals[-1]
            self._arrivals = []
            if 0 < (s1 - s0) * LATE_FACTOR < (a1 - a0):
                self.complain(
                    f"images on {self.topic} arrive at {(RATE_WINDOW - 1) / (a1 - a0):.1f} Hz but are stamped at "
                    f"{(RATE_WINDOW - 1) / (s1 - s0):.1f} Hz: the transport is too slow or the source is late "
                    "(Fast DDS: set FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds_large_data.xml on both sides)"
                )

    def reject(self, reason: str) -> None:
        """Count an image that cannot be used, and say why."""
        self.rejected += 1
        self.complain(f"image refused: {reason}")

    def complain(self, text: str) -> None:
        self.message = text
        self.node.get_logger().warning(text, throttle_duration_sec=REPEAT_S)

    def quiet_for(self) -> float:
        """Seconds since the last image, or since the start."""
        return (self.node.get_clock().now() - self._last).nanoseconds * 1e-9

    def _check_silence(self) -> None:
        quiet = self.quiet_for()
        if quiet < self.config.silence_s:
            return
        reliability = "reliable" if self.qos.reliability == ReliabilityPolicy.RELIABLE else "best effort"
        text = (
            f"no image for {quiet:.0f} s: waiting for {self.type_name} on {self.topic} "
            f"({reliability}, depth {self.qos.depth}); {self._who_publishes()}"
        )
        self.message = text
        self.node.get_logger().warning(text, throttle_duration_sec=REPEAT_S)

    def _who_publishes(self) -> str:
        """What the graph offers instead."""
        infos = self.node.get_publishers_info_by_topic(self.topic)
        mismatched = [i for i in infos if i.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT]
        if infos and self.qos.reliability == ReliabilityPolicy.RELIABLE and mismatched:
            return "its publisher is best effort: set parameter image_reliability to best_effort"
        if infos:
            return f"it has {len(infos)} publisher(s) of {', '.join(sorted({i.topic_type for i in infos}))}, which send nothing"
        images = [
            f"{name} ({', '.join(types)})"
            for name, types in self.node.get_topic_names_and_types()
            if set(types) & set(IMAGE_TYPES)
            and name != self.topic
            and self.node.count_publishers(name)
        ]
        if images:
            return f"nobody publishes it. Published images: {'; '.join(images)}. Remap with --ros-args -r image:=TOPIC"
        return "nobody publishes it, nor any other image: is the camera driver running, with the same ROS_DOMAIN_ID?"
