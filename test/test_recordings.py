"""Frames from folders, videos and bags that the tests write."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sab3r_ros.errors import ImageError
from sab3r_ros.geometry.lens import Lens
from sab3r_ros.recordings import natural_key, open_recording

RED = np.zeros((48, 64, 3), np.uint8)
RED[..., 0] = 200


def test_images_in_natural_order(tmp_path):
    for k in (10, 9, 1):
        image = RED.copy()
        image[..., 1] = 5 * k
        cv2.imwrite(str(tmp_path / f"view{k}.png"), image[..., ::-1])
    recording = open_recording(tmp_path, rate_hz=2.0)
    frames = list(recording.frames())
    assert [int(f.image[0, 0, 1]) for f in frames] == [5, 45, 50]
    assert [f.stamp for f in frames] == [0.0, 0.5, 1.0] and recording.length == 3
    assert frames[0].image[0, 0, 0] == 200 and frames[0].K is None


def test_names_that_are_times_give_the_stamps(tmp_path):
    for stamp in ("1311868164.363181", "1311868164.463128"):
        cv2.imwrite(str(tmp_path / f"{stamp}.png"), RED)
    assert [f.stamp for f in open_recording(tmp_path).frames()] == [1311868164.363181, 1311868164.463128]


def test_a_broken_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"a\.png cannot be read"):
        list(open_recording(tmp_path).frames())


def test_natural_keys_compare():
    from pathlib import Path

    names = ["b.png", "2.png", "a10b2.png", "a9.png", "10.png"]
    assert [p.name for p in sorted(map(Path, names), key=natural_key)] == [
        "2.png",
        "10.png",
        "a9.png",
        "a10b2.png",
        "b.png",
    ]


def test_a_video(tmp_path):
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (64, 48))
    for _ in range(5):
        writer.write(RED[..., ::-1])
    writer.release()
    frames = list(open_recording(path).frames())
    assert len(frames) == 5 and frames[2].stamp == pytest.approx(0.1)
    assert abs(int(frames[0].image[20, 20, 0]) - 200) < 12 and frames[0].image[20, 20, 2] < 12


def write_bag(path, storage, topics=("/camera/image_raw",), encoding="bgr8", data=None, d=()):
    pytest.importorskip("rosbags")
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    t = store.types

    def header(k):
        stamp = t["builtin_interfaces/msg/Time"](sec=10, nanosec=k * 100_000_000)
        return t["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")

    pixels = RED[..., ::-1].ravel() if data is None else data
    roi = t["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    k_matrix = np.array([50.0, 0, 32, 0, 50, 24, 0, 0, 1])
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage]) as writer:
        info = writer.add_connection("/camera/camera_info", "sensor_msgs/msg/CameraInfo", typestore=store)
        images = [writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=store) for topic in topics]
        for k in range(3):
            camera = t["sensor_msgs/msg/CameraInfo"](
                header(k),
                48,
                64,
                "plumb_bob",
                np.array(d),
                k_matrix,
                np.eye(3).ravel(),
                np.zeros(12),
                1,
                1,
                roi,
            )
            writer.write(info, k * 10**8, store.serialize_cdr(camera, "sensor_msgs/msg/CameraInfo"))
            for connection in images:
                image = t["sensor_msgs/msg/Image"](header(k), 48, 64, encoding, 0, 192, pixels)
                writer.write(connection, k * 10**8 + 1, store.serialize_cdr(image, "sensor_msgs/msg/Image"))


@pytest.mark.parametrize("storage", ["SQLITE3", "MCAP"])
def test_a_bag_with_its_intrinsics(tmp_path, storage):
    write_bag(tmp_path / "bag", storage)
    frames = list(open_recording(tmp_path / "bag").frames())
    assert [f.stamp for f in frames] == pytest.approx([10.0, 10.1, 10.2])
    assert np.array_equal(frames[0].image, RED) and frames[0].K[0, 0] == 50


def test_a_bags_lens_is_taken_out_of_its_images(tmp_path):
    d = np.array([-0.3, 0.1, 0.0, 0.0, 0.0])
    lens = Lens((50.0, 0, 32, 0, 50, 24, 0, 0, 1), (48, 64), "plumb_bob", tuple(d))
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (48, 64, 3), np.uint8)
    write_bag(tmp_path / "raw", "SQLITE3", data=picture.ravel(), encoding="rgb8", d=d)
    frame = next(open_recording(tmp_path / "raw").frames())
    straight, K = lens.straightened(picture)
    assert np.array_equal(frame.image, straight) and np.array_equal(frame.K, K)
    write_bag(
        tmp_path / "rect", "SQLITE3", ("/camera/image_rect",), data=picture.ravel(), encoding="rgb8", d=d
    )
    frame = next(open_recording(tmp_path / "rect").frames())
    assert np.array_equal(frame.image, picture) and frame.K[0, 2] == 32


def test_bags_that_need_a_word(tmp_path):
    write_bag(tmp_path / "two", "SQLITE3", ("/left/image_raw", "/right/image_raw"))
    with pytest.raises(ImageError, match=r"several image topics.*--topic.*/left/image_raw"):
        open_recording(tmp_path / "two")
    assert open_recording(tmp_path / "two", topic="/left/image_raw").length == 3
    with pytest.raises(ImageError, match="no image topic /middle"):
        open_recording(tmp_path / "two", topic="/middle")
    write_bag(tmp_path / "none", "SQLITE3", ())
    with pytest.raises(ImageError, match="holds no image topic"):
        open_recording(tmp_path / "none")
    write_bag(tmp_path / "depth", "SQLITE3", encoding="32FC1")
    with pytest.raises(ImageError, match="encoding '32FC1'"):
        list(open_recording(tmp_path / "depth").frames())
    write_bag(tmp_path / "short", "SQLITE3", data=np.zeros(10, np.uint8))
    with pytest.raises(ImageError, match="truncated"):
        list(open_recording(tmp_path / "short").frames())
    (tmp_path / "broken.mcap").write_bytes(b"no bag")
    with pytest.raises(ImageError, match="no bag that can be read"):
        open_recording(tmp_path / "broken.mcap")


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, -1), (3, 2), (8, 1)])
def test_photos_are_upright_whatever_exif_says(tmp_path, orientation, turns):
    """A phone stores portrait lying down and says so in EXIF."""
    from PIL import Image

    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:24, :32] = 255  # bright top left, as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    (frame,) = open_recording(tmp_path).frames()
    upright = np.rot90(stored, turns)
    assert frame.image.shape == upright.shape
    assert np.abs(frame.image.astype(int) - upright).mean() < 3
