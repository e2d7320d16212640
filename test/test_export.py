"""Exported files, read back by other programs' readers or by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_maps import box_points, snapshot_of

from sab3r_ros.errors import MapFileError
from sab3r_ros.types import LocatedObject
from sab3r_ros.viz import export
from sab3r_ros.viz.export import PinholeCamera, slug, write_colmap, write_objects, write_ply


@pytest.fixture
def room():
    boxes = box_points((1, 2, 3), (0.2, 0.1, 0.1)), box_points((0, 0, 0), (0.1, 0.1, 0.1))
    return snapshot_of([(points, np.ones(4)) for points in boxes])


@pytest.mark.parametrize(("writer", "suffix"), [(export.write_ply, "ply"), (export.write_pcd, "pcd")])
def test_open3d_reads_the_cloud(room, tmp_path, writer, suffix):
    o3d = pytest.importorskip("open3d")
    path = tmp_path / f"map.{suffix}"
    writer(path, room.points, room.colors)
    cloud = o3d.io.read_point_cloud(str(path))
    np.testing.assert_allclose(np.asarray(cloud.points), room.points, atol=1e-6)
    np.testing.assert_allclose(np.asarray(cloud.colors) * 255, room.colors, atol=0.6)


def test_tum_lines(room, tmp_path):
    export.write_tum(tmp_path / "trajectory.txt", room.trajectory)
    rows = np.loadtxt(tmp_path / "trajectory.txt")
    np.testing.assert_allclose(rows, [[0, 0, 0, 0, 0, 0, 0, 1], [1, 0.5, 0, 0, 0, 0, 0, 1]])


def test_colmap_projects_a_point_where_the_camera_saw_it(room, tmp_path):
    room.trajectory.T_WC[1, :3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]  # looks along +x
    write_colmap(tmp_path / "sparse", room, PinholeCamera(640, 480, 500, 500, 320, 240), ["a.png", "b.png"])
    text = (tmp_path / "sparse" / "images.txt").read_text()
    lines = [line for line in text.split("\n") if line and line[0] != "#"]
    _, qw, qx, qy, qz, tx, ty, tz, camera, name = lines[1].split()
    R_CW = Rotation.from_quat([float(v) for v in (qx, qy, qz, qw)]).as_matrix()
    X_C = R_CW @ [2.5, -1, 0.5] + [float(tx), float(ty), float(tz)]
    np.testing.assert_allclose(X_C, [1, -0.5, 2], atol=1e-6)  # 2 m ahead, 1 m to the right, 0.5 m up
    assert (camera, name) == ("1", "b.png")
    cameras = (tmp_path / "sparse" / "cameras.txt").read_text()
    assert cameras.split("\n")[1] == "1 PINHOLE 640 480 500 500 320 240"
    points = np.loadtxt(tmp_path / "sparse" / "points3D.txt")
    np.testing.assert_allclose(points[:, 1:4], room.points, atol=1e-5)


def test_a_cloud_for_each_object(room, tmp_path):
    thing = LocatedObject("a mug / cup", 0.9, np.zeros(3), np.zeros(3), np.eye(3), np.ones(3), np.arange(3))
    paths = write_objects(tmp_path / "things", room, [thing, thing])
    assert [p.name for p in paths] == ["01-a-mug-cup.ply", "02-a-mug-cup.ply"]
    assert b"element vertex 3" in paths[0].read_bytes()
    assert slug("///") == "object"


def test_unwritable_places(room, tmp_path):
    with pytest.raises(MapFileError, match="is not a folder"):
        write_ply(tmp_path / "none" / "map.ply", room.points, room.colors)
    (tmp_path / "file").write_text("x")
    with pytest.raises(MapFileError, match="cannot make the folder"):
        write_objects(tmp_path / "file" / "things", room, [])
