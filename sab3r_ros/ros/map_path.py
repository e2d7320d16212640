"""The map that parameter `map_path` names: continued at the start, kept at the end."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sab3r_ros.errors import ConfigError, Sab3rError

if TYPE_CHECKING:
    from sab3r_ros.ros.node import MapperNode


def continue_map(node: MapperNode, path: Path) -> None:
    """Load the map, if it is there. Raises MapFileError if it cannot be used.

    A place that cannot be written raises ConfigError now, not after an hour's walk.
    """
    if path.exists():
        node.map_services.load(str(path))
    if not path.parent.is_dir():
        raise ConfigError(f"parameter map_path: there is no folder {path.parent} to write {path.name} to")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"parameter map_path: no permission to write {path.name} to {path.parent}")


def keep_map(node: MapperNode, path: Path) -> None:
    """Save the map at the end. Where its place has become unwritable it goes among the temporary files, and the log says so."""
    try:
        node.map_services.save(str(path))
        return
    except Sab3rError as error:
        node.get_logger().error(str(error))
    try:
        node.map_services.save(str(Path(tempfile.mkdtemp(prefix="sab3r_ros_")) / path.name))
    except (Sab3rError, OSError) as error:
        node.get_logger().error(f"the map is lost: {error}")
