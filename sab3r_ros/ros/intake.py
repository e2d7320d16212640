"""Watches what arrives: says what is waited for, what is refused and why, and when images are late or lost."""

from __future__ import annotations

import time

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from sab3r_ros.config import NodeConfig
from sab3r_ros.ros.rates import RateWatch

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
REPEAT_S = 10.0  # a complaint of one kind is repeated at most so often
LARGE_DATA_HINT = (
    "With Fast DDS start camera and mapper with FASTDDS_DEFAULT_PROFILES_FILE set to this package's "
    "config/fastdds_large_data.xml: by default images of 512 × 384 and more are nearly all lost"
)


class Intake:
    """Counts images and complains in the log, at most once every REPEAT_S for each kind of complaint.

    Times are the machine's steady clock: a simulated clock that stands still must not silence a watchdog.
    """

    def __init__(self, node: Node, config: NodeConfig, topic: str, type_name: str, qos: QoSProfile) -> None:
        self.node, self.config, self.topic, self.type_name, self.qos = node, config, topic, type_name, qos
        self.received = self.rejected = 0
        self._rates = RateWatch()
        self._last = time.monotonic()
        self._said: dict[str, float] = {}
        self._message, self._silent = "", False
        node.create_timer(1.0, self._check_silence, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def arrived(self, stamp: float) -> None:
        """Count an image stamped `stamp` seconds, and compare the rates."""
        self.received += 1
        self._last, self._silent = time.monotonic(), False
        problem = self._rates.add(self._last, stamp)
        if problem:
            self.complain("rate", f"{self.topic}: {problem}. {LARGE_DATA_HINT}")

    def lost(self, count: int) -> None:
        """The middleware has lost images. Where nearly all are lost too few arrive for a comparison of rates."""
        problem = self._rates.lose(count)
        if problem:
            self.complain("rate", f"{self.topic}: {problem}. {LARGE_DATA_HINT}")

    def reject(self, reason: str) -> None:
        """Count an image that cannot be used, and say why."""
        self.rejected += 1
        self.complain("refused " + reason[:20], f"image refused: {reason}")

    def complain(self, kind: str, text: str) -> None:
        """Warn, unless the same kind of thing was said a moment ago."""
        now = time.monotonic()
        self._message = text
        if now - self._said.get(kind, -REPEAT_S) >= REPEAT_S:
            self._said[kind] = now
            self.node.get_logger().warning(text)

    @property
    def message(self) -> str:
        """The last complaint, while it is fresh."""
        fresh = self._said and time.monotonic() - max(self._said.values()) < REPEAT_S
        return self._message if fresh else ""

    def _check_silence(self) -> None:
        quiet = time.monotonic() - self._last
        if quiet < self.config.silence_s or self._silent:
            return
        if self.received:
            self._silent = True  # said once; the end of a recording is no fault
            self.node.get_logger().info(f"no image on {self.topic} for {quiet:.0f} s; the map is kept")
            return
        reliability = "reliable" if self.qos.reliability == ReliabilityPolicy.RELIABLE else "best effort"
        self.complain(
            "waiting",
            f"no image yet: waiting for {self.type_name} on {self.topic} ({reliability}, depth {self.qos.depth}); "
            + self._who_publishes(),
        )

    def _who_publishes(self) -> str:
        """What the graph offers instead, and what to do."""
        infos = self.node.get_publishers_info_by_topic(self.topic)
        types = sorted({info.topic_type for info in infos} - {self.type_name})
        best_effort = [i for i in infos if i.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT]
        if types:
            return f"its publisher sends {', '.join(types)}: remap 'image', or set parameter compressed"
        if best_effort and self.qos.reliability == ReliabilityPolicy.RELIABLE:
            return "its publisher is best effort, which does not match: set parameter image_reliability to best_effort"
        if infos:
            return f"it has {len(infos)} publisher(s) that match, but nothing comes. {LARGE_DATA_HINT}"
        images = [
            f"{name} ({', '.join(kinds)})"
            for name, kinds in self.node.get_topic_names_and_types()
            if set(kinds) & set(IMAGE_TYPES) and self.node.count_publishers(name)
        ]
        if images:
            return f"nobody publishes it. Published images: {'; '.join(images)}. Remap: --ros-args -r image:=TOPIC"
        return "nobody publishes it, nor any other image: does the camera driver run, with the same ROS_DOMAIN_ID?"
