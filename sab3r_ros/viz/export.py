"""Maps in formats that other programs read: PLY, PCD, TUM trajectory, COLMAP text, and a cloud for each
located object.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from sab3r_ros.errors import MapFileError
from sab3r_ros.mapping.map_file import write_whole
from sab3r_ros.types import LocatedObject, MapSnapshot, Trajectory

PLY_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("confidence", "<f4")])
PCD_POINT = np.dtype([("xyz", "<f4", 3), ("rgb", "<u4")])


@dataclass(frozen=True)
class PinholeCamera:
    """Image size and intrinsics in pixels, for formats that want a camera."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float


def write_ply(
    path: str | Path, points: np.ndarray, colors: np.ndarray, confidence: np.ndarray | None = None
) -> None:
    """Binary PLY with colours and confidence (0 if none is given). points (N, 3) metres, colors (N, 3) uint8.

    Raises MapFileError if the path cannot be written, as all functions here do.
    """
    vertices = np.zeros(len(points), PLY_VERTEX)
    vertices["xyz"], vertices["rgb"] = points, colors
    if confidence is not None:
        vertices["confidence"] = confidence
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        "property float confidence\nend_header\n"
    )
    write_whole(Path(path), header.encode(), vertices.tobytes())


def write_pcd(path: str | Path, points: np.ndarray, colors: np.ndarray) -> None:
    """Binary PCD 0.7 with packed rgb, as PCL and RViz pack it. points (N, 3) metres, colors (N, 3) uint8."""
    rows = np.zeros(len(points), PCD_POINT)
    rows["xyz"] = points
    c = colors.astype(np.uint32)
    rows["rgb"] = (c[:, 0] << 16) | (c[:, 1] << 8) | c[:, 2]
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\n"
        f"TYPE F F F U\nCOUNT 1 1 1 1\nWIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n"
        f"POINTS {len(points)}\nDATA binary\n"
    )
    write_whole(Path(path), header.encode(), rows.tobytes())


def write_tum(path: str | Path, trajectory: Trajectory) -> None:
    """TUM trajectory: 'stamp tx ty tz qx qy qz qw' a line, camera (RDF) to map."""
    rows = []
    for stamp, T_WC in zip(trajectory.stamps, trajectory.T_WC, strict=True):
        pose = (*T_WC[:3, 3], *Rotation.from_matrix(T_WC[:3, :3]).as_quat())
        rows.append(f"{stamp:.6f} " + " ".join(f"{value:.7f}" for value in pose) + "\n")
    write_whole(Path(path), "".join(rows).encode())


def write_colmap(
    folder: str | Path, snapshot: MapSnapshot, camera: PinholeCamera, names: Sequence[str] | None = None
) -> None:
    """COLMAP's text model: cameras.txt, images.txt, points3D.txt. names: of the keyframes' images; default:
    their stamps.

    The map keeps no pixel tracks, so that images and points list none; programs that start from poses and
    points (Gaussian splatting, multi-view stereo) need no more.
    """
    folder = made_folder(folder)
    c = camera
    cameras = f"# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n1 PINHOLE {c.width} {c.height} {c.fx} {c.fy} {c.cx} {c.cy}\n"
    images = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; then POINTS2D[]\n"]
    for k, (stamp, T_WC) in enumerate(zip(snapshot.trajectory.stamps, snapshot.trajectory.T_WC, strict=True)):
        R_CW = T_WC[:3, :3].T
        qx, qy, qz, qw = Rotation.from_matrix(R_CW).as_quat()
        pose = " ".join(f"{value:.9f}" for value in (qw, qx, qy, qz, *(-R_CW @ T_WC[:3, 3])))
        images.append(f"{k + 1} {pose} 1 {names[k] if names else f'{stamp:.6f}.png'}\n\n")
    points = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]\n"]
    for k, (xyz, rgb) in enumerate(zip(snapshot.points.tolist(), snapshot.colors.tolist(), strict=True)):
        points.append(f"{k + 1} {xyz[0]:.5f} {xyz[1]:.5f} {xyz[2]:.5f} {rgb[0]} {rgb[1]} {rgb[2]} 0\n")
    write_whole(folder / "cameras.txt", cameras.encode())
    write_whole(folder / "images.txt", "".join(images).encode())
    write_whole(folder / "points3D.txt", "".join(points).encode())


def write_objects(folder: str | Path, snapshot: MapSnapshot, objects: Sequence[LocatedObject]) -> list[Path]:
    """One PLY an object, named by rank and label: 01-office-chair.ply. Returns the paths."""
    folder, paths = made_folder(folder), []
    for rank, found in enumerate(objects, 1):
        path = folder / f"{rank:02d}-{slug(found.label)}.ply"
        rows = found.indices
        write_ply(path, snapshot.points[rows], snapshot.colors[rows], snapshot.confidence[rows])
        paths.append(path)
    return paths


def slug(label: str) -> str:
    """A label as part of a file name: letters, digits and dashes."""
    return re.sub(r"[^\w]+", "-", label.lower()).strip("-")[:60] or "object"


def made_folder(folder: str | Path) -> Path:
    """The folder, made if it was not there. Raises MapFileError."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MapFileError(f"cannot make the folder {folder}: {error.strerror}") from error
    return folder
