"""`mapper_node`: subscribes to a camera, hands images to the mapper, publishes the map, answers `locate`."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from pathlib import Path

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image

from sab3r_ros.config import AlignmentConfig, LocateConfig, LoopConfig, MapperConfig, NodeConfig
from sab3r_ros.errors import ConfigError, ImageError, Sab3rError
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.model.feature_model import FeatureModel, load_model
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.text import TextEncoder, load_text_encoder
from sab3r_ros.ros.calibration import Calibration
from sab3r_ros.ros.conversions import seconds
from sab3r_ros.ros.images import rgb_of
from sab3r_ros.ros.intake import Intake
from sab3r_ros.ros.logging_bridge import forward_logging
from sab3r_ros.ros.map_path import continue_map, keep_map
from sab3r_ros.ros.outputs import Outputs
from sab3r_ros.ros.params import declare_all
from sab3r_ros.ros.poses import KnownPoses
from sab3r_ros.ros.services import Services
from sab3r_ros.ros.worker import Worker
from sab3r_ros.types import Frame

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

EXIT_PATIENCE_S = 2.0  # the window in hand may take so long before the map is saved without it


class MapperNode(Node):
    """Wiring only: each callback converts, hands over, and publishes.

    model, text: used instead of what parameter `model` names. Raises Sab3rError if a parameter, the model or the map at
    `map_path` cannot be used.
    """

    core_log = logging.getLogger("sab3r_ros")

    def __init__(self, model: FeatureModel | None = None, text: TextEncoder | None = None, **kwargs) -> None:
        super().__init__("mapper", automatically_declare_parameters_from_overrides=True, **kwargs)
        try:
            self._set_up(model, text)
        except (Sab3rError, ImportError):
            self.destroy_node()
            raise

    def _set_up(self, model: FeatureModel | None, text: TextEncoder | None) -> None:
        configs = declare_all(self)
        self.config: NodeConfig = configs[NodeConfig]
        self.model = model or load_model(
            self.config.model,
            None if self.config.device == "auto" else self.config.device,
            self.config.compile,
        )
        self.new_mapper = lambda: IncrementalMapper(
            self.model, configs[MapperConfig], configs[AlignmentConfig], configs[LoopConfig]
        )
        self.mapper = self.new_mapper()
        self.mapping = threading.Lock()  # held by who changes the map
        self.outputs = Outputs(self, self.config)
        self.map_services = Services(self, self._make_locator(text, configs[LocateConfig]))
        self._size: tuple[int, int] | None = None
        self._camera_frame = self.config.camera_frame or "camera"
        self.worker: Worker = Worker(
            self._map, self.config.queue_length, self._flush, self.config.flush_after_s
        )
        self._subscribe()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        show = MutuallyExclusiveCallbackGroup()
        self.create_timer(self.config.status_period_s, self._publish_status, clock=steady)
        self.create_timer(self.config.publish_period_s, self._publish_map, callback_group=show, clock=steady)
        if self.config.map_path:
            continue_map(self, Path(self.config.map_path))
        self.get_logger().info(
            f"ready: model {self.model.identity}; images on {self.intake.topic} ({self.intake.type_name}, "
            f"{self.config.image_reliability}); map in frame '{self.config.map_frame}'"
        )

    def _make_locator(self, text: TextEncoder | None, config: LocateConfig) -> Locator | None:
        """None where queries cannot be answered; mapping works all the same."""
        if not self.model.language:
            self.get_logger().warning(
                f"model {self.model.identity} has no language features: it maps, but cannot locate"
            )
            return None
        try:
            locator = Locator(
                self.model.feature_basis, text or load_text_encoder(self.model.language), config
            )
            locator.scorer.phrases(
                "object"
            )  # embeds the phrases that every query competes with, before the first query
            return locator
        except ImportError as error:
            self.get_logger().error(f"mapping works, locate does not: {error}")
            return None

    def _subscribe(self) -> None:
        config, sensors = self.config, MutuallyExclusiveCallbackGroup()
        if config.image_reliability not in ("best_effort", "reliable"):
            raise ConfigError(
                f"parameter image_reliability is '{config.image_reliability}': choose 'best_effort' or 'reliable'"
            )
        qos = QoSProfile(
            depth=config.image_depth, reliability=ReliabilityPolicy[config.image_reliability.upper()]
        )
        kind = CompressedImage if config.compressed else Image
        # As image_transport names it, so that remapping `image` moves the compressed topic, too.
        topic = self.resolve_topic_name("image") + "/compressed" if config.compressed else "image"
        events = SubscriptionEventCallbacks(message_lost=lambda e: self.intake.lost(e.total_count_change))
        images = self.create_subscription(
            kind, topic, self._on_image, qos, callback_group=sensors, event_callbacks=events
        )
        self.known_poses = KnownPoses(self, config.pose_frame) if config.pose_frame else None
        self.intake = Intake(self, config, images.topic_name, f"sensor_msgs/msg/{kind.__name__}", qos)
        self.calibration = Calibration(self, self.intake, config.rectified, qos, sensors)

    def _on_image(self, msg: Image | CompressedImage) -> None:
        if msg.header.stamp.sec == 0 and msg.header.stamp.nanosec == 0:
            msg.header.stamp = self.get_clock().now().to_msg()
            self.intake.complain(
                "unstamped", f"images on {self.intake.topic} carry no stamp: taking their time of arrival"
            )
        self.intake.arrived(seconds(msg.header.stamp))
        self.worker.put(msg)

    def _map(self, msg: Image | CompressedImage) -> None:
        """In the worker's thread: one image through the mapper."""
        try:
            frame = self._frame_of(msg)
            mapper = self.mapper
            with self.mapping:
                result = mapper.add_frame(frame)
        except ImageError as error:
            self.intake.reject(str(error))
            return
        if "texture" in result.reason:
            self.intake.complain(
                "texture", f"image skipped: {result.reason}; is the lens covered, or the room dark?"
            )
        if result.update and mapper is self.mapper:
            self._map_changed()

    def _frame_of(self, msg: Image | CompressedImage) -> Frame:
        """Raises ImageError."""
        image = rgb_of(msg)
        size = image.shape[:2]
        if self._size and size != self._size:
            old, new = (f"{w} × {h}" for h, w in (self._size, size))
            self.intake.complain(
                "size", f"the image size changed from {old} to {new}: going on with the new one"
            )
        self._size = size
        self._camera_frame = self.config.camera_frame or msg.header.frame_id or "camera"
        image, K = self.calibration.straightened(image)
        stamp, T_OC = seconds(msg.header.stamp), None
        if self.known_poses is not None:
            T_OC = self.known_poses.at(self._camera_frame, stamp)
            if T_OC is None:
                self.intake.complain(
                    "pose",
                    f"no pose of '{self._camera_frame}' in '{self.config.pose_frame}' at an image's stamp on /tf or "
                    "odometry: mapping by sight alone",
                )
        return Frame(image, stamp, K, T_OC)

    def _flush(self) -> None:
        """In the worker's thread, when no image has come for a while: keyframes that wait for a full window are mapped."""
        with self.mapping:
            update = self.mapper.flush()
        if update:
            self._map_changed()

    def _map_changed(self) -> None:
        self.outputs.publish_pose(self.mapper, self._camera_frame, self.known_poses)
        self.map_services.map_changed(self.mapper)

    def _publish_map(self) -> None:
        self.outputs.publish_map(self.mapper)

    def _publish_status(self) -> None:
        counts = {
            "frames_received": self.intake.received,
            "frames_dropped": self.worker.dropped,
            "frames_rejected": self.intake.rejected,
            "frames_waiting": self.worker.waiting,
        }
        self.outputs.publish_status(self.mapper, self.intake.message, counts)

    def replace_mapper(self, mapper: IncrementalMapper) -> None:
        """Go on with another map. The window that the old one has in hand is finished there and forgotten with it."""
        self.worker.clear()
        self.mapper = mapper
        self.map_services.map_replaced()

    def close(self) -> None:
        """Before `destroy_node`: keep the map where `map_path` says so, and finish the window in hand."""
        self.worker.stop()
        finished = self.worker.join(EXIT_PATIENCE_S)
        if self.config.map_path and self.mapper.status().keyframes:
            keep_map(self, Path(self.config.map_path))
        if not finished:
            self.worker.join(60.0)  # the network must not be torn down while it computes


def main(args: list[str] | None = None) -> int:
    """Run the node until Ctrl-C or SIGTERM. Returns the exit status."""
    rclpy.init(
        args=args, signal_handler_options=SignalHandlerOptions.NO
    )  # ours, for the map is saved before rclpy goes
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    log = rclpy.logging.get_logger("mapper")
    forward_logging("mapper")
    try:
        node = MapperNode()
    except (Sab3rError, ImportError) as error:
        log.fatal(str(error))
        rclpy.try_shutdown()
        return 1
    gc.collect()
    gc.freeze()  # what is loaded stays: to look through it for garbage would stop a query for 100 ms now and then
    executor = MultiThreadedExecutor(num_threads=4)  # images, queries, map files, and what is shown
    executor.add_node(node)
    while not stopping.is_set():
        try:
            executor.spin_once(timeout_sec=0.2)
        except ExternalShutdownException:
            break
        except Exception:
            node.core_log.exception("going on after an error in a callback")
    node.close()
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
