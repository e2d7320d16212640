"""Which number format a device computes in, and which layers are put into it."""

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
    """Layers where rounding shows: the patch embedding, the first third of each stack, and the points' heads.

    What the first blocks round off passes through all the others, while the residual stream is still small; points
    are the exponential of what their head says.
    """
    if network.config.monocular:
        return set(network.modules())
    full = {network.patch_embed.proj, *(m.head[4] for m in network.modules() if isinstance(m, DPTHead))}
    for stack in (network.enc_blocks, network.dec_blocks, network.dec_blocks2):
        full.update(m for block in stack[: len(stack) // 3] for m in block.modules())
    for heads in (network.downstream_head1, network.downstream_head2):
        full.update(heads.dpt.modules())
    return full


def layer_precision(network: SAB3R, precision: torch.dtype) -> dict[str, torch.dtype]:
    """Type of each entry of the state dict: most linear layers and convolutions in `precision`, the rest float32."""
    full = full_precision_layers(network)
    kinds = dict.fromkeys(network.state_dict(), torch.float32)
    for name, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)) and module not in full:
            kinds |= {f"{name}.{key}": precision for key in module.state_dict()}
    return kinds


def prepare_for_inference(network: SAB3R, device: torch.device, precision: torch.dtype) -> SAB3R:
    """Moves a two-view network to a device with `layer_precision`, convolutions channels-last; in place."""
    kinds = layer_precision(network, precision)
    for name, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            module.to(device, kinds[f"{name}.weight"])
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
    return network.to(device).requires_grad_(False).eval()
