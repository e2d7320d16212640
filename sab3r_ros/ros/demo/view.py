"""A window that shows the map grow: subscribes to the map cloud, the trajectory and the located boxes. RViz does it better.

python -m sab3r_ros.ros.demo.view
"""

from __future__ import annotations

import numpy as np
import open3d as o3d
import rclpy
from nav_msgs.msg import Path
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from sab3r_ros.ros.outputs import LATCHED

LOCATED = (0.1, 0.9, 0.2)


class View(Node):
    """Redraws what changed; call `step` often."""

    def __init__(self) -> None:
        super().__init__("view")
        self.window = o3d.visualization.Visualizer()
        self.window.create_window("sab3r_ros", 1280, 800)
        self.cloud, self.found = o3d.geometry.PointCloud(), o3d.geometry.PointCloud()
        self.path = o3d.geometry.LineSet()
        self._framed = False
        self.create_subscription(PointCloud2, "map_cloud", self._on_map, LATCHED)
        self.create_subscription(PointCloud2, "located_cloud", self._on_located, LATCHED)
        self.create_subscription(Path, "trajectory", self._on_path, LATCHED)

    def _on_map(self, msg: PointCloud2) -> None:
        points, colors = arrays(msg)
        self.cloud.points, self.cloud.colors = vectors(points), vectors(colors / 255)
        self._redraw(self.cloud)

    def _on_located(self, msg: PointCloud2) -> None:
        points, _ = arrays(msg)
        self.found.points = vectors(points)
        self.found.paint_uniform_color(LOCATED)
        self._redraw(self.found)

    def _on_path(self, msg: Path) -> None:
        places = [(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in msg.poses]
        self.path.points = vectors(np.array(places).reshape(-1, 3))
        pairs = [(n, n + 1) for n in range(len(places) - 1)]
        self.path.lines = o3d.utility.Vector2iVector(np.array(pairs, np.int32).reshape(-1, 2))
        self._redraw(self.path)

    def _redraw(self, geometry: o3d.geometry.Geometry3D) -> None:
        """The view point is set by the first map and stays as the user turns it."""
        first = not self._framed and geometry is self.cloud
        self.window.remove_geometry(geometry, reset_bounding_box=False)
        if geometry.is_empty():
            return
        self.window.add_geometry(geometry, reset_bounding_box=first)
        if first:
            self._framed = True
            control = self.window.get_view_control()
            control.set_front((-0.9, 0.2, 0.4))  # from behind the camera, a little above
            control.set_up((0, 0, 1))

    def step(self) -> bool:
        """Handle messages and mouse. False when the window was closed."""
        rclpy.spin_once(self, timeout_sec=0.02)
        self.window.update_renderer()
        return self.window.poll_events()


def arrays(msg: PointCloud2) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) float32 points and (N, 3) uint8 colours of a cloud that the mapper made."""
    rows = np.frombuffer(msg.data, np.float32).reshape(-1, msg.point_step // 4)
    packed = np.ascontiguousarray(rows[:, 3]).view(np.uint32)
    return rows[:, :3], np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], 1).astype(np.uint8)


def vectors(rows: np.ndarray) -> o3d.utility.Vector3dVector:
    return o3d.utility.Vector3dVector(np.ascontiguousarray(rows, np.float64))


def main() -> None:
    rclpy.init()
    view = View()
    try:
        while view.step():
            pass
    except KeyboardInterrupt:
        pass  # Ctrl-C closes the window as its button does
    finally:
        view.window.destroy_window()
        view.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
