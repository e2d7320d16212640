"""From image messages to RGB arrays."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from sab3r_ros.errors import ImageError

# encoding → bits a channel, channels, OpenCV's conversion to RGB (None: it is RGB). ROS names a Bayer pattern by its first
# two pixels of the first row, OpenCV by those of the second row and column on.
ENCODINGS = {
    "rgb8": (8, 3, None),
    "bgr8": (8, 3, cv2.COLOR_BGR2RGB),
    "8UC3": (8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (8, 4, cv2.COLOR_BGRA2RGB),
    "8UC4": (8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (8, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": (8, 1, cv2.COLOR_GRAY2RGB),
    "mono16": (16, 1, cv2.COLOR_GRAY2RGB),
    "rgb16": (16, 3, None),
    "bgr16": (16, 3, cv2.COLOR_BGR2RGB),
    "bayer_rggb8": (8, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (8, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (8, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (8, 1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (8, 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (8, 2, cv2.COLOR_YUV2RGB_YUY2),
}
DEPTH = ("16UC1", "32FC1")


def rgb_of(msg: Image | CompressedImage) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises ImageError that says what is wrong with the message and what to do."""
    return rgb_of_compressed(msg) if isinstance(msg, CompressedImage) else rgb_of_raw(msg)


def rgb_of_compressed(msg: CompressedImage) -> np.ndarray:
    data = np.frombuffer(msg.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ImageError(
            f"a compressed image (format '{msg.format}', {data.size} bytes) cannot be decoded: send JPEG or PNG"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def rgb_of_raw(msg: Image) -> np.ndarray:
    if msg.width == 0 or msg.height == 0:
        raise ImageError(
            f"an image of {msg.width} × {msg.height} pixels has no content: check the camera driver"
        )
    if msg.encoding in DEPTH:
        raise ImageError(
            f"encoding {msg.encoding} is a depth image: remap 'image' to the camera's colour topic"
        )
    if msg.encoding not in ENCODINGS:
        return rgb_by_cv_bridge(msg)
    bits, channels, to_rgb = ENCODINGS[msg.encoding]
    row = msg.width * channels * bits // 8
    if msg.step < row or len(msg.data) < msg.step * msg.height:
        raise ImageError(
            f"an image says {msg.width} × {msg.height} {msg.encoding} with {msg.step} bytes a row, "
            f"but carries {len(msg.data)} bytes: the message is truncated or mislabelled"
        )
    data = np.frombuffer(msg.data, np.uint8, msg.step * msg.height).reshape(msg.height, msg.step)[:, :row]
    pixels = np.ascontiguousarray(data)
    if bits == 16:  # the high byte is the picture
        pixels = pixels[:, 0 if msg.is_bigendian else 1 :: 2]
    pixels = np.ascontiguousarray(pixels).reshape(msg.height, msg.width, channels)
    return pixels.copy() if to_rgb is None else cv2.cvtColor(pixels, to_rgb)


def rgb_by_cv_bridge(msg: Image) -> np.ndarray:
    """Encodings that few cameras send, where cv_bridge is installed."""
    try:
        from cv_bridge import CvBridge
    except ImportError as error:
        raise ImageError(
            f"encoding '{msg.encoding}' needs cv_bridge (apt install ros-$ROS_DISTRO-cv-bridge); "
            f"without it: {', '.join(ENCODINGS)}, or compressed images"
        ) from error
    try:
        return np.ascontiguousarray(CvBridge().imgmsg_to_cv2(msg, "rgb8"))
    except (
        Exception
    ) as error:  # cv_bridge raises its own and OpenCV's kinds; the picture is refused all the same
        raise ImageError(f"encoding '{msg.encoding}' cannot be converted to RGB: {error}") from error
