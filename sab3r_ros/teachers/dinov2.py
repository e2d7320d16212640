"""DINOv2 ViT-S/14 (Oquab et al. 2023) in plain torch. Attribute names are those of timm's checkpoints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from sab3r_ros.errors import CheckpointError
from sab3r_ros.model.catalog import cached_files
from sab3r_ros.model.transformer import LAYER_NORM_EPS, Mlp

PATCH = 14
STRIDE = (
    16  # of the network that is taught: images are shrunk by 14 / 16, so that a token is one of its patches
)


class LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class PlainAttention(nn.Module):
    """Self attention with fused qkv, without rotary positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ScaledBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = PlainAttention(width, heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, 4 * width, width)
        self.ls2 = LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DinoV2(nn.Module):
    """Image → patch tokens. The defaults are ViT-S/14's, trained at 518 × 518 pixels."""

    def __init__(self, width: int = 384, layers: int = 12, heads: int = 6, grid: int = 37) -> None:
        super().__init__()
        self.grid = grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, PATCH, PATCH)
        self.blocks = nn.ModuleList(ScaledBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def forward(self, image: Tensor) -> Tensor:
        """image: (B, 3, H, W) normalised, sides multiples of 16. Returns (B, width, H / 16, W / 16)."""
        size = [side // STRIDE * PATCH for side in image.shape[-2:]]
        x = self.patch_embed.proj(F.interpolate(image, size=size, mode="bilinear", antialias=True))
        rows, columns = x.shape[-2:]
        square = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        positions = F.interpolate(square, size=(rows, columns), mode="bicubic", antialias=True).flatten(2)
        x = x.flatten(2).transpose(1, 2) + positions.transpose(1, 2)
        x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))


def load_dinov2() -> DinoV2:
    """The public weights from the cache. Raises CheckpointError if they are not there or do not fit."""
    (path,) = cached_files("dinov2")
    with torch.device("meta"):
        model = DinoV2()
    try:
        model.load_state_dict(load_file(path), assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit DINOv2 ViT-S/14: {error}") from error
    return model.float().requires_grad_(False).eval()
