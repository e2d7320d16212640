"""Weights made from a rule: the same numbers on every machine, for golden tests and benchmarks without a download."""

from __future__ import annotations

import math
import re
import zlib

import torch
from torch import Tensor, nn


def rule_tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    """The float32 tensor of a state-dict key; aliases get what their first name gets."""
    key = re.sub(r"scratch\.layer_rn\.(\d)\.", lambda m: f"scratch.layer{int(m[1]) + 1}_rn.", key)
    base = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if len(shape) == 1 and key.endswith(".weight"):
        return 1 + 0.1 * base
    if key.endswith(".bias") or key == "mask_token":
        return 0.02 * base
    base = base / math.sqrt(math.prod(shape[1:]))
    if key.endswith(".dpt.head.4.weight"):
        return 0.1 * base
    if key.endswith(".head.4.weight"):
        return 0.02 * base
    if key.endswith("head_local_features.fc2.weight"):
        return 0.2 * base
    return base


def fill(model: nn.Module) -> nn.Module:
    """A model with the rule's weights, in evaluation mode."""
    with torch.no_grad():
        for key, value in model.state_dict().items():
            value.copy_(rule_tensor(key, tuple(value.shape)))
    return model.eval()


def transposed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the public network that does to images on their side what `state` does to upright ones."""
    out = {}
    for key, value in state.items():
        if value.ndim == 4:
            value = value.transpose(-1, -2)
        elif any(part in key for part in ("attn.qkv", "projq", "projk")):
            # A head's first half turns with the row, its second with the column: swap them in queries and keys.
            parts = value.unflatten(0, (3, -1)).clone() if "qkv" in key else value[None].clone()
            for k in range(min(len(parts), 2)):
                parts[k] = parts[k].unflatten(0, (-1, 2, 32)).flip(1).flatten(0, 2)
            value = parts.flatten(0, 1)
        elif "head_local_features.fc2" in key:
            value = value.unflatten(0, (-1, 16, 16)).transpose(1, 2).flatten(0, 2)
        out[key] = value.contiguous()
    return out
