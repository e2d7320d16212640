"""From the core's arrays to ROS messages."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, TransformStamped, Vector3
from nav_msgs.msg import Path
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from transforms3d.quaternions import mat2quat
from visualization_msgs.msg import Marker, MarkerArray

from sab3r_ros.msg import LocatedObject as LocatedObjectMsg
from sab3r_ros.types import LocatedObject, MapSnapshot, Trajectory


def seconds(stamp: Time) -> float:
    return stamp.sec + 1e-9 * stamp.nanosec


def time_of(stamp: float) -> Time:
    sec = int(np.floor(stamp))
    return Time(sec=sec, nanosec=min(round((stamp - sec) * 1e9), 999_999_999))


def packed_rgb(colors: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 → (N,) float32 whose bits are 0x00RRGGBB, as RViz reads them."""
    c = colors.astype(np.uint32)
    return ((c[:, 0] << 16) | (c[:, 1] << 8) | c[:, 2]).view(np.float32)


def cloud(
    header: Header, points: np.ndarray, colors: np.ndarray, scores: np.ndarray | None = None
) -> PointCloud2:
    """x, y, z, packed rgb and, if given, score; all float32. points (N, 3) metres, colors (N, 3) uint8, scores (N,)."""
    names = ["x", "y", "z", "rgb"] + (["score"] if scores is not None else [])
    rows = np.empty((len(points), len(names)), np.float32)
    rows[:, :3], rows[:, 3] = points, packed_rgb(colors)
    if scores is not None:
        rows[:, 4] = scores
    data = array.array("B")
    data.frombytes(
        memoryview(rows).cast("B") if rows.size else b""
    )  # 2 ms a million points; an ndarray takes 800
    step = 4 * len(names)
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=[
            PointField(name=n, offset=4 * k, datatype=PointField.FLOAT32, count=1)
            for k, n in enumerate(names)
        ],
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


def located(obj: LocatedObject, snapshot: MapSnapshot, header: Header) -> LocatedObjectMsg:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = obj.box_R, obj.box_center
    scores = np.full(len(obj.indices), obj.score, np.float32)
    return LocatedObjectMsg(
        header=header,
        id=obj.id,
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
        label.pose.position = point_of(obj.box_center + np.array([0, 0, obj.box_size[2] / 2 + 0.06]))
        label.scale.z = 0.08
        label.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        label.text = f"{obj.label} {obj.score:.2f}"
        out += [box, label]
    return MarkerArray(markers=out)
