"""What the embedded network makes of a pair: it encodes each view alone, and only here do two views look at each other.

Descriptors of one view alone cannot know what the other sees: a bare wall is like any other, and the surest of them may lie
outside the other image. A few rounds of comparing all with all (as RAFT, LoFTR do) and of attention across views (CroCo's block)
change the descriptors for this pair, and say how probably the other view sees each of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.model.transformer import DecoderBlock, grid_positions, rotary_table

WIDTH, HEADS = 192, 6
ROPE_BASE = 100.0
TOKEN, CELL, PATCH = (
    8,
    4,
    2,
)  # descriptors along the edge of a token, of what is compared, of what changes by one vector
SHARPNESS = 20.0  # of the softmax over likenesses: descriptors are trained for it
TOLD = 7  # numbers: see `told`
EMBEDDED = 32  # channels that carry what a comparison says of a cell, and what changes its descriptors


def compared(cells: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where each cell of one view has its like in the other.

    cells: (2B, N, D) unit descriptors, first views, then second views. Returns how probably a cell's like is each of the
    other view's, (2B, N, N), and in numbers (2B, N, TOLD) how far off it is to be expected (2, in the image's longer sides),
    how far spread, how far from itself the way back leads, how probable both ways, and how probable and like the likeliest is.
    """
    first, second = cells.chunk(2)
    like = first @ second.transpose(1, 2)
    there, back = (like * SHARPNESS).softmax(2), (like * SHARPNESS).transpose(1, 2).softmax(2)
    both = there * back.transpose(1, 2)
    mutual = torch.cat([both.sum(2), both.sum(1)])
    likest = torch.cat([like.amax(2), like.amax(1)])
    chances = torch.cat([there, back])
    at = grid_positions(*grid, cells.device).float() / max(grid)
    expected, square = (chances @ torch.cat([at, at.square().sum(-1, True)], 1)).split([2, 1], -1)
    spread = (square[..., 0] - expected.square().sum(-1)).clamp_min(0).sqrt()
    cycle = (chances @ swapped(expected) - at).norm(dim=-1)
    numbers = torch.stack([spread, cycle, mutual, chances.amax(-1), likest], -1)
    return chances, torch.cat([expected - at, numbers], -1)


def swapped(x: Tensor) -> Tensor:
    """(2B, …) of first and second views → of second and first."""
    return torch.cat(x.chunk(2)[::-1])


def image(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, N, C) row-major on a grid → (B, C, rows, columns)."""
    return x.transpose(1, 2).unflatten(2, grid)


def rows(x: Tensor) -> Tensor:
    """The reverse of `image`."""
    return x.flatten(2).transpose(1, 2)


class Round(nn.Module):
    """Compare, tell the tokens, let them look at the other view."""

    def __init__(self, descriptor_dim: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(2 * descriptor_dim + TOLD, EMBEDDED), nn.GELU())
        self.join = nn.Linear((TOKEN // CELL) ** 2 * EMBEDDED + WIDTH, WIDTH)
        self.block = DecoderBlock(WIDTH, HEADS)

    def forward(self, x: Tensor, cells: Tensor, grid: tuple[int, int], table: Tensor) -> Tensor:
        """x: (2B, n, WIDTH) tokens. cells: (2B, N, D) descriptors of any length, on `grid`. Returns tokens."""
        side = TOKEN // CELL
        tokens = grid[0] // side, grid[1] // side
        with torch.autocast(x.device.type, enabled=False):
            with torch.no_grad():  # what the comparison should say is taught by the descriptors' own loss
                cells = F.normalize(cells.float(), dim=-1)
                chances, numbers = compared(cells, grid)
                told = torch.cat([cells, chances @ swapped(cells), numbers], -1)
            each = rows(F.interpolate(image(x, tokens), scale_factor=side))
            there = rows(F.avg_pool2d(image(chances @ swapped(each), grid), side))
        told = rows(F.pixel_unshuffle(image(self.embed(told), grid), side))
        x = x + self.join(torch.cat([told, there], -1))
        return self.block(x, swapped(x), table, table)


class CrossView(nn.Module):
    """Descriptors and confidences of a pair from what either view says alone."""

    def __init__(self, token_width: int, descriptor_dim: int, rounds: int) -> None:
        super().__init__()
        self.token_embed = nn.Linear(token_width, WIDTH)
        self.rounds = nn.ModuleList(Round(descriptor_dim) for _ in range(rounds))
        self.up = nn.Linear(WIDTH, (TOKEN // PATCH) ** 2 * EMBEDDED)
        self.mix = nn.Conv2d(EMBEDDED + descriptor_dim, EMBEDDED, 3, padding=1)
        self.out = nn.Conv2d(EMBEDDED, descriptor_dim + 1, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor, descriptors: Tensor) -> list[tuple[Tensor, Tensor]]:
        """tokens: (2B, n, token_width); descriptors: (2B, D, H, W), unit; first views, then second views.

        Returns of each round, the last one's the best, descriptors (2B, D, H, W) of any length and the logit (2B, 1, H, W) of
        how probably the other view sees them.
        """
        grid = descriptors.shape[2] // TOKEN, descriptors.shape[3] // TOKEN
        finer = grid[0] * TOKEN // CELL, grid[1] * TOKEN // CELL
        table = rotary_table(grid_positions(*grid, tokens.device), WIDTH // HEADS, ROPE_BASE)
        patches = F.avg_pool2d(descriptors, PATCH)
        x, changed, out = self.token_embed(tokens).float(), patches, []
        for step in self.rounds:
            x = step(x, rows(F.avg_pool2d(changed, CELL // PATCH)), finer, table)
            up = F.pixel_shuffle(image(self.up(x), grid), TOKEN // PATCH)
            maps = self.out(F.relu(self.mix(torch.cat([F.relu(up), patches], 1)))).float()
            change, seen = maps[:, :-1], maps[:, -1:]
            changed = patches + change
            out.append((descriptors + finest(change), finest(seen)))
        return out


def finest(x: Tensor) -> Tensor:
    """Of patches → of descriptors."""
    return F.interpolate(x, scale_factor=PATCH, mode="bilinear", align_corners=False)
