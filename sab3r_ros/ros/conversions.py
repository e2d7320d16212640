"""Between ROS messages and the core's arrays."""

from __future__ import annotations

import array
from collections.abc import Sequence

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, TransformStamped, Vector3
from nav_msgs.msg import Path
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from transforms3d.quaternions import mat2quat
from visualization_msgs.msg import Marker, MarkerArray

from sab3r_ros.errors import ImageError
from sab3r_ros.msg import LocatedObject as LocatedObjectMsg
from sab3r_ros.types import LocatedObject, MapSnapshot, Trajectory

# encoding → NumPy type, channels, conversion to RGB (None where a line below does it)
ENCODINGS = {
    "rgb8": (np.uint8, 3, None),
    "bgr8": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "8UC3": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": (np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "mono16": (np.uint16, 1, cv2.COLOR_GRAY2RGB),
    "rgb16": (np.uint16, 3, None),
    "bgr16": (np.uint16, 3, cv2.COLOR_BGR2RGB),
}
NOT_PICTURES = {"16UC1": "depth", "32FC1": "depth"}


def seconds(stamp: Time) -> float:
    return stamp.sec + 1e-9 * stamp.nanosec


def time_of(stamp: float) -> Time:
    sec = int(np.floor(stamp))
    return Time(sec=sec, nanosec=min(int(round((stamp - sec) * 1e9)), 999_999_999))


def rgb_of(msg: Image | CompressedImage) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises ImageError that says what is wrong with the message and what to do."""
    return rgb_of_compressed(msg) if isinstance(msg, CompressedImage) else rgb_of_raw(msg)


def rgb_of_compressed(msg: CompressedImage) -> np.ndarray:
    data = np.frombuffer(msg.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ImageError(f"a compressed image (format '{msg.format}', {data.size} bytes) cannot be decoded: send JPEG or PNG")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def rgb_of_raw(msg: Image) -> np.ndarray:
    if msg.width == 0 or msg.height == 0:
        raise ImageError(f"an image of {msg.width} × {msg.height} pixels has no content: check the camera driver")
    if msg.encoding in NOT_PICTURES:
        raise ImageError(
            f"encoding {msg.encoding} is a {NOT_PICTURES[msg.encoding]} image: remap 'image' to the camera's colour topic"
        )
    if msg.encoding not in ENCODINGS:
        return rgb_by_cv_bridge(msg)
    kind, channels, to_rgb = ENCODINGS[msg.encoding]
    row = msg.width * channels * np.dtype(kind).itemsize
    if msg.step < row or len(msg.data) < msg.step * msg.height:
        raise ImageError(
            f"an image says {msg.width} × {msg.height} {msg.encoding} with {msg.step} bytes a row, "
            f"but carries {len(msg.data)} bytes: the message is truncated or mislabelled"
        )
    data = np.frombuffer(msg.data, np.uint8, msg.step * msg.height).reshape(msg.height, msg.step)[:, :row]
    pixels = np.ascontiguousarray(data).view(np.dtype(kind).newbyteorder(">" if msg.is_bigendian else "<"))
    pixels = pixels.reshape(msg.height, msg.width, channels)
    if kind is np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    return pixels.copy() if to_rgb is None else cv2.cvtColor(pixels, to_rgb)


def rgb_by_cv_bridge(msg: Image) -> np.ndarray:
    """Bayer, YUV and other rare encodings, where cv_bridge is installed."""
    try:
        from cv_bridge import CvBridge
    except ImportError as error:
        raise ImageError(
            f"encoding '{msg.encoding}' needs cv_bridge (apt install ros-$ROS_DISTRO-cv-bridge); "
            f"without it: {', '.join(ENCODINGS)}, or compressed images"
        ) from error
    try:
        return CvBridge().imgmsg_to_cv2(msg, "rgb8")
    except Exception as error:  # cv_bridge raises several kinds
        raise ImageError(f"encoding '{msg.encoding}' cannot be converted to RGB: {error}") from error


def intrinsics_of(msg: CameraInfo) -> np.ndarray | None:
    """(3, 3) K, or None where the driver publishes an uncalibrated camera (zeros)."""
    K = np.asarray(msg.k, float).reshape(3, 3)
    return K if K[0, 0] > 0 and K[1, 1] > 0 and np.isfinite(K).all() else None


def packed_rgb(colors: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 → (N,) float32 whose bits are 0x00RRGGBB, as RViz reads them."""
    c = colors.astype(np.uint32)
    return ((c[:, 0] << 16) | (c[:, 1] << 8) | c[:, 2]).view(np.float32)


def cloud(header: Header, points: np.ndarray, colors: np.ndarray, scores: np.ndarray | None = None) -> PointCloud2:
    """x, y, z, packed rgb and, if given, score; all float32. points (N, 3) metres, colors (N, 3) uint8, scores (N,)."""
    names = ["x", "y", "z", "rgb"] + (["score"] if scores is not None else [])
    rows = np.empty((len(points), len(names)), np.float32)
    rows[:, :3], rows[:, 3] = points, packed_rgb(colors)
    if scores is not None:
        rows[:, 4] = scores
    data = array.array("B")
    data.frombytes(memoryview(rows).cast("B") if rows.size else b"")  # 2 ms a million points; an ndarray takes 800
    step = 4 * len(names)
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=[PointField(name=n, offset=4 * k, datatype=PointField.FLOAT32, count=1) for k, n in enumerate(names)],
        is_bigendian=False,
        point_step=step,
        row_step=step * len(points),
        data=data,
        is_dense=True,
    )


def pose_of(T: np.ndarray) -> Pose:
    """(4, 4) rigid → Pose."""
    w, x, y, z = (float(q) for q in mat2quat(T[:3, :3]))
    return Pose(position=point_of(T[:3, 3]), orientation=Quaternion(x=x, y=y, z=z, w=w))


def point_of(p: np.ndarray) -> Point:
    return Point(x=float(p[0]), y=float(p[1]), z=float(p[2]))


def transform_of(T: np.ndarray, header: Header, child: str) -> TransformStamped:
    pose = pose_of(T)
    out = TransformStamped(header=header, child_frame_id=child)
    out.transform.translation = Vector3(x=pose.position.x, y=pose.position.y, z=pose.position.z)
    out.transform.rotation = pose.orientation
    return out


def path_of(trajectory: Trajectory, header: Header) -> Path:
    poses = [
        PoseStamped(header=Header(frame_id=header.frame_id, stamp=time_of(stamp)), pose=pose_of(T))
        for stamp, T in zip(trajectory.stamps, trajectory.T_WC, strict=True)
    ]
    return Path(header=header, poses=poses)


def located(obj: LocatedObject, index: int, snapshot: MapSnapshot, header: Header) -> LocatedObjectMsg:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = obj.box_R, obj.box_center
    scores = np.full(len(obj.indices), obj.score, np.float32)
    return LocatedObjectMsg(
        header=header,
        id=index,
        label=obj.label,
        score=float(obj.score),
        centroid=point_of(obj.centroid),
        box_pose=pose_of(T),
        box_size=Vector3(x=float(obj.box_size[0]), y=float(obj.box_size[1]), z=float(obj.box_size[2])),
        num_points=len(obj.indices),
        cloud=cloud(header, snapshot.points[obj.indices], snapshot.colors[obj.indices], scores),
    )


def located_cloud(objects: Sequence[LocatedObject], snapshot: MapSnapshot, header: Header) -> PointCloud2:
    """All located points in one cloud, each with its object's score."""
    rows = np.concatenate([o.indices for o in objects]) if objects else np.zeros(0, int)
    scores = np.concatenate([np.full(len(o.indices), o.score) for o in objects]) if objects else np.zeros(0)
    return cloud(header, snapshot.points[rows], snapshot.colors[rows], scores.astype(np.float32))


def markers(objects: Sequence[LocatedObject], header: Header) -> MarkerArray:
    """A translucent box and a label for each object; the first marker clears those of the last answer."""
    out = [Marker(header=header, action=Marker.DELETEALL)]
    for n, obj in enumerate(objects):
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = obj.box_R, obj.box_center
        box = Marker(header=header, ns="box", id=n, type=Marker.CUBE, action=Marker.ADD, pose=pose_of(T))
        box.scale = Vector3(**{a: float(max(s, 0.01)) for a, s in zip("xyz", obj.box_size, strict=True)})
        box.color = ColorRGBA(r=0.1, g=0.9, b=0.2, a=0.25)
        label = Marker(header=header, ns="label", id=n, type=Marker.TEXT_VIEW_FACING, action=Marker.ADD)
        label.pose = pose_of(np.eye(4))
        label.pose.position = point_of(obj.box_center + [0, 0, obj.box_size[2] / 2 + 0.06])
        label.scale.z = 0.08
        label.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        label.text = f"{obj.label} {obj.score:.2f}"
        out += [box, label]
    return MarkerArray(markers=out)
