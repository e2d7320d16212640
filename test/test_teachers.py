"""Teachers with random weights against brute force."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_heads import small_heads  # noqa: F401

from sab3r_ros.errors import CheckpointError
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.clip import ClipConfig, VisionTower
from sab3r_ros.model.feature_model import load_model
from sab3r_ros.model.network_model import TwoViewModel
from sab3r_ros.model.two_models import TwoModelPipeline
from sab3r_ros.teachers import normalise
from sab3r_ros.teachers.dinov2 import DinoV2
from sab3r_ros.teachers.featup import JbuStack, JointBilateral, load_jbu
from sab3r_ros.teachers.maskclip import MaskClip, UpsampledMaskClip

SMALL = ClipConfig(image_size=64, patch=16, vision_width=32, vision_layers=2, dim=16, head_dim=16)


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return VisionTower(SMALL).eval()


def test_normalisation_is_imagenets():
    grey = normalise(torch.zeros(1, 3, 1, 1))  # 0 is mid-grey
    assert torch.allclose(grey[0, 0, 0, 0], torch.tensor((0.5 - 0.485) / 0.229))


@torch.inference_mode()
def test_maskclip_is_clip_whose_last_block_attends_to_itself_alone(tower):
    image = torch.randn(1, 3, 32, 64)
    dense = MaskClip(tower)(image)
    assert dense.shape == (1, 16, 2, 4)
    first, last = tower.transformer.resblocks
    x = last.ln_1(first(tower.tokens(image), causal=False))
    v = F.linear(x, last.attn.in_proj_weight, last.attn.in_proj_bias)[..., 64:]  # of (q, k, v), 32 each
    expected = tower.ln_post(last.attn.out_proj(v)) @ tower.proj
    assert torch.allclose(dense[0, :, 1, 2], expected[0, 1 + 4 + 2], atol=1e-6)  # token 0 is the class


@torch.inference_mode()
def test_positions_of_the_training_size_are_used_as_they_are(tower):
    tokens = tower.tokens(torch.zeros(1, 3, 64, 64))
    expected = torch.cat([tower.class_embedding[None], torch.zeros(16, 32)]) + tower.positional_embedding
    assert torch.allclose(tokens[0], tower.ln_pre(expected), atol=1e-6)


def brute_jbu(up, features, guidance):
    """Every pixel and tap by loops."""
    smooth = F.interpolate(features, size=guidance.shape[-2:], mode="bicubic", align_corners=False)
    keys = up.range_proj(guidance)
    H, W = smooth.shape[-2:]
    mirror = lambda i, n: -i if i < 0 else (2 * (n - 1) - i if i >= n else i)  # noqa: E731
    out = torch.zeros_like(smooth)
    for r in range(H):
        for c in range(W):
            near = [(mirror(r + i, H), mirror(c + j, W)) for i in range(-3, 4) for j in range(-3, 4)]
            logits = torch.stack([keys[0, :, y, x] @ keys[0, :, r, c] for y, x in near])
            alike = (up.range_temp.exp() * logits).softmax(0)
            place = torch.tensor([(i / 3) ** 2 + (j / 3) ** 2 for i in range(-3, 4) for j in range(-3, 4)])
            weight = alike * (-place / (2 * up.sigma_spatial**2)).exp()
            weight = weight / weight.sum()
            stacked = torch.cat([weight, guidance[0, :, r, c]])[None, :, None, None]
            weight = weight + 0.1 * up.fixup_proj(stacked).flatten()
            out[0, :, r, c] = sum(w * smooth[0, :, y, x] for w, (y, x) in zip(weight, near, strict=True))
    return out


@torch.inference_mode()
def test_the_joint_bilateral_filter_equals_loops():
    torch.manual_seed(0)
    up = JointBilateral().eval()
    up.range_temp.fill_(0.7)
    up.sigma_spatial.fill_(0.6)
    features, guidance = torch.randn(1, 5, 3, 4), torch.randn(1, 3, 6, 8)
    assert torch.allclose(up(features, guidance), brute_jbu(up, features, guidance), atol=1e-5)


@torch.inference_mode()
def test_the_filter_keeps_edges_that_the_image_has():
    """Left half dark, right half bright, features likewise: after ×2 the edge is where the image has it."""
    up = JointBilateral().eval()
    for p in up.parameters():
        p.zero_()
    up.sigma_spatial.fill_(1.0)
    up.range_temp.fill_(3.0)
    up.range_proj[0].weight[0, 0], up.range_proj[3].weight[0, 0] = 1.0, 5.0
    features = torch.tensor([0.0, 0, 1, 1]).expand(1, 1, 4, 4).contiguous()
    guidance = torch.where(torch.arange(8) < 4, -1.0, 1.0).expand(1, 3, 8, 8).contiguous()
    blurred = F.interpolate(features, scale_factor=2, mode="bicubic", align_corners=False)
    sharp, edgeless = up(features, guidance), up(features, torch.zeros_like(guidance))
    step = {
        k: float(x[0, 0, 4, 4] - x[0, 0, 4, 3])
        for k, x in (("guided", sharp), ("not", edgeless), ("in", blurred))
    }
    assert step["guided"] > 0.7 > step["in"] > step["not"], step


@torch.inference_mode()
def test_the_stack_doubles_as_often_as_asked():
    stack = JbuStack(8).eval()
    features, image = torch.randn(1, 8, 2, 3), torch.randn(1, 3, 32, 48)
    assert stack(features, image).shape == (1, 8, 32, 48)
    assert stack(features, image, doublings=2).shape == (1, 8, 8, 12)
    assert torch.equal(stack(features, image, 2), stack(features, image, 2))  # no dropout


def test_an_upsampler_comes_from_a_featup_file(tmp_path):
    stack = JbuStack(8)
    state = {f"upsampler.{k}": v for k, v in stack.state_dict().items()} | {"downsampler.x": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "jbu.ckpt")
    again = load_jbu(tmp_path / "jbu.ckpt", 8)
    assert not again.training
    assert torch.equal(again.up3.range_proj[0].weight, stack.up3.range_proj[0].weight)
    with pytest.raises(CheckpointError, match="9 channels"):
        load_jbu(tmp_path / "jbu.ckpt", 9)
    (tmp_path / "bad.ckpt").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="refused or unreadable"):
        load_jbu(tmp_path / "bad.ckpt", 8)


@torch.inference_mode()
def test_dinov2_has_a_token_for_each_patch_of_the_network():
    model = DinoV2(width=32, layers=2, heads=2, grid=4).eval()
    assert model(torch.randn(2, 3, 64, 96)).shape == (2, 32, 4, 6)
    with torch.device("meta"):
        state = DinoV2().state_dict()
    assert tuple(state["pos_embed"].shape) == (1, 1370, 384)
    assert tuple(state["blocks.11.ls2.gamma"].shape) == (384,)
    assert sum(v.numel() for v in state.values()) == 22_056_576 - 384  # as published, without the mask token


def test_two_models_behind_one_seam(tower):
    config = SAB3RConfig(
        encoder_width=64, encoder_depth=1, encoder_heads=1, decoder_width=64, decoder_depth=4, decoder_heads=1
    )
    torch.manual_seed(1)
    geometry = TwoViewModel(SAB3R(config), "mast3r-1", torch.device("cpu"), torch.float32, long_side=64)
    runs = []
    semantics = UpsampledMaskClip(MaskClip(tower), JbuStack(16)).eval()
    model = TwoModelPipeline(geometry, lambda image: runs.append(1) or semantics(image), dim=16)
    rng = np.random.default_rng(0)
    a, b = (model.encode(model.prepare(rng.integers(0, 255, (48, 64, 3), np.uint8))[0]) for _ in range(2))
    first, second = model.decode(a, b)
    assert len(runs) == 2  # once a keyframe
    for view in (first, second):
        assert (
            view.points.shape == (48, 64, 3)
            and view.size == (48, 64)
            and view.descriptors.shape == (24, 32, 24)
        )
        assert view.features.shape == (12, 16, 16)
        vectors = view.features.astype(np.float32) @ model.feature_basis.T
        assert np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=2e-3)
    assert model.language == "openclip-vit-b-16-openai" and model.identity == "mast3r-1+maskclip"


def test_missing_weights_of_the_pipeline_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match="sab3r weights fetch featup"):
        load_model("mast3r+maskclip")
