"""Lenses: what a pinhole camera sees of a bent picture, and which calibrations are refused."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sab3r_ros.errors import ConfigError, ImageError
from sab3r_ros.geometry.lens import Lens, lens_of, read_lens

SIZE = (120, 160)
K = (100.0, 0.0, 82.0, 0.0, 101.0, 57.0, 0.0, 0.0, 1.0)
BARREL = (-0.3, 0.09, 0.001, -0.002)
CALIBRATION = """image_width: 160
image_height: 120
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [100, 0, 82, 0, 101, 57, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 4, data: [-0.3, 0.09, 0.001, -0.002]}
"""


def dots(pixels):
    """A dark picture with a soft dot at each pixel (u, v)."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    picture = sum(200 * np.exp(-((u - a) ** 2 + (v - b) ** 2) / 8) for a, b in pixels)
    return np.repeat(picture[..., None].clip(0, 255).astype(np.uint8), 3, 2)


def centre_of(picture, near):
    u, v = np.rint(near).astype(int)
    patch = picture[v - 6 : v + 7, u - 6 : u + 7, 0].astype(float)
    rows, columns = np.mgrid[v - 6 : v + 7, u - 6 : u + 7]
    return np.array([(columns * patch).sum(), (rows * patch).sum()]) / patch.sum()


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("plumb_bob", BARREL),
        ("plumb_bob", (0.23, -0.78, -0.003, 0.0, 0.9)),
        ("rational_polynomial", (-0.2, 0.05, 0.001, 0.001, 0.01, 0.05, 0.01, 0.0)),
        ("equidistant", (-0.02, 0.005, 0.0, 0.0)),
        ("equidistant", (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_a_straightened_picture_is_a_pinholes(model, distortion):
    lens = Lens(K, SIZE, model, distortion)
    X = np.array([[-0.35, -0.2, 1.0], [0.3, 0.25, 1.0], [0.0, 0.0, 1.0], [0.3, -0.3, 1.0]])
    if model == "equidistant":
        bent, _ = cv2.fisheye.projectPoints(
            X[:, None], np.zeros(3), np.zeros(3), lens.matrix(SIZE), np.array(distortion)
        )
    else:
        bent, _ = cv2.projectPoints(X, np.zeros(3), np.zeros(3), lens.matrix(SIZE), np.array(distortion))
    picture, new = lens.straightened(dots(bent.reshape(-1, 2)))
    assert picture.shape == (*SIZE, 3) and new[:2, 2] == pytest.approx([79.5, 59.5])
    straight = X[:, :2] * [new[0, 0], new[1, 1]] + new[:2, 2]
    assert lens.straightened_pixels(bent.reshape(-1, 2), SIZE) == pytest.approx(straight, abs=0.05)
    for uv in straight:
        assert centre_of(picture, uv) == pytest.approx(uv, abs=0.3)


def test_no_pixel_of_a_straightened_picture_is_empty():
    white = np.full((*SIZE, 3), 255, np.uint8)
    for distortion in (BARREL, (0.23, -0.78, -0.003, 0.0, 0.9)):
        picture, _ = Lens(K, SIZE, "plumb_bob", distortion).straightened(white)
        assert picture[1:-1, 1:-1].min() == 255


def test_a_pinholes_picture_is_left_alone():
    picture = dots([(30, 40)])
    for lens in (Lens(K), Lens(K, SIZE), Lens(K, SIZE, "", (0.0,) * 5)):
        same, matrix = lens.straightened(picture)
        assert same is picture and np.array_equal(matrix.ravel(), K)


def test_another_resolution_scales_and_another_aspect_is_refused():
    half = Lens(K, SIZE).matrix((60, 80))
    assert half[0, 0] == 50 and half[1, 1] == 50.5
    assert half[:2, 2] == pytest.approx([40.75, 28.25])  # (c + ½) / 2 − ½: pixel centres are integers
    with pytest.raises(ImageError, match="160 × 120 pixels, the images have 100 × 100"):
        Lens(K, SIZE).matrix((100, 100))
    bent, new = Lens(K, SIZE, "plumb_bob", BARREL).straightened(dots([(30, 40)])[::2, ::2])
    assert bent.shape == (60, 80, 3) and new[0, 2] == 39.5


@pytest.mark.parametrize(
    ("model", "distortion", "words"),
    [
        ("omni", (0.1, 0.1, 0.0, 0.0), "'omni'.*not known"),
        ("plumb_bob", (0.1, 0.1), "plumb_bob with 4 or 5"),
        ("plumb_bob", (np.nan, 0.1, 0.0, 0.0), "calibrate the camera again"),
    ],
)
def test_a_lens_that_cannot_be_undone_is_refused(model, distortion, words):
    with pytest.raises(ImageError, match=words):
        Lens(K, SIZE, model, distortion)


def test_a_distortion_that_no_pinhole_can_show_is_refused():
    with pytest.raises(ImageError, match="focal length of"):
        Lens(K, SIZE, "plumb_bob", (-3.0, 4.0, 0.0, 0.0)).straightened(dots([(30, 40)]))


def info(**changes):
    P = (90.0, 0, 80, 0, 0, 91.0, 60, 0, 0, 0, 1, 0)
    values = {"k": K, "d": BARREL, "p": P, "distortion_model": "plumb_bob", "height": 120, "width": 160}
    return SimpleNamespace(**{**values, **changes})


def test_camera_info_of_raw_and_of_rectified_images():
    assert lens_of(info()) == Lens(K, SIZE, "plumb_bob", BARREL)
    assert lens_of(info(), rectified=True) == Lens((90.0, 0, 80, 0, 91.0, 60, 0, 0, 1), SIZE)
    assert lens_of(info(p=(0.0,) * 12), rectified=True) == Lens(K, SIZE)  # nothing better is known
    assert lens_of(info(k=(0.0,) * 9)) is None
    first = SimpleNamespace(K=K, D=BARREL, P=info().p, distortion_model="plumb_bob", height=120, width=160)
    assert lens_of(first) == lens_of(info())  # ROS 1


def test_a_calibration_file(tmp_path):
    file = tmp_path / "front.yaml"
    file.write_text(CALIBRATION)
    assert read_lens(file) == Lens(K, SIZE, "plumb_bob", BARREL)
    for text in ("", "camera_matrix: 3", CALIBRATION.replace("image_width", "width"), "a: [1"):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"(?s)is no camera calibration.*camera_calibration"):
            read_lens(file)
    with pytest.raises(ConfigError, match="no camera calibration"):
        read_lens(tmp_path / "missing.yaml")
