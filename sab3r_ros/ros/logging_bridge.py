"""The core logs with `logging`; the node forwards that to the ROS log."""

from __future__ import annotations

import logging

from rclpy.logging import get_logger


class RosHandler(logging.Handler):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._log = get_logger(name)

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelno
        write = (
            self._log.error
            if level >= logging.ERROR
            else self._log.warning
            if level >= logging.WARNING
            else self._log.info
        )
        write(self.format(record))


def forward_logging(name: str) -> None:
    """Send the package's log to the ROS logger `name`."""
    core = logging.getLogger("sab3r_ros")
    core.setLevel(logging.INFO)
    core.addHandler(RosHandler(name))
    core.propagate = False
