"""A client process: waits until the map has settled, asks for things, and writes what the services answered.

    python -m sab3r_ros.demo.client OUT_FOLDER QUERY [QUERY ...]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.node import Node

from sab3r_ros.msg import LocatedObject, MapStatus
from sab3r_ros.srv import Locate, SaveMap

SETTLED_S = 8.0  # no new keyframe for so long: the camera has stopped and the last window is mapped
TIMEOUT_S = 300.0


def wait_until_settled(node: Node) -> MapStatus:
    """The status once images have come and the keyframes stopped growing. Raises TimeoutError."""
    latest: list[MapStatus] = []
    node.create_subscription(MapStatus, "status", latest.append, 10)
    deadline = time.monotonic() + TIMEOUT_S
    seen, since = (-1, -1), time.monotonic()
    while time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.2)
        if latest:
            now = (latest[-1].keyframes, latest[-1].frames_received)
            if now != seen:
                seen, since = now, time.monotonic()
            if now[1] and time.monotonic() - since > SETTLED_S:
                return latest[-1]
            del latest[:-1]
    raise TimeoutError(f"the map did not settle within {TIMEOUT_S:.0f} s: is the mapper running?")


def call(node: Node, kind, name: str, request):
    """Answer of a service. Raises TimeoutError."""
    client = node.create_client(kind, name)
    if not client.wait_for_service(10.0):
        raise TimeoutError(f"no service {name}")
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future, timeout_sec=30.0)
    if not future.done():
        raise TimeoutError(f"service {name} did not answer within 30 s")
    return future.result()


def as_dict(obj: LocatedObject) -> dict:
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("queries", nargs="+")
    args = parser.parse_args()
    rclpy.init()
    node = rclpy.create_node("client")
    status = wait_until_settled(node)
    answers = {}
    for query in args.queries:
        start = time.monotonic()
        reply = call(node, Locate, "locate", Locate.Request(query=query))
        latency = 1000 * (time.monotonic() - start)
        answers[query] = {
            "success": reply.success,
            "message": reply.message,
            "latency_ms": latency,
            "objects": [as_dict(o) for o in reply.objects],
        }
    saved = call(node, SaveMap, "save_map", SaveMap.Request(path=str(args.out / "map.sab3r")))
    result = {
        "frames": status.frames_received,
        "frames_dropped": status.frames_dropped,
        "keyframes": status.keyframes,
        "model": status.model,
        "rate": status.rate,
        "saved": saved.success,
        "message": saved.message,
        "answers": answers,
    }
    (args.out / "answers.json").write_text(json.dumps(result))
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
