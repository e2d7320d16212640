"""Which number format a device computes in, and how the network's layers are put into it."""

from __future__ import annotations

import torch
from torch import nn

from sab3r_ros.model.heads import DPTHead
from sab3r_ros.model.sab3r import SAB3R


def best_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    able = getattr(torch.cpu, "get_capabilities", dict)()
    native = device.type == "cpu" and (able.get("avx512_bf16") or able.get("amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def full_precision_layers(network: SAB3R) -> set[nn.Module]:
    """Layers that stay float32:

    norms, the patch embedding and the last layers of dense heads, whose outputs are exponentiated.
    """
    keep: set[nn.Module] = {m for m in network.modules() if isinstance(m, nn.LayerNorm)}
    keep.add(network.patch_embed.proj)
    keep.update(m.head[4] for m in network.modules() if isinstance(m, DPTHead))
    return keep


def prepare_for_inference(network: SAB3R, device: torch.device, precision: torch.dtype) -> SAB3R:
    """Moves a two-view network to a device, its linear layers and convolutions in `precision`; in place."""
    keep = full_precision_layers(network)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            module.to(device, torch.float32 if module in keep else precision)
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
    return network.to(device).requires_grad_(False).eval()
