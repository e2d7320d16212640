"""More parts for a trained network, which says the same until the new ones have learnt something."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from sab3r_ros.errors import ConfigError
from sab3r_ros.model.cross_view import CrossView
from sab3r_ros.model.sab3r import SAB3R


def deepened(model: SAB3R, blocks: int) -> SAB3R:
    """The same function with `blocks` encoder blocks, for training to go on from.

    The new blocks stand evenly between the old ones, each a copy of the one before it whose last layers are zero: the
    residual stream passes unchanged, and the first step already moves them. Raises ConfigError if the model has more
    blocks than that.
    """
    old = len(model.enc_blocks)
    if blocks < old:
        raise ConfigError(
            f"the checkpoint has {old} blocks, more than the {blocks} asked for: a network only grows"
        )
    deeper = copy.deepcopy(model)
    deeper.config = replace(model.config, encoder_depth=blocks)
    chain: list[nn.Module] = []
    for k, block in enumerate(deeper.enc_blocks):
        chain.append(block)
        while len(chain) < (k + 1) * blocks // old:
            chain.append(silenced(copy.deepcopy(block)))
    deeper.enc_blocks = nn.ModuleList(chain)
    return deeper


def with_cross_view(model: SAB3R, rounds: int) -> SAB3R:
    """The same network with a stage in which two views compare each other in so many rounds. One that it had begins anew."""
    wider = copy.deepcopy(model)
    wider.config = replace(model.config, cross_view_rounds=rounds)
    wider.cross_view = CrossView(model.config.encoder_width, model.config.descriptor_dim, rounds)
    return wider


def silenced(block: nn.Module) -> nn.Module:
    """A block, in place, that adds nothing to the residual stream yet."""
    with torch.no_grad():
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
    return block
