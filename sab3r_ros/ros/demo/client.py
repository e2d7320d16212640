"""A client process: asks while the map grows, waits until it has settled, asks again, and writes down the answers.

python -m sab3r_ros.ros.demo.client OUT_FOLDER QUERY [QUERY ...]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from sab3r_ros.msg import LocatedObject, MapStatus
from sab3r_ros.srv import Locate, SaveMap

QUIET_S = 4.0  # no new image or keyframe, and nothing waiting, for so long: the camera has stopped
TIMEOUT_S = 300.0


class DemoClient(Node):
    """Talks to a mapper by its topics and services alone."""

    def __init__(self) -> None:
        super().__init__("client")
        self.status: MapStatus | None = None
        self.create_subscription(MapStatus, "status", self._on_status, 10)
        self._by_name: dict[str, Any] = {}

    def _on_status(self, status: MapStatus) -> None:
        self.status = status

    def call(self, kind: Any, name: str, **fields: Any) -> tuple[Any, float]:
        """A service's answer and how long it took, milliseconds. Raises TimeoutError."""
        client = self._client(kind, name)
        start = time.monotonic()
        future = client.call_async(kind.Request(**fields))
        rclpy.spin_until_future_complete(self, future, timeout_sec=60.0)
        if not future.done():
            raise TimeoutError(f"service {name} did not answer within 60 s")
        return future.result(), 1000 * (time.monotonic() - start)

    def _client(self, kind: Any, name: str) -> Any:
        if name not in self._by_name:
            self._by_name[name] = self.create_client(kind, name)
        if not self._by_name[name].wait_for_service(60.0):
            raise TimeoutError(f"there is no service {name} after 60 s: is the mapper running?")
        return self._by_name[name]

    def ask_until_settled(self, query: str) -> list[float]:
        """Ask twice a second while images are mapped. Returns the answers' latencies, milliseconds. Raises TimeoutError."""
        latencies: list[float] = []
        deadline = time.monotonic() + TIMEOUT_S
        seen, since = None, time.monotonic()
        while time.monotonic() < deadline:
            rclpy.spin_once(self, timeout_sec=0.2)
            status = self.status
            if status is None or not status.frames_received:
                continue
            now = (status.frames_received, status.frames_waiting, status.keyframes, status.keyframes_waiting)
            if now != seen:
                seen, since = now, time.monotonic()
            quiet = time.monotonic() - since
            done = not status.frames_waiting and (not status.keyframes_waiting or quiet > 4 * QUIET_S)
            if done and quiet > QUIET_S:
                return latencies
            if not done:
                latencies.append(self.call(Locate, "locate", query=query)[1])
                time.sleep(0.3)
        raise TimeoutError(f"the map did not settle within {TIMEOUT_S:.0f} s: does the camera run?")


def as_dict(obj: LocatedObject) -> dict:
    """What the report and the picture need of an object."""
    c, q, s = obj.box_pose.position, obj.box_pose.orientation, obj.box_size
    xyz = np.frombuffer(obj.cloud.data, np.float32).reshape(-1, obj.cloud.point_step // 4)[:, :3]
    return {
        "label": obj.label,
        "score": obj.score,
        "centroid": [obj.centroid.x, obj.centroid.y, obj.centroid.z],
        "box_center": [c.x, c.y, c.z],
        "box_quaternion_wxyz": [q.w, q.x, q.y, q.z],
        "box_size": [s.x, s.y, s.z],
        "points": xyz.tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("queries", nargs="+")
    args = parser.parse_args(remove_ros_args(sys.argv)[1:])
    rclpy.init()
    node = DemoClient()
    try:
        busy = node.ask_until_settled(args.queries[0])
    except TimeoutError as error:
        raise SystemExit(str(error)) from None
    answers = {}
    for query in args.queries:
        reply, latency = node.call(Locate, "locate", query=query)
        answers[query] = {
            "success": reply.success,
            "message": reply.message,
            "best_score": reply.best_score,
            "latency_ms": latency,
            "objects": [as_dict(o) for o in reply.objects],
        }
    saved, _ = node.call(SaveMap, "save_map", path=str(args.out / "map.sab3r"))
    result = {
        "frames": node.status.frames_received,
        "frames_dropped": node.status.frames_dropped,
        "keyframes": node.status.keyframes,
        "model": node.status.model,
        "rate": node.status.rate,
        "busy_latencies_ms": busy,
        "saved": saved.success,
        "message": saved.message,
        "answers": answers,
    }
    (args.out / "answers.json").write_text(json.dumps(result))
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # the demo stops what it no longer needs
        main()
