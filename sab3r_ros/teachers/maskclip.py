"""MaskCLIP (Zhou et al. 2022): dense features from CLIP, whose last block keeps only its value path."""

from __future__ import annotations

from torch import Tensor, nn

from sab3r_ros.model.clip import VisionTower
from sab3r_ros.teachers import normalise
from sab3r_ros.teachers.featup import JbuStack

DOUBLINGS = (
    2  # of 4: maps keep one feature for each 4 × 4 pixels, and the last two doublings take most of the time
)


class MaskClip(nn.Module):
    """Image → patch features in CLIP's text space."""

    def __init__(self, tower: VisionTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, image: Tensor) -> Tensor:
        """image: (B, 3, H, W) normalised, sides multiples of 16. Returns (B, dim, H / 16, W / 16), not unit."""
        tower = self.tower
        rows, columns = (side // tower.patch for side in image.shape[-2:])
        x = tower.tokens(image)
        *blocks, last = tower.transformer.resblocks
        for block in blocks:
            x = block(x, causal=False)
        x = last.attn.values(last.ln_1(x))  # no attention, no residual, no MLP: each patch speaks for itself
        x = tower.ln_post(x) @ tower.proj
        return x[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))


class UpsampledMaskClip(nn.Module):
    """MaskCLIP and its upsampler as one, on the network's own images."""

    def __init__(self, maskclip: MaskClip, upsampler: JbuStack) -> None:
        super().__init__()
        self.maskclip, self.upsampler = maskclip, upsampler

    def forward(self, image: Tensor) -> Tensor:
        """image: (B, 3, H, W) in −1..1, sides multiples of 16. Returns (B, dim, H / 4, W / 4), not unit."""
        image = normalise(image)
        return self.upsampler(self.maskclip(image), image, DOUBLINGS)
