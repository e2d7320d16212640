"""Transformer blocks of the CroCo/DUSt3R family: pre-norm, fused qkv, 2D rotary positions, cross attention
between views.

Attribute names are those of the public checkpoints' keys. Linear layers may be bfloat16 while norms and the
residual stream stay float32: each linear layer casts what it reads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYER_NORM_EPS = 1e-6
MLP_RATIO = 4


def grid_positions(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """(rows · columns, 2) integer (row, column) of each token, row-major from 0."""
    row, column = torch.meshgrid(
        torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"
    )
    return torch.stack([row, column], -1).flatten(0, 1)


def rotary_table(positions: Tensor, head_dim: int, base: float) -> Tensor:
    """Cosines and signed sines of 2D rotary embedding, (2, N, 1, head_dim) float32.

    positions: (N, 2). The first half of a head turns with the row, the second with the column; inside each
    half channel j pairs with j + head_dim / 4. Float32 whatever the network's precision: bfloat16 cannot hold
    the angles.
    """
    quarter = head_dim // 4
    frequency = base ** (-torch.arange(quarter, device=positions.device, dtype=torch.float32) / quarter)
    angle = positions.float()[..., None] * frequency  # (N, 2, quarter)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, cos], 2), torch.stack([-sin, sin], 2)]).flatten(2)[:, :, None]


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn x (..., N, heads, head_dim) by `rotary_table`'s angles; same type as x."""
    swapped = x.unflatten(-1, (2, 2, x.shape[-1] // 4)).flip(-2).flatten(-3)
    return torch.addcmul(x * table[0], swapped.to(table.dtype), table[1]).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention of (B, N, heads, head_dim) tensors → (B, N, heads · head_dim)."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if q.requires_grad and q.device.type == "cpu":
        # The fused kernel's backward is the slowest operation of a training step on CPUs; plain products are not.
        out = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1).to(v.dtype) @ v
    else:
        out = F.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).flatten(2)


def cast_for(layer: nn.Module, x: Tensor) -> Tensor:
    """x in the precision of a layer's weights."""
    return x.to(layer.weight.dtype)


class Attention(nn.Module):
    """Self attention with fused qkv."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """x: (B, N, width). table: of the N positions."""
        qkv = self.qkv(cast_for(self.qkv, x)).unflatten(-1, (3, self.heads, -1))  # (B, N, 3, heads, head_dim)
        q, k = rotate(qkv[:, :, :2].transpose(1, 2), table).unbind(1)  # both at once: few large steps
        return self.proj(attend(q, k, qkv[:, :, 2]))


class CrossAttention(nn.Module):
    """Attention of one view's tokens to the other view's, each with its own positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(width, width)
        self.projk = nn.Linear(width, width)
        self.projv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, other: Tensor, table: Tensor, other_table: Tensor) -> Tensor:
        """x: (B, N, width). other: (B, M, width). Returns (B, N, width)."""

        x, other = cast_for(self.projq, x), cast_for(self.projk, other)
        q, k, v = (
            layer(t).unflatten(-1, (self.heads, -1))
            for layer, t in ((self.projq, x), (self.projk, other), (self.projv, other))
        )
        return self.proj(attend(rotate(q, table), rotate(k, other_table), v))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(cast_for(self.fc1, x))))


class Block(nn.Module):
    """Encoder block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, MLP_RATIO * width, width)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), table)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """Decoder block: self attention, cross attention to the other view, MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = Attention(width, heads)
        self.norm_y = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.cross_attn = CrossAttention(width, heads)
        self.norm3 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, MLP_RATIO * width, width)

    def forward(self, x: Tensor, other: Tensor, table: Tensor, other_table: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), table)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(other), table, other_table)
        return x + self.mlp(self.norm3(x))
