"""The node over real DDS: what it publishes, serves and survives. Every bad input is a real message."""

import shutil
import time
from pathlib import Path as File

import cv2
import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import Point
from nav_msgs.msg import Odometry, Path
from oracle import HEIGHT, WIDTH, K, walk
from rclpy.context import Context
from ros_rig import LATCHED, SENSOR, Rig, SlowOracle, image_message
from sab3r_ros.msg import MapStatus
from sab3r_ros.srv import LoadMap, Locate, ResetMap, SaveMap, SetScale
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from sab3r_ros.errors import ConfigError, MapFileError
from sab3r_ros.mapping.map_file import load_map
from sab3r_ros.ros.conversions import pose_of, time_of, transform_of


def xyz(cloud: PointCloud2) -> np.ndarray:
    return np.frombuffer(cloud.data, np.float32).reshape(-1, cloud.point_step // 4)[:, :3]


def test_from_images_to_a_map_and_located_objects():
    with Rig() as rig:
        clouds = rig.watch(PointCloud2, "map_cloud", LATCHED)
        paths = rig.watch(Path, "trajectory", LATCHED)
        transforms = rig.watch(TFMessage, "/tf", 100)
        markers = rig.watch(MarkerArray, "located_markers", LATCHED)
        rig.mapped()
        assert rig.status.tracking_state == MapStatus.TRACKING and rig.status.frames_received == 12
        assert rig.status.model == "oracle" and rig.status.frames_dropped == 0
        rig.wait(lambda: clouds and clouds[-1].width == rig.status.points)
        assert [f.name for f in clouds[-1].fields] == ["x", "y", "z", "rgb"]
        assert clouds[-1].header.frame_id == "map"
        rig.wait(lambda: paths and len(paths[-1].poses) == rig.status.keyframes)
        first = paths[-1].poses[0].pose
        assert abs(first.position.x) < 0.01  # the first keyframe is the origin, looking along x
        transform = transforms[-1].transforms[0]
        assert (transform.header.frame_id, transform.child_frame_id) == ("map", "camera_optical")

        answer, seconds = rig.call(Locate, "locate", query="a box 2")
        assert answer.success, answer.message
        best = answer.objects[0]
        assert best.score > 0.9 and best.num_points == best.cloud.width == len(xyz(best.cloud))
        assert answer.points.width == sum(o.num_points for o in answer.objects)
        centroid = np.array([best.centroid.x, best.centroid.y, best.centroid.z])
        assert np.abs(xyz(best.cloud) - centroid).sum(1).min() < 0.1  # the centroid is a point of the object
        assert seconds < 1.0
        rig.wait(lambda: markers and markers[-1].markers[0].action == Marker.DELETEALL)
        assert "box 2" in markers[-1].markers[2].text

        nothing, _ = rig.call(Locate, "locate", query="a bathtub")
        assert not nothing.success and "Nearest" in nothing.message and not nothing.objects


def test_services_answer_while_a_window_is_computed():
    slow = SlowOracle(None)
    with Rig(slow) as rig:
        rig.mapped()
        slow.delay_s = 1.5
        rig.walk(4, first=200.0, turn=1.2)
        times = []
        for _ in range(3):
            assert rig.status.frames_waiting or rig.node.worker.waiting
            answer, seconds = rig.call(Locate, "locate", query="box 2")
            assert answer.success
            times.append(seconds)
        _, reset = rig.call(ResetMap, "reset_map")
        slow.delay_s = 0.0
        assert sorted(times)[1] < 0.3 and reset < 0.3  # 100 ms on an idle machine; tests share theirs
        rig.wait(lambda: rig.status.keyframes == 0)


def test_a_full_queue_drops_the_oldest_and_counts():
    slow = SlowOracle(None)
    slow.delay_s = 0.4
    with Rig(slow, queue_length=3) as rig:
        rig.walk(10)
        rig.wait(lambda: rig.status.frames_dropped >= 3)
        slow.delay_s = 0.0


def test_maps_are_saved_loaded_and_reset(tmp_path):
    path = str(tmp_path / "room.sab3r")
    with Rig() as rig:
        assert not rig.call(SaveMap, "save_map", path="")[0].success
        rig.mapped()
        saved, _ = rig.call(SaveMap, "save_map", path=path)
        assert saved.success and path in saved.message
        voxels = len(load_map(path).snapshot.points)
        unwritable, _ = rig.call(SaveMap, "save_map", path="/proc/no/room.sab3r")
        assert not unwritable.success and "/proc/no" in unwritable.message
        assert rig.call(ResetMap, "reset_map")[0].success
        rig.wait(lambda: rig.status.points == 0)
        missing, _ = rig.call(LoadMap, "load_map", path=str(tmp_path / "none.sab3r"))
        assert not missing.success and "no map" in missing.message
        (tmp_path / "broken.sab3r").write_bytes(b"SAB3RMAP" + bytes(100))
        assert not rig.call(LoadMap, "load_map", path=str(tmp_path / "broken.sab3r"))[0].success
        loaded, _ = rig.call(LoadMap, "load_map", path=path)
        assert loaded.success, loaded.message
        rig.wait(lambda: rig.status.points == voxels)
        assert rig.call(Locate, "locate", query="box 2")[0].success


def test_a_map_of_another_model_is_refused(tmp_path):
    path = str(tmp_path / "room.sab3r")
    with Rig() as rig:
        rig.mapped()
        assert rig.call(SaveMap, "save_map", path=path)[0].success
    other = SlowOracle(None)
    other.identity = "other"
    with Rig(other) as rig:
        answer, _ = rig.call(LoadMap, "load_map", path=path)
        assert not answer.success and "oracle" in answer.message and "other" in answer.message
    with pytest.raises(MapFileError, match="oracle"):
        Rig(other, map_path=path)


def test_the_map_is_saved_at_the_end_and_found_again(tmp_path):
    path = tmp_path / "room.sab3r"
    with Rig(map_path=str(path)) as rig:
        rig.mapped()
    voxels = len(load_map(path).snapshot.points)
    with Rig(map_path=str(path)) as rig:
        rig.wait(lambda: rig.status.points == voxels)


def test_a_map_path_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    with pytest.raises(ConfigError, match=r"map_path.*no folder /proc/no "):
        Rig(map_path="/proc/no/room.sab3r")


def test_a_map_whose_place_has_gone_is_kept_elsewhere(tmp_path):
    place = tmp_path / "usb_stick"
    place.mkdir()
    with Rig(map_path=str(place / "room.sab3r")) as rig:
        rig.mapped()
        place.rmdir()
        rig.node.close()
        kept = rig.hear("saved", "voxels").split(" to ")[-1]
    assert load_map(kept).snapshot.points.size
    shutil.rmtree(File(kept).parent)


def test_queries_that_cannot_be_answered_say_why():
    with Rig() as rig:
        early, _ = rig.call(Locate, "locate", query="box 2")
        assert not early.success and "map is empty" in early.message
        rig.mapped()
        for fields, word in (
            ({"query": ""}, "empty"),
            ({"query": "mug " * 2500}, "characters"),
            ({"query": "box 2", "min_score": float("nan")}, "score"),
            ({"query": "box 2", "min_score": -1.0}, "score"),
        ):
            answer, _ = rig.call(Locate, "locate", **fields)
            assert not answer.success and word in answer.message
        assert rig.call(Locate, "locate", query="box 2", max_objects=1)[0].success


def test_images_that_cannot_be_used_are_refused_with_a_reason():
    with Rig() as rig:
        rig.mapped()
        voxels, received = rig.status.points, rig.status.frames_received
        grey = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        truncated = image_message(grey, 201.0)
        truncated.data = truncated.data[:100]
        bad = [
            image_message(grey, 200.0, "yuv420_nv12_weird"),
            truncated,
            image_message(np.zeros((0, 0, 3), np.uint8), 202.0),
            image_message(np.zeros((8, 8, 3), np.uint8), 203.0),
            image_message(np.zeros((HEIGHT, WIDTH), np.uint16), 204.0, "16UC1"),
        ]
        for message in bad:
            rig.send(message)
        rig.wait(lambda: rig.status.frames_rejected == len(bad))
        rig.hear("yuv420_nv12_weird")
        for word in ("truncated", "0 × 0", "8 × 8", "depth"):
            rig.hear("image refused", word)
        assert rig.status.points == voxels and rig.status.frames_received == received + len(bad)
        assert rig.call(Locate, "locate", query="box 2")[0].success


def test_thirty_seconds_of_black_frames_leave_the_map_alone():
    with Rig() as rig:
        rig.mapped()
        voxels = rig.status.points
        black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for n in range(101):
            rig.send(image_message(black, 300.0 + 0.3 * n))
        rig.wait(lambda: rig.status.frames_received == 113 and not rig.status.frames_waiting)
        rig.hear("texture")
        assert sum("texture" in line for line in rig.said) == 1  # said once, not 101 times
        assert rig.status.points == voxels and "texture" in rig.status.message


def test_size_and_intrinsics_may_change():
    with Rig() as rig:
        infos = rig.peer.create_publisher(CameraInfo, "camera_info", SENSOR)
        rig.wait(infos.get_subscription_count)
        rig.mapped()
        keyframes = rig.status.keyframes
        for factor in (1.0, 1.4):
            k = K.copy()
            k[:2] *= factor
            infos.publish(CameraInfo(height=HEIGHT, width=WIDTH, k=k.ravel()))
            time.sleep(0.3)
        for n, T_WC in enumerate(way_back()):
            image = rig.world.image(T_WC).repeat(2, 0).repeat(2, 1)
            rig.send(image_message(image, 102.0 + 0.1 * n))
        rig.wait(lambda: rig.status.keyframes > keyframes)
        rig.hear("intrinsics changed", "154")
        rig.hear("image size changed", "256 × 192")


def test_the_lens_is_taken_out_of_images():
    """Raw images of a lens that bends are mapped as the pinhole sees them; what cannot be undone is said."""
    with Rig() as rig:
        infos = rig.peer.create_publisher(CameraInfo, "camera_info", SENSOR)
        rig.wait(infos.get_subscription_count)
        bent = {"height": HEIGHT, "width": WIDTH, "k": K.ravel(), "distortion_model": "plumb_bob"}
        infos.publish(CameraInfo(**bent, d=[-0.2, 0.05, 0.0, 0.0, 0.0]))
        rig.hear("camera_info", "plumb_bob lens, straightened")
        image = rig.world.image(walk(12, 0.4)[0])
        straight, matrix = rig.node.calibration.straightened(image)
        assert matrix[0, 2] == (WIDTH - 1) / 2 and (straight != image).any()
        infos.publish(CameraInfo(**{**bent, "distortion_model": "omni"}, d=[0.1, 0.1, 0.0, 0.0]))
        rig.hear("mapping without intrinsics", "'omni'")
        same, matrix = rig.node.calibration.straightened(image)
        assert matrix is None and same is image


def way_back():
    """Rig.walk's places in reverse."""
    return walk(12, 0.4)[::-1]


def test_a_looping_bag_keeps_the_map():
    with Rig() as rig:
        rig.mapped()
        voxels, keyframes = rig.status.points, rig.status.keyframes
        rig.walk()  # the same stamps and images again
        rig.wait(lambda: rig.status.frames_received == 24 and not rig.status.frames_waiting)
        rig.hear("jumped back")
        rig.wait(lambda: rig.status.keyframes > keyframes)  # recognised, and on it goes
        assert rig.status.points < 1.3 * voxels


def test_unstamped_images_get_their_time_of_arrival():
    with Rig() as rig:
        rig.send(image_message(rig.world.image(way_back()[0]), 0.0))
        rig.hear("no stamp")
        assert abs(rig.node.mapper._last_stamp - time.time()) < 5


def test_a_silent_camera_is_named_within_five_seconds():
    with Rig() as rig:
        rig.hear("sensor_msgs/msg/Image", "/image", "best effort", "waiting", timeout=5.0)
        other = rig.peer.create_publisher(CompressedImage, "front/image/compressed", SENSOR)
        rig.peer.destroy_publisher(rig.images)
        rig.node.intake._said.clear()
        rig.hear("/front/image/compressed (sensor_msgs/msg/CompressedImage)", timeout=5.0)
        assert other.get_subscription_count() == 0


def test_a_best_effort_camera_and_a_reliable_node_is_said():
    with Rig(connect=False, image_reliability="reliable") as rig:
        rig.hear("set parameter image_reliability to best_effort", timeout=5.0)


def test_a_topic_of_another_type_is_said():
    with Rig(connect=False) as rig:
        rig.peer.destroy_publisher(rig.images)
        elsewhere = Context()  # one DDS participant refuses two types on one topic
        rclpy.init(context=elsewhere)
        other = rclpy.create_node("other", context=elsewhere)
        other.create_publisher(CompressedImage, "image", SENSOR)
        rig.hear("/image", "its publisher sends sensor_msgs/msg/CompressedImage", timeout=15.0)
        other.destroy_node()
        rclpy.shutdown(context=elsewhere)


def test_compressed_images_are_mapped():
    with Rig(connect=False, compressed=True) as rig:
        pngs = rig.peer.create_publisher(CompressedImage, "image/compressed", SENSOR)
        rig.wait(pngs.get_subscription_count)
        for n, T_WC in enumerate(way_back()):
            raw = image_message(rig.world.image(T_WC), 100 + 0.1 * n)
            data = cv2.imencode(".png", rig.world.image(T_WC)[..., ::-1])[1].tobytes()
            pngs.publish(CompressedImage(header=raw.header, format="png", data=data))
            time.sleep(0.03)
        rig.wait(lambda: rig.status.keyframes >= 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"voxel_size_m": 0.05}, "mapper.voxel_size_m"),
        ({"mapper.window": 99}, "window"),
        ({"mapper.window": "four"}, "type int"),
        ({"image_reliability": "sure"}, "best_effort"),
    ],
)
def test_wrong_parameters_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Rig(**settings)


def test_an_integer_is_taken_for_a_float():
    with Rig(silence_s=3) as rig:
        assert rig.node.config.silence_s == 3.0
        assert isinstance(rig.node.get_parameter("silence_s").value, float)
        assert "seconds" in rig.node.describe_parameter("silence_s").description


def test_known_poses_from_odometry_and_tf_make_the_map_metric():
    """A body carries the camera: odometry says where the body is, /tf_static where the camera sits on it."""
    T_BC = np.eye(4)
    T_BC[:3, 3] = [0.2, 0.0, 0.1]
    with Rig(pose_frame="odom") as rig:
        poses = walk(12, turn=0.4)
        odometry = rig.peer.create_publisher(Odometry, "odometry", 50)
        static = rig.peer.create_publisher(TFMessage, "/tf_static", LATCHED)
        header = Header(frame_id="base", stamp=time_of(0.0))
        static.publish(TFMessage(transforms=[transform_of(T_BC, header, "camera_optical")]))
        rig.wait(lambda: odometry.get_subscription_count() and static.get_subscription_count())
        for n, T_OC in enumerate(poses):
            message = Odometry(
                header=Header(frame_id="odom", stamp=time_of(100 + 0.1 * n)), child_frame_id="base"
            )
            message.pose.pose = pose_of(T_OC @ np.linalg.inv(T_BC))
            odometry.publish(message)
        rig.wait(lambda: rig.node.known_poses.at("camera_optical", 101.1) is not None)
        rig.mapped()
        assert rig.status.scale_known
        tree = rig.node.known_poses
        assert tree.at("camera_optical", 150.0) is None and tree.at("elsewhere", 100.0) is None
        found = rig.node.mapper.trajectory()
        truth = np.stack([poses[round((t - 100) / 0.1)] for t in found.stamps])
        assert np.linalg.norm(found.T_WC[:, :3, 3] - truth[:, :3, 3], axis=1).max() < 0.05


def test_a_known_distance_scales_the_map():
    with Rig() as rig:
        rig.mapped()
        assert not rig.status.scale_known
        before = np.ptp(rig.node.mapper.snapshot().points, axis=0)
        refused, _ = rig.call(SetScale, "set_scale", metres=1.0)
        assert not refused.success and "two points apart" in refused.message
        done, _ = rig.call(SetScale, "set_scale", b=Point(x=1.0), metres=1.5)
        assert done.success and "1.5000" in done.message
        assert np.ptp(rig.node.mapper.snapshot().points, axis=0) == pytest.approx(1.5 * before, rel=0.05)
        rig.wait(lambda: rig.status.scale_known)
