"""CLIP's two towers (Radford et al. 2021) in plain torch. Attribute names are those of open_clip's checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYER_NORM_EPS = 1e-5


@dataclass(frozen=True)
class ClipConfig:
    """Sizes; the defaults are ViT-B/16's. Heads have 64 channels."""

    image_size: int = 224
    patch: int = 16
    vision_width: int = 768
    vision_layers: int = 12
    text_width: int = 512
    text_layers: int = 12
    context: int = 77
    vocabulary: int = 49408
    dim: int = 512
    head_dim: int = 64


class QuickGelu(nn.Module):
    """OpenAI's weights were trained with x · sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class SelfAttention(nn.Module):
    """As torch's MultiheadAttention, with its parameter names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, head_dim)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def values(self, x: Tensor) -> Tensor:
        """The value path alone: each token is projected, none looks at another."""
        width = x.shape[-1]
        return self.out_proj(F.linear(x, self.in_proj_weight[2 * width :], self.in_proj_bias[2 * width :]))


class ResidualBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGelu())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        x = x + self.attn(self.ln_1(x), causal)
        return x + self.mlp(self.ln_2(x))


class Blocks(nn.Module):
    def __init__(self, width: int, layers: int, head_dim: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualBlock(width, width // head_dim) for _ in range(layers))


class VisionTower(nn.Module):
    """The image encoder."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        width, self.grid = config.vision_width, config.image_size // config.patch
        self.patch = config.patch
        self.conv1 = nn.Conv2d(3, width, config.patch, config.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(self.grid**2 + 1, width) * width**-0.5)
        self.ln_pre = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.transformer = Blocks(width, config.vision_layers, config.head_dim)
        self.ln_post = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.proj = nn.Parameter(torch.randn(width, config.dim) * width**-0.5)

    def tokens(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W), sides multiples of the patch → (B, 1 + N, width) before the first block.

        The learned positions are interpolated to other sizes than the training's square.
        """
        x = self.conv1(image)
        rows, columns = x.shape[-2:]
        positions = self.positional_embedding
        if (rows, columns) != (self.grid, self.grid):
            square = positions[1:].T.unflatten(1, (self.grid, self.grid))[None]
            square = F.interpolate(square, size=(rows, columns), mode="bicubic", align_corners=False)
            positions = torch.cat([positions[:1], square[0].flatten(1).T])
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x.flatten(2).transpose(1, 2)], 1)
        return self.ln_pre(x + positions)


class Clip(nn.Module):
    """Both towers. Raises nothing of its own; load public weights with `load_clip`."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = VisionTower(config)
        self.token_embedding = nn.Embedding(config.vocabulary, config.text_width)
        self.positional_embedding = nn.Parameter(torch.randn(config.context, config.text_width) * 0.01)
        self.transformer = Blocks(config.text_width, config.text_layers, config.head_dim)
        self.ln_final = nn.LayerNorm(config.text_width, eps=LAYER_NORM_EPS)
        self.text_projection = nn.Parameter(
            torch.randn(config.text_width, config.dim) * config.text_width**-0.5
        )
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """tokens: (B, context) ids; the end-of-text id is the highest one. Returns (B, dim), not normalised."""
        x = self.token_embedding(tokens) + self.positional_embedding
        for block in self.transformer.resblocks:
            x = block(x, causal=True)
        x = self.ln_final(x)
        end = x[torch.arange(len(x), device=x.device), tokens.argmax(-1)]
        return end @ self.text_projection
