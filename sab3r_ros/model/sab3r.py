"""SAB3R (paper Sec. 4.2): one network that tells geometry, local descriptors and semantic features of two
views.

The public sizes follow MASt3R: a ViT encoder, two decoders that look at each other, DPT heads. The embedded
"mini" size keeps the interface and the encoder's block with a convolutional stem, one view at a time and a
small head.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.errors import ConfigError
from sab3r_ros.model.cross_view import CrossView
from sab3r_ros.model.heads import PATCH, DPTHead, LocalFeatures
from sab3r_ros.model.pyramid import PyramidHead
from sab3r_ros.model.sizes import SAB3RConfig
from sab3r_ros.model.stem import TAP_SPREAD, TAPS, Lite0Stem
from sab3r_ros.model.transformer import (
    LAYER_NORM_EPS,
    Block,
    DecoderBlock,
    cast_for,
    grid_positions,
    rotary_table,
)

ROPE_BASE = 100.0
COORDINATES = 2  # row and column, beside the stem's features


class ViewHeads(nn.Module):
    """All heads of one view: `downstream_head1` or `downstream_head2` of the public keys."""

    def __init__(self, config: SAB3RConfig) -> None:
        super().__init__()
        e, d = config.encoder_width, config.decoder_width
        self.dpt = DPTHead((e, d, d, d), 4)
        for name, dim in config.features:
            self.add_module(f"{name}_head", DPTHead((e, d, d, d), dim))
        self.head_local_features = LocalFeatures(e, d, config.descriptor_dim)


def expand_points(xyz: Tensor) -> Tensor:
    """Network output (..., 3) → points: the direction kept, the length through expm1.

    Metres for metric checkpoints.
    """
    length = xyz.norm(dim=-1, keepdim=True)
    return xyz * (torch.expm1(length) / length.clamp_min(1e-8))


def pinhole_points(z: Tensor, focal: Tensor) -> Tensor:
    """z (B, H, W) metres, focal (B,) pixels → points (B, H, W, 3), RDF, the principal point at the image's
    centre.
    """
    _, h, w = z.shape
    v = torch.arange(h, device=z.device) - (h - 1) / 2
    u = torch.arange(w, device=z.device) - (w - 1) / 2
    rays = torch.stack(torch.broadcast_tensors(u[None, :], v[:, None]), -1) / focal[:, None, None, None]
    return torch.cat([rays * z[..., None], z[..., None]], -1)


class SAB3R(nn.Module):
    """The network. State-dict keys of the "patch" stem are those of the public checkpoints."""

    def __init__(self, config: SAB3RConfig) -> None:
        super().__init__()
        self.config = config
        width = config.encoder_width
        if config.stem == "patch":
            self.patch_embed = nn.Module()
            self.patch_embed.proj = nn.Conv2d(3, width, PATCH, PATCH)
        else:
            self.stem = Lite0Stem()
            self.token_embed = nn.Linear(TAPS[16][1] + TAPS[32][1] + COORDINATES, width)
        self.enc_blocks = nn.ModuleList(
            Block(width, config.encoder_heads) for _ in range(config.encoder_depth)
        )
        self.enc_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        if config.monocular:
            self.head = PyramidHead(width, config.descriptor_dim, config.language_bottleneck)
            self.language_linear = nn.Linear(config.language_bottleneck, config.features[0][1])
            if config.cross_view_rounds:
                self.cross_view = CrossView(width, config.descriptor_dim, config.cross_view_rounds)
            return
        depth, heads = config.decoder_depth, config.decoder_heads
        # Of pretraining, unused since; checkpoints have it.
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_width))
        self.decoder_embed = nn.Linear(width, config.decoder_width)
        self.dec_blocks = nn.ModuleList(DecoderBlock(config.decoder_width, heads) for _ in range(depth))
        self.dec_blocks2 = nn.ModuleList(DecoderBlock(config.decoder_width, heads) for _ in range(depth))
        self.dec_norm = nn.LayerNorm(config.decoder_width, eps=LAYER_NORM_EPS)
        self.downstream_head1 = ViewHeads(config)
        self.downstream_head2 = ViewHeads(config)

    def grid(self, image: Tensor) -> tuple[int, int]:
        """Rows and columns of tokens of an image (B, 3, H, W).

        Raises ConfigError on sides that do not fit.
        """
        (h, w), multiple = image.shape[-2:], self.config.multiple
        if image.ndim != 4 or image.shape[1] != 3 or h % multiple or w % multiple or not h * w:
            raise ConfigError(
                f"image of shape {tuple(image.shape)}: must be (B, 3, H, W), H and W multiples of {multiple}"
            )
        return h // PATCH, w // PATCH

    def tables(self, grid: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Rotary tables of the encoder's and the decoder's heads."""
        positions = grid_positions(*grid, device)
        c = self.config
        dims = c.encoder_width // c.encoder_heads, c.decoder_width // c.decoder_heads
        first = rotary_table(positions, dims[0], ROPE_BASE)
        return first, first if dims[0] == dims[1] else rotary_table(positions, dims[1], ROPE_BASE)

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in −1..1 → normed encoder tokens (B, N, encoder_width). Patch stem only."""
        grid = self.grid(image)
        return self._blocks(self.patch_embed.proj(image).flatten(2).transpose(1, 2), grid)

    def _blocks(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        table, _ = self.tables(grid, x.device)
        for block in self.enc_blocks:
            x = block(x, table)
        return self.enc_norm(x)

    def decode(
        self, tokens1: Tensor, tokens2: Tensor, grid1: tuple[int, int], grid2: tuple[int, int]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Encoder tokens of two views → per view the four token tensors (B, N, C) that its heads read."""
        (_, t1), (_, t2) = self.tables(grid1, tokens1.device), self.tables(grid2, tokens2.device)
        x1, x2 = (self.decoder_embed(cast_for(self.decoder_embed, t)).to(t.dtype) for t in (tokens1, tokens2))
        hooks1, hooks2 = [tokens1], [tokens2]
        depth = len(self.dec_blocks)
        for k, (block1, block2) in enumerate(zip(self.dec_blocks, self.dec_blocks2, strict=True), start=1):
            x1, x2 = block1(x1, x2, t1, t2), block2(x2, x1, t2, t1)  # each reads the other's previous output
            if k == depth:
                x1, x2 = self.dec_norm(x1), self.dec_norm(x2)
            if k in (depth // 2, depth * 3 // 4, depth):
                hooks1.append(x1)
                hooks2.append(x2)
        return hooks1, hooks2

    def forward_raw(self, image: Tensor) -> dict[str, Tensor]:
        """Low-resolution outputs of the monocular network: `PyramidHead.forward`'s, and tokens (B, N, encoder_width)."""
        rows, columns = grid = self.grid(image)
        taps = self.stem(image)
        near, deep = taps[16].float() / TAP_SPREAD[16], taps[32].float() / TAP_SPREAD[32]
        deep = F.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=False)
        coordinates = grid_positions(rows, columns, image.device).T.unflatten(1, grid) * (2 / max(grid)) - 1
        inputs = torch.cat([near, deep, coordinates.expand(len(image), -1, -1, -1)], 1)
        tokens = self._blocks(self.token_embed(inputs.flatten(2).transpose(1, 2)), grid)
        return self.head(tokens, grid, taps) | {"tokens": tokens}

    def pair_descriptors(self, tokens: Tensor, desc: Tensor, desc_conf: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward_raw` says of 2B single views, first ones, then second ones → desc and desc_conf of B pairs.

        The same shapes: (2B, D, H/2, W/2) unit, and (2B, 1, H/2, W/2) > 0. As they are where the network has no stage for it.
        """
        if not self.config.cross_view_rounds:
            return desc, desc_conf
        changed, seen = self.cross_view(tokens, desc)[-1]
        return F.normalize(changed, dim=1), desc_conf * seen.sigmoid()

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Two images (B, 3, H, W) in −1..1 → two dictionaries of float32 maps.

        pts3d (B, H, W, 3): in the first camera's frame, or each in its own where the network is monocular;
        conf (B, H, W) ≥ 1; desc (B, H, W, 24) unit; desc_conf (B, H, W) > 0; each semantic head's name: (B,
        H, W, dim), of which the direction counts; focal (B,) pixels where the pointmap is a pinhole's.
        """
        if self.config.monocular:
            return self._own_frame(image1), self._own_frame(image2)
        grid1, grid2 = self.grid(image1), self.grid(image2)
        hooks1, hooks2 = self.decode(self.encode(image1), self.encode(image2), grid1, grid2)
        return self._maps(self.downstream_head1, hooks1, grid1), self._maps(
            self.downstream_head2, hooks2, grid2
        )

    def _maps(self, heads: ViewHeads, hooks: list[Tensor], grid: tuple[int, int]) -> dict[str, Tensor]:
        out = self.geometry(heads, hooks, grid) | self.descriptors(heads, hooks, grid)
        for name, _ in self.config.features:
            f = getattr(heads, f"{name}_head")(hooks, grid).float().permute(0, 2, 3, 1)
            out[name] = expand_points(f)
        return out

    def geometry(self, heads: ViewHeads, hooks: list[Tensor], grid: tuple[int, int]) -> dict[str, Tensor]:
        """pts3d (B, H, W, 3) and conf (B, H, W)."""
        maps = heads.dpt(hooks, grid).float().permute(0, 2, 3, 1)
        return {"pts3d": expand_points(maps[..., :3]), "conf": 1 + maps[..., 3].exp()}

    def descriptors(
        self, heads: ViewHeads, hooks: list[Tensor], grid: tuple[int, int], stride: int = 1
    ) -> dict[str, Tensor]:
        """desc (B, H / stride, W / stride, descriptor_dim) and desc_conf, of every stride-th pixel."""
        tokens = torch.cat([hooks[0], hooks[-1]], -1)
        maps = heads.head_local_features.maps(tokens, grid, stride).float().permute(0, 2, 3, 1)
        offset = 0 if self.config.desc_conf_mode == "exp" else 1
        return {"desc": F.normalize(maps[..., :-1], dim=-1), "desc_conf": offset + maps[..., -1].exp()}

    def _own_frame(self, image: Tensor) -> dict[str, Tensor]:
        raw = self.forward_raw(image)
        size = image.shape[-2:]

        def full(x: Tensor) -> Tensor:  # (B, C, h, w) → (B, H, W, C)
            return F.interpolate(x.float(), size=size, mode="bilinear", align_corners=False).permute(
                0, 2, 3, 1
            )

        z = full(raw["logz"]).squeeze(-1).exp()
        language = self.language_linear(raw["language_input"].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return {
            "pts3d": pinhole_points(z, raw["focal"]),
            "conf": full(raw["conf"]).squeeze(-1),
            "desc": F.normalize(full(raw["desc"]), dim=-1),
            "desc_conf": full(raw["desc_conf"]).squeeze(-1),
            self.config.features[0][0]: full(language),
            "focal": raw["focal"],
        }

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(p.shape) for p in self.parameters())
