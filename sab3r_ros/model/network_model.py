"""Networks as feature models: the embedded monocular one, and the public ones that look at two views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sab3r_ros.model.heads import PATCH
from sab3r_ros.model.language import TEXT_SPACES, language_basis, pooled, unit_features
from sab3r_ros.model.precision import best_precision, prepare_for_inference
from sab3r_ros.model.preprocess import fit, to_tensor
from sab3r_ros.model.sab3r import SAB3R, ViewHeads, pinhole_points
from sab3r_ros.types import View

MINI_LONG_SIDE, PUBLIC_LONG_SIDE = 256, 512  # pixels: what each network was trained on
FEATURE_CELL = 4  # pixels a side that share one language feature
DESCRIPTOR_STRIDE = 2  # pixels from one descriptor that is matched to the next: a quarter of the head's cost
REMEMBERED_PAIRS = 4  # decoded pairs whose maps may still be read; about 80 MB each once all are

Head = Callable[[ViewHeads, list[Tensor], tuple[int, int]], dict[str, Tensor]]


class NetworkModel:
    """What both kinds share: identity, image size, and the language they speak."""

    def __init__(self, network: SAB3R, identity: str, long_side: int) -> None:
        self.network, self.identity, self.long_side = network, identity, long_side
        self.monocular = network.config.monocular
        self.device = next(network.parameters()).device
        self.spoken = next((name for name, _ in network.config.features if name in TEXT_SPACES), None)
        self.language = TEXT_SPACES[self.spoken] if self.spoken else ""
        self.feature_basis = np.zeros((0, 0), np.float32)
        if self.spoken:
            last = network.language_linear if self.monocular else self.language_head.head[4]
            self.feature_basis = language_basis(last)
        basis = torch.from_numpy(self.feature_basis).to(self.device)
        self.gram = basis.T @ basis

    @property
    def language_head(self) -> torch.nn.Module:
        """Of the first view of a two-view network."""
        return getattr(self.network.downstream_head1, f"{self.spoken}_head")

    def prepare(self, image: np.ndarray, K: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """See `FeatureModel.prepare`."""
        return fit(image, K, self.long_side, self.network.config.multiple, as_published=not self.monocular)


@dataclass(frozen=True)
class Encoded:
    """A keyframe as the embedded network remembers it. tokens: (1, N, C) float32, for comparing it with another."""

    view: View
    tokens: Tensor


class MonocularModel(NetworkModel):
    """The embedded network: encoding computes the whole view, decoding only compares its descriptors with the other's."""

    def __init__(
        self,
        network: SAB3R,
        identity: str,
        device: torch.device,
        precision: torch.dtype | None = None,
        long_side: int = MINI_LONG_SIDE,
    ) -> None:
        """precision: of linear layers and convolutions, as in its training; default: the best of the device."""
        network = network.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()
        super().__init__(network, identity, long_side)
        precision = precision or best_precision(device)
        self._mixed = partial(torch.autocast, device.type, precision, precision != torch.float32)

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> Encoded:
        """The view in its own frame, and its tokens."""
        with self._mixed():
            raw = self.network.forward_raw(to_tensor(image, self.device))
        geometry = torch.cat([raw["logz"], raw["conf"]], 1)
        geometry = F.interpolate(geometry, size=image.shape[:2], mode="bilinear", align_corners=False)
        logz, confidence = geometry.unbind(1)
        features = unit_features(raw["language_input"][0].permute(1, 2, 0), self.gram)
        view = View(
            points=pinhole_points(logz.exp(), raw["focal"])[0].cpu().numpy(),
            confidence=confidence[0].cpu().numpy(),
            descriptors=np.ascontiguousarray(raw["desc"][0].permute(1, 2, 0).cpu().numpy()),
            descriptor_confidence=raw["desc_conf"][0, 0].cpu().numpy(),
            features=features.half().cpu().numpy(),
        )
        return Encoded(view, raw["tokens"].float())

    @torch.inference_mode()
    def decode(self, first: Encoded, second: Encoded) -> tuple[View, View]:
        """Each view in its own frame, as encoded, with descriptors that are for this pair. A view with itself: its own."""
        if first is second or not self.network.config.cross_view_rounds:
            return first.view, second.view
        sides = first, second
        desc, confidence = (
            torch.from_numpy(np.stack(maps)).to(self.device)
            for maps in zip(*((s.view.descriptors, s.view.descriptor_confidence) for s in sides), strict=True)
        )
        tokens = torch.cat([s.tokens for s in sides])
        with self._mixed():
            desc, confidence = self.network.pair_descriptors(
                tokens, desc.permute(0, 3, 1, 2), confidence[:, None]
            )
        desc, confidence = desc.permute(0, 2, 3, 1).contiguous().cpu().numpy(), confidence[:, 0].cpu().numpy()
        return tuple(
            replace(s.view, descriptors=d, descriptor_confidence=c)
            for s, d, c in zip(sides, desc, confidence, strict=True)
        )


@dataclass(frozen=True)
class Tokens:
    """A keyframe as a two-view network remembers it. tokens: (1, N, C) float32. grid: rows, columns."""

    tokens: Tensor
    grid: tuple[int, int]


class LazyView:
    """A `View` whose maps are computed when first read: a head that nobody reads costs nothing."""

    def __init__(
        self, model: TwoViewModel, heads: ViewHeads, hooks: list[Tensor], grid: tuple[int, int]
    ) -> None:
        self._model, self._heads, self._hooks, self._grid = model, heads, hooks, grid

    @torch.inference_mode()
    def _run(self, head: Head) -> dict[str, np.ndarray]:
        out = head(self._heads, self._hooks, self._grid)
        return {key: value[0].cpu().numpy() for key, value in out.items()}

    @cached_property
    def _geometry(self) -> dict[str, np.ndarray]:
        return self._run(self._model.network.geometry)

    @cached_property
    def _descriptors(self) -> dict[str, np.ndarray]:
        return self._run(partial(self._model.network.descriptors, stride=DESCRIPTOR_STRIDE))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pointmap, known before it is computed."""
        return self._grid[0] * PATCH, self._grid[1] * PATCH

    @property
    def points(self) -> np.ndarray:
        return self._geometry["pts3d"]

    @property
    def confidence(self) -> np.ndarray:
        return self._geometry["conf"]

    @property
    def descriptors(self) -> np.ndarray:
        return self._descriptors["desc"]

    @property
    def descriptor_confidence(self) -> np.ndarray:
        return self._descriptors["desc_conf"]

    @cached_property
    def features(self) -> np.ndarray | None:
        # The second view's head ends in another linear layer, so its inputs do not share the basis.
        first = self._heads is self._model.network.downstream_head1
        return self._model.features(self._hooks, self._grid) if first and self._model.spoken else None


class TwoViewModel(NetworkModel):
    """MASt3R or SAB3R: a keyframe is encoded once, pairs are decoded, heads run when their maps are read."""

    def __init__(
        self,
        network: SAB3R,
        identity: str,
        device: torch.device,
        precision: torch.dtype | None = None,
        long_side: int = PUBLIC_LONG_SIDE,
    ) -> None:
        """precision: of linear layers and convolutions; default: the best of the device."""
        network = prepare_for_inference(network, device, precision or best_precision(device))
        super().__init__(network, identity, long_side)
        self._recent: dict[tuple[int, int], tuple[tuple[LazyView, LazyView], tuple[Tokens, Tokens]]] = {}

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> Tokens:
        """Encoder tokens."""
        tensor = to_tensor(image, self.device)
        return Tokens(self.network.encode(tensor), self.network.grid(tensor))

    @torch.inference_mode()
    def decode(self, first: Tokens, second: Tokens) -> tuple[LazyView, LazyView]:
        """Both views in the first camera's frame. The second has no features. The last few pairs are remembered."""
        pair = (id(first), id(second))
        if pair in self._recent:
            return self._recent[pair][0]
        hooks1, hooks2 = self.network.decode(first.tokens, second.tokens, first.grid, second.grid)
        heads1, heads2 = self.network.downstream_head1, self.network.downstream_head2
        views = LazyView(self, heads1, hooks1, first.grid), LazyView(self, heads2, hooks2, second.grid)
        self._recent[pair] = views, (first, second)  # held, so that the ids stay theirs
        if len(self._recent) > REMEMBERED_PAIRS:
            del self._recent[next(iter(self._recent))]
        return views

    @torch.inference_mode()
    def features(self, hooks: list[Tensor], grid: tuple[int, int]) -> np.ndarray:
        """(H / 4, W / 4, D) float16 of a first view: the language head without its last layer."""
        inputs = pooled(self.language_head.penultimate(hooks, grid), FEATURE_CELL)
        return unit_features(inputs.float(), self.gram).half().cpu().numpy()
