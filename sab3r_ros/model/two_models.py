"""The paper's baseline as a feature model: geometry from MASt3R, language from MaskCLIP with FeatUp's upsampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sab3r_ros.model.language import TEXT_SPACES
from sab3r_ros.model.network_model import LazyView, NetworkModel, Tokens
from sab3r_ros.model.preprocess import to_tensor
from sab3r_ros.types import View

Semantics = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SemanticTokens:
    """A keyframe of the two-model pipeline. tokens: the geometry's own encoding. features: (h, w, D) float16, unit."""

    tokens: Tokens | View
    features: np.ndarray


class WithFeatures:
    """A view with features from elsewhere; everything else is the view's own."""

    def __init__(self, view: LazyView | View, features: np.ndarray) -> None:
        self._view, self.features = view, features

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._view, name)


class TwoModelPipeline:
    """Two networks behind the same seam. Stored features are the language vectors themselves: the basis is the identity."""

    def __init__(
        self,
        geometry: NetworkModel,
        semantics: Semantics,
        dim: int,
        name: str = "maskclip",
        language: str = TEXT_SPACES["clip"],
    ) -> None:
        """semantics: images (1, 3, H, W) in −1..1 → (1, dim, h, w) in the space of `language`. name: of it, for the identity."""
        self.geometry, self.semantics, self.language = geometry, semantics, language
        self.monocular = geometry.monocular
        self.identity = f"{geometry.identity}+{name}"
        self.feature_basis = np.eye(dim, dtype=np.float32)

    def prepare(self, image: np.ndarray, K: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """See `FeatureModel.prepare`."""
        return self.geometry.prepare(image, K)

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> SemanticTokens:
        """Encoder tokens and language features, once a keyframe."""
        features = F.normalize(self.semantics(to_tensor(image, self.geometry.device)), dim=1)
        return SemanticTokens(self.geometry.encode(image), features[0].permute(1, 2, 0).half().cpu().numpy())

    def decode(self, first: SemanticTokens, second: SemanticTokens) -> tuple[WithFeatures, WithFeatures]:
        """Both views in the first camera's frame, both with features."""
        a, b = self.geometry.decode(first.tokens, second.tokens)
        return WithFeatures(a, first.features), WithFeatures(b, second.features)
