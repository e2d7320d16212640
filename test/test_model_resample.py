"""Images for the public networks: the same grey levels as Pillow's, the same crop as the published loader's."""

import numpy as np
import pytest
from PIL import Image

from sab3r_ros.model.preprocess import fit
from sab3r_ros.model.resample import bicubic, lanczos, resize, weights


def picture(h, w, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((480, 640), (512, 384)),
        ((1080, 1920), (512, 288)),
        ((613, 517), (432, 512)),
        ((90, 120), (512, 384)),
        ((64, 64), (512, 512)),
    ],
)
def test_grey_levels_are_pillows(shape, size):
    image = picture(*shape)
    filter_ = Image.LANCZOS if max(shape) > 512 else Image.BICUBIC
    theirs = np.asarray(Image.fromarray(image).resize(size, filter_)).astype(int)
    apart = np.abs(resize(image, size).astype(int) - theirs)
    assert apart.max() <= 1 and (apart > 0).mean() < 0.01


def test_filters_by_hand():
    assert lanczos(np.array([0.0, 1, 2, 3])).round(12).tolist() == [1, 0, 0, 0]
    assert lanczos(np.array(0.5)) == pytest.approx(4 / np.pi * np.sin(np.pi / 6) * 3 / np.pi)
    assert bicubic(np.array([0.0, 0.5, 1, 1.5, 2])).tolist() == [1, 0.5625, 0, -0.0625, 0]
    assert np.allclose(weights(100, 37, lanczos).sum(1), 1)


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (600, 600), (333, 517), (100, 399)])
def test_the_crop_is_the_published_loaders(shape):
    """Long side to 512, then the centre, halves in multiples of 8, a square to 4:3: written as the published code words it."""
    image = picture(*shape)
    scale = 512 / max(shape)
    w, h = round(shape[1] * scale), round(shape[0] * scale)
    whole = np.asarray(Image.fromarray(image).resize((w, h), Image.LANCZOS if scale < 1 else Image.BICUBIC))
    cx, cy = w // 2, h // 2
    half_w, half_h = 2 * cx // 16 * 8, 2 * cy // 16 * 8
    if w == h:
        half_h = 3 * half_w // 4
    theirs = whole[cy - half_h : cy + half_h, cx - half_w : cx + half_w].astype(int)
    ours, _ = fit(image, None, 512, 16, as_published=True)
    assert ours.shape == theirs.shape and np.abs(ours.astype(int) - theirs).max() <= 1
