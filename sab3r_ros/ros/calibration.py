"""What `camera_info` says of the camera, taken out of its images."""

from __future__ import annotations

import numpy as np
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo

from sab3r_ros.errors import ConfigError, ImageError
from sab3r_ros.geometry.lens import Lens, lens_of
from sab3r_ros.ros.intake import Intake

RECTIFIED = ("auto", "yes", "no")


class Calibration:
    """Subscribes to `camera_info`; intrinsics may come late, change, or never come.

    rectified: parameter of that name; 'auto' goes by the images' topic, as image_proc names it. Raises ConfigError.
    """

    def __init__(
        self, node: Node, intake: Intake, rectified: str, qos: QoSProfile, group: CallbackGroup
    ) -> None:
        if rectified not in RECTIFIED:
            raise ConfigError(f"parameter rectified is '{rectified}': choose one of {', '.join(RECTIFIED)}")
        self.node, self.intake = node, intake
        self.rectified = rectified == "yes" or (rectified == "auto" and "image_rect" in intake.topic)
        self._lens: Lens | None = None
        node.create_subscription(CameraInfo, "camera_info", self._on_info, qos, callback_group=group)

    def straightened(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The image as a pinhole camera sees it, and its (3, 3) K; unchanged and None while nothing is known."""
        if self._lens is None:
            return image, None
        try:
            return self._lens.straightened(image)
        except ImageError as error:
            self._do_without(error)
            return image, None

    def _on_info(self, msg: CameraInfo) -> None:
        try:
            lens = lens_of(msg, self.rectified)
        except ImageError as error:
            self._do_without(error)
            lens = None
        old, self._lens = self._lens, lens
        if lens is None or lens == old:
            return
        if old is None:
            kind = f"{lens.model} lens, straightened" if lens.bends else "pinhole"
            self.node.get_logger().info(f"camera_info: f = {lens.K[0]:.1f} pixels, {kind}")
        elif not np.allclose(lens.K, old.K, rtol=0.01):
            self.intake.complain(
                "intrinsics",
                f"intrinsics changed from f = {old.K[0]:.1f} to {lens.K[0]:.1f} pixels: new keyframes use the new ones",
            )

    def _do_without(self, error: ImageError) -> None:
        self.intake.complain("camera_info", f"mapping without intrinsics: {error}")
