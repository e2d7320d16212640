"""Sizes of the network: the public ones and the embedded one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sab3r_ros.errors import ConfigError
from sab3r_ros.model.heads import PATCH


@dataclass(frozen=True)
class SAB3RConfig:
    """Sizes of the network; the defaults are MASt3R's public ones. Widths are multiples of 64 · 4, heads = width / 64."""

    stem: Literal["patch", "lite0"] = "patch"
    encoder_width: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_width: int = 768
    decoder_depth: int = 12  # 0: no decoder, a view does not depend on its partner
    decoder_heads: int = 12
    head: Literal["dpt", "pyramid"] = "dpt"
    features: tuple[tuple[str, int], ...] = ()  # (name, dimension) of each semantic head
    language_bottleneck: int = 128  # inputs of a semantic head's last, linear layer
    pointmap: Literal["xyz", "pinhole"] = "xyz"
    descriptor_dim: int = 24
    cross_view_rounds: int = 0  # of two views of a monocular network comparing each other; 0: none
    desc_conf_mode: Literal["exp", "1+exp"] = "exp"

    def __post_init__(self) -> None:
        for width, heads, what in (
            (self.encoder_width, self.encoder_heads, "encoder"),
            (self.decoder_width, self.decoder_heads, "decoder"),
        ):
            if heads < 1 or width % (4 * heads):
                raise ConfigError(
                    f"{what}_width = {width} does not split into {heads} heads of a multiple of 4 channels"
                )
        mini = (
            self.stem == "lite0",
            self.head == "pyramid",
            self.pointmap == "pinhole",
            self.decoder_depth == 0,
        )
        if any(mini) != all(mini):
            raise ConfigError(
                "stem 'lite0', head 'pyramid', pointmap 'pinhole' and decoder_depth 0 go together; so do the others"
            )
        if not self.monocular and self.decoder_depth % 4:
            raise ConfigError(
                f"decoder_depth = {self.decoder_depth} must be a multiple of 4: the heads tap its quarters"
            )
        if self.cross_view_rounds and not self.monocular:
            raise ConfigError(
                "cross_view_rounds is for networks without a decoder: the others compare views in it"
            )
        if self.monocular and len(self.features) != 1:
            raise ConfigError("the pyramid head has exactly one semantic output")

    @property
    def monocular(self) -> bool:
        """A view's points and features do not depend on its partner."""
        return self.decoder_depth == 0

    @property
    def multiple(self) -> int:
        """Image sides are multiples of this many pixels."""
        return 32 if self.stem == "lite0" else PATCH

    @classmethod
    def mast3r(cls) -> SAB3RConfig:
        """The public MASt3R checkpoint: no semantic head."""
        return cls()

    @classmethod
    def sab3r_c(cls) -> SAB3RConfig:
        """SAB3R distilled from CLIP."""
        return cls(features=(("clip", 512),), desc_conf_mode="1+exp")

    @classmethod
    def sab3r_cd(cls) -> SAB3RConfig:
        """SAB3R distilled from CLIP and DINOv2; the public checkpoint."""
        return replace(cls.sab3r_c(), features=(("clip", 512), ("dino", 384)))

    @classmethod
    def mini(cls) -> SAB3RConfig:
        """The embedded network: about 10 million parameters, 256 × 192 pixels."""
        return cls(
            stem="lite0",
            encoder_width=256,
            encoder_depth=8,
            encoder_heads=4,
            decoder_depth=0,
            head="pyramid",
            features=(("language", 384),),
            language_bottleneck=64,
            pointmap="pinhole",
        )
