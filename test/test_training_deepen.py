"""A deepened network says what it said, and learns with all its blocks."""

from dataclasses import replace

import pytest
import torch

from sab3r_ros.errors import ConfigError
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.training.deepen import deepened

SMALL = replace(SAB3RConfig.mini(), encoder_width=64, encoder_depth=2, encoder_heads=1)


@pytest.mark.parametrize("blocks", [2, 3, 4, 7])
def test_new_blocks_change_nothing_at_first(blocks):
    torch.manual_seed(0)
    model = SAB3R(SMALL).eval()
    image = torch.randn(1, 3, 64, 64)
    deeper = deepened(model, blocks).eval()
    assert len(deeper.enc_blocks) == blocks == deeper.config.encoder_depth and len(model.enc_blocks) == 2
    with torch.no_grad():
        for key, value in model.forward_raw(image).items():
            assert torch.equal(value, deeper.forward_raw(image)[key])


def test_new_blocks_learn_from_the_first_step_on():
    deeper = deepened(SAB3R(SMALL), 4).train()
    deeper.forward_raw(torch.randn(2, 3, 64, 64))["desc"].square().mean().backward()
    assert [float(b.mlp.fc2.weight.abs().sum()) > 0 for b in deeper.enc_blocks] == [True, False, True, False]
    assert all(float(b.mlp.fc2.weight.grad.abs().sum()) > 0 for b in deeper.enc_blocks)


def test_a_network_does_not_shrink():
    with pytest.raises(ConfigError, match="2 blocks, more than the 1"):
        deepened(SAB3R(SMALL), 1)
