"""FeatureModels: what maps see of a network, whichever it is."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_heads import small_heads  # noqa: F401

from sab3r_ros.errors import ImageError
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.feature_model import load_model
from sab3r_ros.model.network_model import MonocularModel, TwoViewModel
from sab3r_ros.model.preprocess import fit

CPU = torch.device("cpu")
HALF = 0.5 + 1e-9  # a pixel, and rounding
TINY = SAB3RConfig(
    encoder_width=64,
    encoder_depth=3,
    encoder_heads=1,
    decoder_width=64,
    decoder_depth=4,
    decoder_heads=1,
    features=(("clip", 32), ("dino", 16)),
    desc_conf_mode="1+exp",
)


def picture(h, w, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (h, w, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def mini():
    torch.manual_seed(0)
    return MonocularModel(SAB3R(SAB3RConfig.mini()), "mini-test", CPU)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SAB3R(TINY).eval()


@pytest.fixture(scope="module")
def two_view(network):
    return TwoViewModel(network, "tiny", CPU, torch.float32, long_side=64)


def test_mini_gives_whole_views_in_their_own_frames(mini):
    image, K = mini.prepare(picture(480, 640), np.array([[500, 0, 319.5], [0, 500, 239.5], [0, 0, 1.0]]))
    assert image.shape == (192, 256, 3)
    assert np.allclose(K, [[200, 0, 127.5], [0, 200, 95.5], [0, 0, 1]])
    encoding = mini.encode(image)
    view, other = mini.decode(encoding, encoding)
    assert view is other and mini.monocular and mini.language == "minilm-l6-v2"
    assert (
        view.points.shape == (192, 256, 3) and view.confidence.shape == (192, 256) and view.size == (192, 256)
    )
    assert view.descriptors.shape == (96, 128, 24) and view.descriptor_confidence.shape == (96, 128)
    assert view.features.shape == (48, 64, 65) and view.features.dtype == np.float16
    assert view.confidence.min() >= 1 and view.descriptor_confidence.min() > 0
    assert np.allclose(np.linalg.norm(view.descriptors, axis=-1), 1, atol=1e-4)


@pytest.mark.parametrize("name", ["mini", "two_view"])
def test_stored_features_speak_unit_language_vectors(name, request):
    model = request.getfixturevalue(name)
    encoding = model.encode(model.prepare(picture(96, 128))[0])
    view, _ = model.decode(encoding, encoding)
    vectors = view.features.astype(np.float32) @ model.feature_basis.T
    assert np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=2e-3)  # float16


def test_features_point_where_the_network_says(mini):
    image = mini.prepare(picture(96, 128))[0]
    features = mini.encode(image).view.features.astype(np.float32) @ mini.feature_basis.T
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        raw = mini.network.forward_raw(tensor)["language_input"]
        said = mini.network.language_linear(raw.permute(0, 2, 3, 1))[0]
    cosine = torch.nn.functional.cosine_similarity(said, torch.from_numpy(features), dim=-1)
    assert cosine.min() > 0.9999


def test_two_views_equal_the_network(two_view, network):
    a, b = (two_view.prepare(picture(48, 64, seed))[0] for seed in (1, 2))
    first, second = two_view.decode(two_view.encode(a), two_view.encode(b))
    with torch.inference_mode():
        tensors = [torch.from_numpy(x).permute(2, 0, 1)[None].float() / 127.5 - 1 for x in (a, b)]
        truth = network(*tensors)
    for view, maps in zip((first, second), truth, strict=True):
        assert np.allclose(view.points, maps["pts3d"][0].numpy(), atol=1e-5)
        assert np.allclose(view.confidence, maps["conf"][0].numpy(), atol=1e-5)
        every_second = (0, slice(None, None, 2), slice(None, None, 2))
        assert np.allclose(view.descriptors, maps["desc"][every_second].numpy(), atol=1e-5)
        assert np.allclose(view.descriptor_confidence, maps["desc_conf"][every_second].numpy(), atol=1e-5)
        assert view.size == (48, 64)
    assert second.features is None
    language = torch.nn.functional.avg_pool2d(truth[0]["clip"].permute(0, 3, 1, 2), 4)[0].permute(1, 2, 0)
    stored = torch.from_numpy(first.features.astype(np.float32) @ two_view.feature_basis.T)
    assert torch.nn.functional.cosine_similarity(stored, language, dim=-1).median() > 0.999


def test_a_head_runs_when_its_map_is_read_and_only_once(two_view, monkeypatch):
    encoding = two_view.encode(two_view.prepare(picture(48, 64, 3))[0])
    calls = []
    for name in ("geometry", "descriptors"):
        plain = getattr(two_view.network, name)
        monkeypatch.setattr(
            two_view.network,
            name,
            lambda *a, p=plain, n=name, **k: calls.append(n) or p(*a, **k),
            raising=False,
        )
    view, _ = two_view.decode(encoding, encoding)
    assert calls == [] and view.size == (48, 64)
    _ = view.descriptors, view.descriptor_confidence, view.points, view.confidence
    assert calls == ["descriptors", "geometry"]
    assert two_view.decode(encoding, encoding)[0] is view  # the last pairs are remembered


def test_mini_says_the_same_in_bfloat16():
    image = picture(24, 32).repeat(4, 0).repeat(4, 1)  # plain noise is all edges
    network, exact = load_model("mini").network, None
    for precision in (torch.float32, torch.bfloat16):
        model = MonocularModel(network, "mini", CPU, precision)
        encoded, turned = model.encode(image), model.encode(image[::-1].copy())
        views = encoded.view, model.decode(encoded, turned)[0]
        for view in views:
            assert (
                view.points.dtype == view.descriptors.dtype == view.descriptor_confidence.dtype == np.float32
            )
        exact, rounded = exact or views, views
    assert encoded.tokens.dtype == torch.float32
    depth = rounded[0].points[..., 2] / exact[0].points[..., 2] - 1
    assert 1e-5 < np.median(np.abs(depth)) < 0.01
    for fast, slow in zip(rounded, exact, strict=True):
        assert np.median((fast.descriptors * slow.descriptors).sum(-1)) > 0.99


def test_bfloat16_keeps_what_rounding_would_show(network):
    import copy

    half = TwoViewModel(copy.deepcopy(network), "tiny", CPU, torch.bfloat16, long_side=64)
    kinds = {name: p.dtype for name, p in half.network.named_parameters()}
    assert kinds["enc_blocks.0.mlp.fc1.weight"] == torch.float32  # the first third
    assert kinds["enc_blocks.1.mlp.fc1.weight"] == torch.bfloat16
    assert kinds["downstream_head1.clip_head.head.0.weight"] == torch.bfloat16
    assert kinds["enc_norm.weight"] == kinds["downstream_head1.dpt.head.0.weight"] == torch.float32
    encoding = half.encode(half.prepare(picture(48, 64))[0])
    view, _ = half.decode(encoding, encoding)
    assert view.points.dtype == view.descriptors.dtype == np.float32 and np.isfinite(view.points).all()


@pytest.mark.parametrize(
    ("shape", "size"),
    [((480, 640), (384, 512)), ((640, 480), (512, 384)), ((600, 600), (384, 512)), ((270, 480), (288, 512))],
)
def test_images_are_scaled_and_cropped_as_the_public_network_wants(shape, size):
    image, K = fit(picture(*shape), np.diag([1.0, 1.0, 1.0]), 512, 16, as_published=True)
    assert image.shape[:2] == size
    assert np.isclose(K[0, 0], 512 / max(shape))


def test_a_pixel_and_its_intrinsics_move_together():
    """A bright pixel's ray is the same before and after."""
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:44, 150:154] = 255  # centre (151.5, 41.5)
    K = np.array([[180.0, 0, 99.5], [0, 180.0, 49.5], [0, 0, 1]])
    small, K_small = fit(image, K, 100, 16, as_published=False)
    v, u = (
        float(np.average(np.arange(n), weights=small[..., 0].sum(axis)))
        for n, axis in ((small.shape[0], 1), (small.shape[1], 0))
    )
    ray = np.linalg.solve(K_small, [u, v, 1])
    assert np.allclose(ray, np.linalg.solve(K, [151.5, 41.5, 1]), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(48, 700), st.integers(48, 700), st.sampled_from([(256, 32), (512, 16)]))
def test_any_image_fits_and_keeps_its_principal_ray(h, w, network_size):
    """Sides are whole patches, no longer than asked; the image's centre stays the centre."""
    assume(max(h, w) <= 4 * min(h, w))
    long_side, multiple = network_size
    centre = np.array([[float(max(h, w)), 0, (w - 1) / 2], [0, float(max(h, w)), (h - 1) / 2], [0, 0, 1]])
    image, K = fit(np.zeros((h, w, 3), np.uint8), centre, long_side, multiple, as_published=True)
    assert image.shape[0] % multiple == image.shape[1] % multiple == 0
    assert max(image.shape) <= long_side and min(image.shape[:2]) >= multiple
    assert abs(K[0, 2] - (image.shape[1] - 1) / 2) <= HALF and abs(K[1, 2] - (image.shape[0] - 1) / 2) <= HALF
    assert abs(K[0, 0] / long_side - 1) < 0.02 and abs(K[1, 1] / long_side - 1) < 0.02


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((480, 640), np.uint8),
        np.zeros((480, 640, 3)),
        np.zeros((8, 640, 3), np.uint8),
        np.zeros((20, 640, 3), np.uint8),
        None,
    ],
)
def test_unusable_images_are_refused(mini, image):
    with pytest.raises(ImageError):
        mini.prepare(image)
