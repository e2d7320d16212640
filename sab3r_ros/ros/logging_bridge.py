"""The core logs with `logging`; the node forwards that to the ROS log."""

from __future__ import annotations

import logging

from rclpy.logging import get_logger


class RosHandler(logging.Handler):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._log = get_logger(name)

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.ERROR:  # rclpy wants one line of code for each severity
            self._log.error(text)
        elif record.levelno >= logging.WARNING:
            self._log.warning(text)
        else:
            self._log.info(text)


def forward_logging(name: str) -> None:
    """Send the package's log to the ROS logger `name`."""
    core = logging.getLogger("sab3r_ros")
    core.setLevel(logging.INFO)
    core.addHandler(RosHandler(name))
    core.propagate = False
