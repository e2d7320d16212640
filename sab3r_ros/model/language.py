"""Language vectors without their last layer: a head ends in a linear map, so a map stores what goes in and applies it late."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Semantic head → the text encoder that speaks its space.
TEXT_SPACES = {"language": "minilm-l6-v2", "clip": "openclip-vit-b-16-openai"}


def language_basis(linear: nn.Module) -> np.ndarray:
    """A head's last linear layer as one matrix (L, D + 1): the bias belongs to an input that is always one."""
    weight = linear.weight.detach().float().flatten(1)
    return torch.cat([weight, linear.bias.detach().float()[:, None]], 1).cpu().numpy()


def unit_features(inputs: Tensor, gram: Tensor) -> Tensor:
    """Inputs of the last layer (..., D) → (..., D + 1) with the one, scaled so that the language vector is unit.

    gram: (D + 1, D + 1) basisᵀ @ basis; it gives the vector's length without making the vector.
    """
    f = torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1)
    return f * ((f @ gram) * f).sum(-1, keepdim=True).clamp_min(1e-12).rsqrt()


def pooled(inputs: Tensor, cell: int) -> Tensor:
    """Mean over cells: (1, D, H, W) → (H / cell, W / cell, D).

    Before the vectors are made unit, which weights a pixel by its length: inside a few pixels that is harmless, and
    it saves making H · W vectors of unit length.
    """
    return F.avg_pool2d(inputs, cell)[0].permute(1, 2, 0)
