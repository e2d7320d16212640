"""The node's parts alone: image encodings, rates, worker, parameters, clouds."""

import array
import sys
import time
from dataclasses import fields

import cv2
import numpy as np
import pytest
import yaml
from ros_rig import image_message
from sensor_msgs.msg import CompressedImage
from test_package import ROOT

from sab3r_ros.errors import ImageError
from sab3r_ros.ros import conversions
from sab3r_ros.ros.images import rgb_of
from sab3r_ros.ros.params import GROUPS, descriptor
from sab3r_ros.ros.rates import WINDOW, RateWatch
from sab3r_ros.ros.worker import Worker
from sab3r_ros.types import LocatedObject, MapSnapshot, Trajectory

sys.path.insert(0, str(ROOT / "tools"))
import parameter_file

# Four colours, each a square of 8 × 8 pixels: red, green / blue, white.
COLORS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
PICTURE = COLORS.repeat(8, 0).repeat(8, 1)


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", PICTURE),
        ("bgr8", PICTURE[..., ::-1]),
        ("8UC3", PICTURE[..., ::-1]),
        ("rgba8", np.dstack([PICTURE, PICTURE[..., :1]])),
        ("bgra8", np.dstack([PICTURE[..., ::-1], PICTURE[..., :1]])),
        ("rgb16", PICTURE.astype(np.uint16) * 257),
        ("bgr16", PICTURE[..., ::-1].astype(np.uint16) * 257),
    ],
)
def test_colour_encodings(encoding, pixels):
    assert (rgb_of(image_message(pixels, 0.0, encoding)) == PICTURE).all()


@pytest.mark.parametrize("big", [False, True])
def test_sixteen_bits_of_either_endianness(big):
    grey = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    message = image_message(grey.astype(">u2" if big else "<u2"), 0.0, "mono16")
    message.is_bigendian = int(big)
    assert (rgb_of(message)[..., 0] == grey >> 8).all()


def test_rows_may_be_padded():
    message = image_message(PICTURE, 0.0)
    padded = np.zeros((16, 64), np.uint8)
    padded[:, :48] = PICTURE.reshape(16, 48)
    message.step, message.data = 64, array.array("B", padded.tobytes())
    assert (rgb_of(message) == PICTURE).all()


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns(pattern):
    channel = {"r": 0, "g": 1, "b": 2}
    mosaic = np.zeros((16, 16), np.uint8)
    for n, letter in enumerate(pattern):
        row, column = divmod(n, 2)
        mosaic[row::2, column::2] = PICTURE[row::2, column::2, channel[letter]]
    rgb = rgb_of(image_message(mosaic, 0.0, f"bayer_{pattern}8"))
    for y, x in ((4, 4), (4, 12), (12, 4), (12, 12)):  # away from the squares' borders
        assert (rgb[y, x] == PICTURE[y, x]).all()


@pytest.mark.parametrize(("encoding", "order"), [("yuv422", "uyvy"), ("yuv422_yuy2", "yuyv")])
def test_yuv(encoding, order):
    y, u, v = 81, 90, 240  # pure red in BT.601
    parts = {"y": y, "u": u, "v": v}
    packed = np.tile(np.array([parts[c] for c in order], np.uint8), (8, 4)).reshape(8, 8, 2)
    rgb = rgb_of(image_message(packed, 0.0, encoding)).astype(int)
    assert np.abs(rgb - [255, 0, 0]).max() < 6


def test_compressed_images():
    data = cv2.imencode(".png", PICTURE[..., ::-1])[1].tobytes()
    assert (rgb_of(CompressedImage(format="png", data=data)) == PICTURE).all()
    for broken in (b"", b"not an image", data[:40]):
        with pytest.raises(ImageError, match="cannot be decoded"):
            rgb_of(CompressedImage(format="png", data=broken))


def test_steady_images_give_no_complaint():
    watch = RateWatch()
    assert all(watch.add(0.1 * n + 0.02 * (n % 3), 0.1 * n) is None for n in range(5 * WINDOW))


def test_late_images_are_named():
    watch = RateWatch()
    said = [watch.add(0.5 * n, 0.1 * n) for n in range(WINDOW)]
    assert "took 9.5 s" in said[-1] and not any(said[:-1])


def test_lost_images_are_named():
    watch = RateWatch()
    stamps = [n / 30 for n in range(100) if n % 5 < 2]  # two of five arrive
    said = [watch.add(t, t) for t in stamps[:WINDOW]]
    assert "lost on the way" in said[-1] and "33 ms" in said[-1]


def test_a_transport_that_loses_nearly_all_is_named_before_a_window_has_arrived():
    watch = RateWatch()
    assert watch.add(0.0, 0.0) is None
    said = [watch.lose(1) for _ in range(6)]
    assert not any(said[:4]) and said[4] == "of 6 images 5 were lost on the way"


def test_a_few_lost_images_are_no_cause_for_complaint():
    watch = RateWatch()
    for n in range(10 * WINDOW):
        assert watch.add(0.1 * n, 0.1 * n) is None
        assert n % 4 or watch.lose(1) is None


def test_a_looping_bag_is_no_loss():
    watch = RateWatch()
    assert all(watch.add(0.1 * n, 0.1 * (n % 15)) is None for n in range(100))


def test_the_worker_drops_the_oldest_and_survives_errors():
    done, gate = [], []

    def work(item):
        while not gate:
            time.sleep(0.005)
        if item == 4:
            raise ValueError("an unlucky item")
        done.append(item)

    worker = Worker(work, 3, lambda: done.append("idle"), 0.05)
    worker.put(0)
    time.sleep(0.05)  # now in hand
    for item in range(1, 7):
        worker.put(item)
    assert worker.dropped == 3 and worker.waiting == 4
    gate.append(True)
    deadline = time.monotonic() + 5
    while "idle" not in done and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.15)
    assert done == [0, 5, 6, "idle"]  # 1 to 3 dropped, 4 failed, idle once
    worker.stop()
    assert worker.join(2.0)


def test_a_cloud_packs_colours_as_rviz_reads_them():
    header = conversions.Header(frame_id="map")
    cloud = conversions.cloud(
        header, np.array([[1.0, 2, 3]]), np.array([[255, 128, 1]], np.uint8), np.array([0.5])
    )
    assert cloud.point_step == 20 and cloud.width == 1
    assert np.frombuffer(cloud.data, np.float32)[[0, 1, 2, 4]].tolist() == [1, 2, 3, 0.5]
    assert np.frombuffer(cloud.data, np.uint32)[3] == 0xFF8001


def test_no_object_gives_an_empty_cloud_and_clears_the_markers():
    empty = MapSnapshot.of_arrays(
        *(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros((0, 4), np.float16)),
        *(np.zeros(0, np.float32), np.zeros(0, np.int32), 0.02),
        *(Trajectory(np.zeros(0), np.zeros((0, 4, 4))), "none", 0),
    )
    header = conversions.Header(frame_id="map")
    assert conversions.located_cloud([], empty, header).width == 0
    assert len(conversions.markers([], header).markers) == 1


def test_boxes_keep_their_turn():
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    box = LocatedObject(
        "mug", 0.9, np.zeros(3), np.array([1.0, 2, 3]), quarter, np.array([0.1, 0.2, 0.3]), np.arange(2)
    )
    marker = conversions.markers([box], conversions.Header()).markers[1]
    assert np.allclose([marker.pose.orientation.z, marker.pose.orientation.w], np.sqrt(0.5))
    assert marker.scale.y == 0.2 and marker.pose.position.z == 3.0


@pytest.mark.parametrize("stamp", [0.0, 1311868169.163498, 1e9 + 0.999999999, -0.25])
def test_stamps_survive(stamp):
    assert conversions.seconds(conversions.time_of(stamp)) == pytest.approx(stamp, abs=1e-6)


def test_the_parameter_file_says_what_the_code_does():
    written = (ROOT / "config" / "mapper.yaml").read_text()
    assert written == parameter_file.text(), "run: python -m tools.parameter_file > config/mapper.yaml"
    given = yaml.safe_load(written)["/**"]["ros__parameters"]
    for prefix, kind in GROUPS.items():
        group = given[prefix] if prefix else given
        assert all(
            group[f.name] == f.default and type(group[f.name]) is type(f.default) for f in fields(kind)
        )


def test_every_parameter_has_a_description_and_numbers_a_range():
    for kind in GROUPS.values():
        for field in fields(kind):
            described = descriptor(field)
            assert len(described.description) > 10
            if type(field.default) in (int, float):
                assert described.integer_range or described.floating_point_range, field.name
