"""`mapper_node`: subscribes to a camera, hands images to the mapper, publishes the map, answers `locate`."""

from __future__ import annotations

import logging
import threading
from pathlib import Path as FilePath

import numpy as np
import rclpy
from nav_msgs.msg import Path
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from sab3r_ros.config import LocateConfig
from sab3r_ros.errors import ConfigError, ImageError, Sab3rError
from sab3r_ros.mapping.map_file import load_map, save_map
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.model.feature_model import load_model
from sab3r_ros.msg import MapStatus
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.text import load_text_encoder
from sab3r_ros.ros import conversions
from sab3r_ros.ros.intake import Intake
from sab3r_ros.ros.logging_bridge import forward_logging
from sab3r_ros.ros.params import GROUPS, declare
from sab3r_ros.ros.worker import Worker
from sab3r_ros.srv import LoadMap, Locate, ResetMap, SaveMap
from sab3r_ros.types import Frame, LocateAnswer, TrackingState

log = logging.getLogger(__name__)

STATES = {
    TrackingState.INITIALISING: MapStatus.INITIALISING,
    TrackingState.TRACKING: MapStatus.TRACKING,
    TrackingState.LOST: MapStatus.LOST,
}
IMAGE_MESSAGES = {False: ("image", Image), True: ("image/compressed", CompressedImage)}
IDLE_FLUSH_S = 3.0  # keyframes that wait for a full window are mapped after so long without a new image


class MapperNode(Node):
    """Wiring only: each callback converts, hands over, and publishes.

    model: a FeatureModel to use instead of the one that parameter `model` names (for tests).
    """

    def __init__(self, model=None, text=None, **kwargs) -> None:
        super().__init__("mapper", **kwargs)
        self.config, mapper, alignment, locate = (declare(self, prefix, kind) for prefix, kind in GROUPS.items())
        model = model or load_model(self.config.model, None if self.config.device == "auto" else self.config.device)
        self.mapper = IncrementalMapper(model, mapper, alignment)
        self.locator = self._make_locator(model, text, locate)
        self._K: np.ndarray | None = None
        self._image_size: tuple[int, int] | None = None
        self._camera_frame = self.config.camera_frame or "camera"
        self._published_version = -1
        self._mapping = threading.Lock()  # one of: working on a frame, loading, resetting
        self.worker: Worker = Worker(self._map_image, self.config.queue_length, "mapper")
        self._make_publishers()
        self._make_subscriptions()
        self._make_services()
        self.create_timer(self.config.status_period_s, self._publish_status)
        self.create_timer(self.config.publish_period_s, self._publish_map)
        if self.config.map_path and FilePath(self.config.map_path).exists():
            self.get_logger().info(self._load(self.config.map_path))
        self.get_logger().info(
            f"ready: model {model.identity}, images on {self.intake.topic} ({self.intake.type_name}, "
            f"{self.config.image_reliability}), map in frame '{self.config.map_frame}'"
        )

    def _make_locator(self, model, text, config: LocateConfig) -> Locator | None:
        if not model.language:
            self.get_logger().warning(f"model {model.identity} has no language features: it maps, but cannot locate")
            return None
        return Locator(model.feature_basis, text or load_text_encoder(model.language), config)

    def _make_publishers(self) -> None:
        latched = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.map_pub = self.create_publisher(PointCloud2, "map_cloud", latched)
        self.path_pub = self.create_publisher(Path, "trajectory", latched)
        self.located_pub = self.create_publisher(PointCloud2, "located_cloud", latched)
        self.markers_pub = self.create_publisher(MarkerArray, "located_markers", latched)
        self.status_pub = self.create_publisher(MapStatus, "status", 10)
        self.tf_pub = self.create_publisher(TFMessage, "/tf", 100)

    def _make_subscriptions(self) -> None:
        reliability = self.config.image_reliability
        if reliability not in ("best_effort", "reliable"):
            raise ConfigError(f"parameter image_reliability is '{reliability}': choose 'best_effort' or 'reliable'")
        qos = QoSProfile(depth=self.config.image_depth, reliability=getattr(ReliabilityPolicy, reliability.upper()))
        topic, kind = IMAGE_MESSAGES[self.config.compressed]
        sensors = MutuallyExclusiveCallbackGroup()
        subscription = self.create_subscription(kind, topic, self._on_image, qos, callback_group=sensors)
        self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, qos, callback_group=sensors)
        self.intake = Intake(self, self.config, subscription.topic_name, f"sensor_msgs/{kind.__name__}", qos)

    def _make_services(self) -> None:
        services = MutuallyExclusiveCallbackGroup()
        for kind, name, callback in (
            (Locate, "locate", self._on_locate),
            (SaveMap, "save_map", self._on_save),
            (LoadMap, "load_map", self._on_load),
            (ResetMap, "reset_map", self._on_reset),
        ):
            self.create_service(kind, name, callback, callback_group=services)

    # --- images -------------------------------------------------------------------------------------------------

    def _on_image(self, msg: Image | CompressedImage) -> None:
        self.intake.arrived(conversions.seconds(msg.header.stamp))
        self.worker.put(msg)

    def _on_camera_info(self, msg: CameraInfo) -> None:
        K = conversions.intrinsics_of(msg)
        if K is not None and self._K is not None and not np.allclose(K, self._K, rtol=0.01):
            self.intake.complain(
                f"intrinsics changed from f = {self._K[0, 0]:.1f} to {K[0, 0]:.1f} pixels: new keyframes use the new ones"
            )
        self._K = K

    def _map_image(self, msg: Image | CompressedImage) -> None:
        """In the worker's thread: one image through the mapper."""
        try:
            image = conversions.rgb_of(msg)
        except ImageError as error:
            self.intake.reject(str(error))
            return
        size = image.shape[:2]
        if self._image_size and size != self._image_size:
            self.intake.complain(f"image size changed from {self._image_size[::-1]} to {size[::-1]}: going on with the new size")
        self._image_size = size
        if not self.config.camera_frame and msg.header.frame_id:
            self._camera_frame = msg.header.frame_id
        try:
            with self._mapping:
                result = self.mapper.add_frame(Frame(image, conversions.seconds(msg.header.stamp), self._K))
        except ImageError as error:
            self.intake.reject(str(error))
            return
        if "texture" in result.reason:
            self.intake.complain(f"frame skipped: {result.reason}; is the lens covered, or the room dark?")
        if result.update and result.update.keyframes:
            self._publish_pose()

    # --- what goes out ------------------------------------------------------------------------------------------

    def _header(self) -> Header:
        pose = self.mapper.current_pose()
        stamp = conversions.time_of(pose[0]) if pose else self.get_clock().now().to_msg()
        return Header(frame_id=self.config.map_frame, stamp=stamp)

    def _publish_pose(self) -> None:
        pose = self.mapper.current_pose()
        if pose is None:
            return
        if self.config.publish_tf:
            transform = conversions.transform_of(pose[1], self._header(), self._camera_frame)
            self.tf_pub.publish(TFMessage(transforms=[transform]))
        if self.path_pub.get_subscription_count():
            self.path_pub.publish(conversions.path_of(self.mapper.trajectory(), self._header()))

    def _publish_map(self) -> None:
        """The whole map when it changed and somebody listens; keyframes that wait long for a window are mapped first."""
        if self.worker.wait_idle(0) and self.intake.quiet_for() > IDLE_FLUSH_S and self.mapper.status().pending_keyframes:
            with self._mapping:
                if self.mapper.flush():
                    self._publish_pose()
        if not self.map_pub.get_subscription_count() or self.mapper.version == self._published_version:
            return
        snapshot = self.mapper.snapshot()
        self._published_version = snapshot.version
        self.map_pub.publish(conversions.cloud(self._header(), snapshot.points, snapshot.colors))
        self.path_pub.publish(conversions.path_of(snapshot.trajectory, self._header()))

    def _publish_status(self) -> None:
        status = self.mapper.status()
        self.status_pub.publish(
            MapStatus(
                header=self._header(),
                tracking_state=STATES[status.state],
                message=f"{status.state.value}. {self.intake.message}".strip(),
                model=self.mapper.model.identity,
                frames_received=self.intake.received,
                frames_dropped=self.worker.dropped,
                frames_rejected=self.intake.rejected,
                keyframes=status.keyframes,
                points=status.voxels,
                memory_bytes=status.memory_bytes,
                rate=float(status.keyframes_per_second),
                scale_known=status.scale_known,
            )
        )

    # --- services -----------------------------------------------------------------------------------------------

    def _on_locate(self, request: Locate.Request, response: Locate.Response) -> Locate.Response:
        snapshot, header = self.mapper.snapshot(), self._header()
        try:
            if self.locator is None:
                raise Sab3rError(f"model {self.mapper.model.identity} has no language features: load another one")
            answer = self.locator.locate(
                snapshot,
                request.query,
                tuple(request.distractors),
                request.min_score or None,
                request.max_objects or None,
            )
        except Sab3rError as error:
            answer = LocateAnswer(False, str(error), (), 0.0)
        response.success, response.message = answer.success, answer.message
        response.objects = [conversions.located(o, n, snapshot, header) for n, o in enumerate(answer.objects)]
        response.points = conversions.located_cloud(answer.objects, snapshot, header)
        self.located_pub.publish(response.points)
        self.markers_pub.publish(conversions.markers(answer.objects, header))
        self.get_logger().info(f"locate '{request.query[:80]}': {answer.message}")
        return response

    def _on_save(self, request: SaveMap.Request, response: SaveMap.Response) -> SaveMap.Response:
        response.success, response.message = self._guarded(self._save, request.path)
        return response

    def _on_load(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        response.success, response.message = self._guarded(self._load, request.path)
        return response

    def _on_reset(self, request: ResetMap.Request, response: ResetMap.Response) -> ResetMap.Response:
        keyframes = self.mapper.status().keyframes
        with self._mapping:
            self.mapper.reset()
        response.success, response.message = True, f"the map of {keyframes} keyframes is forgotten"
        return response

    def _guarded(self, action, path: str) -> tuple[bool, str]:
        """Success and message of saving or loading; a failure leaves the map as it was."""
        path = path or self.config.map_path
        if not path:
            return False, "no path was given and parameter map_path is empty: say where, for example /tmp/room.sab3r"
        try:
            message = action(path)
        except Sab3rError as error:
            self.get_logger().error(str(error))
            return False, str(error)
        self.get_logger().info(message)
        return True, message

    def _save(self, path: str) -> str:
        model = self.mapper.model
        with self._mapping:
            snapshot, state = self.mapper.snapshot(), self.mapper.state()
        save_map(path, snapshot, model.identity, model.language, model.feature_basis, state)
        return f"saved {len(snapshot.points)} voxels, {len(snapshot.trajectory.stamps)} keyframes to {path}"

    def _load(self, path: str) -> str:
        saved = load_map(path, for_model=self.mapper.model.identity)
        with self._mapping:
            self.mapper.restore(saved.snapshot, saved.state)
        return f"loaded {len(saved.snapshot.points)} voxels, {len(saved.snapshot.trajectory.stamps)} keyframes from {path}"

    def close(self) -> None:
        """End cleanly: finish the frame in hand, and keep the map where `map_path` says so."""
        self.worker.stop(timeout=20.0)
        if self.config.map_path and self.mapper.status().keyframes:
            self._guarded(self._save, self.config.map_path)
        self.destroy_node()


def main(args: list[str] | None = None) -> None:
    rclpy.init(args=args)
    forward_logging("mapper")
    try:
        node = MapperNode()
    except Sab3rError as error:
        rclpy.logging.get_logger("mapper").fatal(str(error))
        rclpy.try_shutdown()
        raise SystemExit(1) from None
    executor = MultiThreadedExecutor(num_threads=4)
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.close()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
