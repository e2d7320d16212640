"""One ROS domain for each test run, message fields checked, nothing written to the home folder."""

import os
import tempfile
from pathlib import Path

# Before anything imports rclpy or a message.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="sab3r_ros_log_")
os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(
    Path(__file__).parents[1] / "config" / "fastdds_large_data.xml"
)
