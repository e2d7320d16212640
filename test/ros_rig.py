"""A mapper node and a client on real DDS; the network is an oracle, so that a test takes seconds."""

from __future__ import annotations

import array
import threading
import time
from collections import defaultdict

import cv2
import numpy as np
import rclpy
from oracle import HEIGHT, OBJECTS, WIDTH, OracleModel, World, walk
from rcl_interfaces.msg import Log
from rclpy.context import Context
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sab3r_ros.msg import MapStatus
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from sab3r_ros.ros.conversions import time_of
from sab3r_ros.ros.logging_bridge import forward_logging
from sab3r_ros.ros.node import MapperNode

LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
SENSOR = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
SETTINGS = {
    "mapper.min_texture": 1.0,
    "mapper.voxel_size_m": 0.05,
    "publish_period_s": 0.1,
    "status_period_s": 0.1,
    "flush_after_s": 0.5,
    "silence_s": 1.0,
}


class Names:
    """A language in which "box 3" is the oracle's object 3, "bathtub" is nothing, and every other phrase the room."""

    space, dim, spread = "names", OBJECTS + 1, 1.0

    def encode(self, phrases: list[str]) -> np.ndarray:
        index = [
            int(p.split()[-1]) if p.startswith("box ") else OBJECTS if p == "bathtub" else 0 for p in phrases
        ]
        return np.eye(self.dim, dtype=np.float32)[index]


class SlowOracle(OracleModel):
    """An oracle that takes `delay_s` to encode, and takes images of any size."""

    delay_s = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.language = "names"
        self.feature_basis = np.eye(OBJECTS + 1, OBJECTS, dtype=np.float32)

    def prepare(self, image, K=None):
        return cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST), K

    def encode(self, image):
        time.sleep(self.delay_s)
        return super().encode(image)


def image_message(
    pixels: np.ndarray, stamp: float, encoding: str = "rgb8", frame: str = "camera_optical"
) -> Image:
    pixels = np.ascontiguousarray(pixels)
    return Image(
        header=Header(frame_id=frame, stamp=time_of(stamp)),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        step=pixels.nbytes // max(pixels.shape[0], 1),
        data=array.array("B", pixels.tobytes()),
    )


class Rig:
    """The node under test and a peer, each with an executor in a thread of its own. Use as a context manager."""

    def __init__(self, model=None, connect: bool = True, **settings) -> None:
        self.world = World()
        self.model = model or SlowOracle(self.world)
        self.model.world = self.world
        self.context = Context()
        rclpy.init(context=self.context)
        overrides = [Parameter(name, value=value) for name, value in {**SETTINGS, **settings}.items()]
        forward_logging("mapper")
        self.node = MapperNode(self.model, Names(), context=self.context, parameter_overrides=overrides)
        self.peer = rclpy.create_node("peer", context=self.context)
        self.seen: dict[str, list] = defaultdict(list)
        self.executors = [
            MultiThreadedExecutor(4, context=self.context),
            SingleThreadedExecutor(context=self.context),
        ]
        self.threads = [threading.Thread(target=executor.spin, daemon=True) for executor in self.executors]
        for executor, node in zip(self.executors, (self.node, self.peer), strict=True):
            executor.add_node(node)
        for thread in self.threads:
            thread.start()
        self.images = self.peer.create_publisher(Image, "image", SENSOR)
        self.watch(MapStatus, "status", QoSProfile(depth=10))
        self.watch(Log, "/rosout", QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self.wait(lambda: self.seen["status"] and (self.images.get_subscription_count() or not connect))

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_) -> None:
        self.node.close()
        for executor in self.executors:
            executor.shutdown()
        for thread in self.threads:
            thread.join(
                10.0
            )  # a node that is still in use keeps its name, and the next one of that name cannot log
        self.node.destroy_node()
        self.peer.destroy_node()
        rclpy.shutdown(context=self.context)

    def watch(self, kind, topic: str, qos) -> list:
        self.peer.create_subscription(kind, topic, self.seen[topic].append, qos)
        return self.seen[topic]

    def wait(self, condition, timeout: float = 40.0):
        """What `condition()` returns once it is true. Fails after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.02)
        raise AssertionError(f"nothing within {timeout} s; last status: {self.seen['status'][-1:]}")

    @property
    def status(self) -> MapStatus:
        return self.seen["status"][-1]

    @property
    def said(self) -> list[str]:
        """What the node has logged."""
        return [line.msg for line in list(self.seen["/rosout"]) if line.name == "mapper"]

    def hear(self, *words: str, timeout: float = 8.0) -> str:
        """The first logged line with all the words, waiting for it."""
        return self.wait(
            lambda: next((line for line in self.said if all(w in line for w in words)), ""), timeout
        )

    def send(self, message: Image) -> None:
        """Publish an image and wait until it has been worked on."""
        before = self.node.intake.received
        self.images.publish(message)
        self.wait(lambda: self.node.intake.received > before)

    def walk(self, steps: int = 12, first: float = 100.0, turn: float = 0.4) -> None:
        """Show the room from `steps` places, 0.1 s apart by their stamps."""
        for n, T_WC in enumerate(walk(steps, turn)):
            self.send(image_message(self.world.image(T_WC), first + 0.1 * n))

    def mapped(self) -> None:
        """Walk, and wait until everything is mapped."""
        self.walk()
        before = len(self.seen["status"])  # what is on its way may be of an earlier image
        self.wait(
            lambda: (
                len(self.seen["status"]) > before + 1
                and self.status.keyframes >= 6
                and not self.status.keyframes_waiting + self.status.frames_waiting
            )
        )

    def call(self, kind, name: str, **fields):
        """The answer of a service and the seconds that it took."""
        client = self.peer.create_client(kind, name)
        assert client.wait_for_service(10.0)
        done = threading.Event()
        start = time.monotonic()
        future = client.call_async(kind.Request(**fields))
        future.add_done_callback(lambda _: done.set())
        assert done.wait(20.0), f"{name} did not answer"
        return future.result(), time.monotonic() - start
