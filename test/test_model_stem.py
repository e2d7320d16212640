"""The convolutional stem: padding as TensorFlow's, batch norms folded exactly."""

import pytest
import torch
import torch.nn.functional as F

from sab3r_ros.errors import CheckpointError
from sab3r_ros.model.stem import BATCH_NORM_EPS, Lite0Stem, SameConv, load_imagenet_stem


def test_stride_2_pads_below_and_right():
    conv = SameConv(1, 1, 3, stride=2)
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.bias.zero_()
        out = conv(torch.ones(1, 1, 4, 4))
    assert out.tolist() == [[[[9.0, 6.0], [6.0, 4.0]]]]


def test_taps_have_their_strides():
    with torch.inference_mode():
        taps = Lite0Stem()(torch.zeros(1, 3, 64, 96))
    assert {s: tuple(t.shape[1:]) for s, t in taps.items()} == {
        2: (16, 32, 48),
        4: (24, 16, 24),
        8: (40, 8, 12),
        16: (112, 4, 6),
        32: (320, 2, 3),
    }


def fake_imagenet(stem):
    """A state dict in the public naming with random batch norms."""
    state = {}
    for k, conv in enumerate(stem.convolutions()):
        state[f"_blocks.{k}._conv.weight"] = torch.randn_like(conv.weight) * 0.1
        n = conv.out_channels
        for name, value in (
            ("weight", torch.rand(n) + 0.5),
            ("bias", torch.randn(n)),
            ("running_mean", torch.randn(n)),
            ("running_var", torch.rand(n) + 0.5),
            ("num_batches_tracked", torch.tensor(7)),
        ):
            state[f"_blocks.{k}._bn.{name}"] = value
    return state | {"_conv_head.weight": torch.zeros(4, 320, 1, 1)}


def test_batch_norms_are_folded_exactly(tmp_path):
    torch.manual_seed(0)
    stem = Lite0Stem()
    state = fake_imagenet(stem)
    torch.save(state, tmp_path / "lite0.pth")
    load_imagenet_stem(stem, tmp_path / "lite0.pth")
    x = torch.rand(1, 3, 32, 32)
    layer = [v for k, v in state.items() if k.startswith("_blocks.0.")]
    plain = F.conv2d(F.pad(x, (0, 1, 0, 1)), layer[0], stride=2)
    expected = F.batch_norm(plain, layer[3], layer[4], layer[1], layer[2], eps=BATCH_NORM_EPS)
    with torch.no_grad():
        assert torch.allclose(stem.first(x), expected, atol=1e-5)


def test_another_network_is_refused(tmp_path):
    torch.save({"conv.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not an EfficientNet-lite0"):
        load_imagenet_stem(Lite0Stem(), tmp_path / "other.pth")
