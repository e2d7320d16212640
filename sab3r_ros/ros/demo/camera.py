"""A camera process: publishes a folder of stamped images at the rate at which they were taken.

python -m sab3r_ros.ros.demo.camera FOLDER        files are named by their stamp in seconds: 1311868169.163498.jpg
"""

from __future__ import annotations

import argparse
import array
import contextlib
import sys
import time
from pathlib import Path

import cv2
import rclpy
from rclpy.qos import qos_profile_sensor_data
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from sab3r_ros.ros.conversions import time_of

SUBSCRIBER_TIMEOUT_S = 60.0


def message(file: Path) -> Image:
    """An image file as a bgr8 message stamped with the file's name."""
    pixels = cv2.imread(str(file))
    header = Header(frame_id="camera", stamp=time_of(float(file.stem)))
    height, width, _ = pixels.shape
    data = array.array("B", pixels.tobytes())
    return Image(header=header, height=height, width=width, encoding="bgr8", step=3 * width, data=data)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    args = parser.parse_args(remove_ros_args(sys.argv)[1:])
    messages = [message(f) for f in sorted(args.folder.iterdir()) if f.suffix in (".jpg", ".png")]
    rclpy.init()
    node = rclpy.create_node("camera")
    publisher = node.create_publisher(Image, "image", qos_profile_sensor_data)
    deadline = time.monotonic() + SUBSCRIBER_TIMEOUT_S
    while not publisher.get_subscription_count():
        if time.monotonic() > deadline:
            raise SystemExit(
                f"nobody subscribed to {publisher.topic_name} within {SUBSCRIBER_TIMEOUT_S:.0f} s"
            )
        time.sleep(0.05)
    time.sleep(0.5)  # discovery goes both ways
    start, first = (
        time.monotonic(),
        float(messages[0].header.stamp.sec + 1e-9 * messages[0].header.stamp.nanosec),
    )
    for msg in messages:
        due = start + msg.header.stamp.sec + 1e-9 * msg.header.stamp.nanosec - first
        time.sleep(max(due - time.monotonic(), 0.0))
        publisher.publish(msg)
    node.get_logger().info(f"published {len(messages)} images in {time.monotonic() - start:.1f} s")
    time.sleep(1.0)  # let the last one leave
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # the demo stops what it no longer needs
        main()
