"""The seam between networks and maps: one `FeatureModel`, whichever network runs behind it."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sab3r_ros.errors import CheckpointError
from sab3r_ros.model.precision import best_precision, prepare_for_inference
from sab3r_ros.model.preprocess import fit, to_tensor
from sab3r_ros.model.sab3r import SAB3R, ViewHeads, pinhole_points
from sab3r_ros.model.weights import load_checkpoint, read_metadata
from sab3r_ros.types import View

log = logging.getLogger(__name__)

EMBEDDED = Path(__file__).parent / "checkpoints" / "mini.safetensors"
MINI_LONG_SIDE, PUBLIC_LONG_SIDE = 256, 512  # pixels: what each network was trained on
FEATURE_CELL = 4  # pixels a side that share one language feature
TEXT_SPACES = {"language": "minilm-l6-v2", "clip": "openclip-vit-b-16-openai"}  # semantic head → its text encoder

Encoding = Any


class FeatureModel(Protocol):
    """What a map asks of a network.

    identity: two models with different features differ in it. language: the text encoder that speaks its space, empty
    without a language head. feature_basis: (L, D) float32; the language vector of a stored feature f (D,) is
    feature_basis @ f. monocular: a view does not depend on its partner.
    """

    identity: str
    language: str
    feature_basis: np.ndarray
    monocular: bool

    def prepare(self, image: np.ndarray, K: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """RGB uint8 (H, W, 3) of any size → the network's size, K mapped to its pixels. Raises ImageError."""
        ...

    def encode(self, image: np.ndarray) -> Encoding:
        """Once a keyframe; image as `prepare` returned it."""
        ...

    def decode(self, first: Encoding, second: Encoding) -> tuple[View, View]:
        """Both views. Points are in the first camera's frame, or each in its own where the model is monocular.

        `decode(i, j)[0].points` is always i's own-frame pointmap. The second view of a two-view network has no features.
        """
        ...


def language_basis(linear: nn.Module) -> np.ndarray:
    """Weight and bias of a head's last linear layer as one matrix (L, D + 1): the bias belongs to a constant input."""
    weight = linear.weight.detach().float().flatten(1)
    return torch.cat([weight, linear.bias.detach().float()[:, None]], 1).cpu().numpy()


def unit_features(inputs: Tensor, gram: Tensor) -> Tensor:
    """Inputs of the last linear layer (..., D) → (..., D + 1) with the constant, scaled so that the language vector is unit.

    gram: (D + 1, D + 1) basisᵀ @ basis; it gives the vector's length without making the vector.
    """
    f = torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1)
    return f * ((f @ gram) * f).sum(-1, keepdim=True).clamp_min(1e-12).rsqrt()


def pooled(features: Tensor, gram: Tensor, cell: int) -> Tensor:
    """Mean of unit language vectors over cells, unit again: features (H, W, D) → (H / cell, W / cell, D). Exact by linearity."""
    h, w, d = features.shape
    mean = features.view(h // cell, cell, w // cell, cell, d).mean((1, 3))
    return mean * ((mean @ gram) * mean).sum(-1, keepdim=True).clamp_min(1e-12).rsqrt()


class _Common:
    """Identity, basis and image size, the same for both kinds."""

    def __init__(self, network: SAB3R, identity: str, long_side: int) -> None:
        self.network, self.identity, self.long_side = network, identity, long_side
        self.monocular = network.config.monocular
        self.device = next(network.parameters()).device
        spoken = next((name for name, _ in network.config.features if name in TEXT_SPACES), None)
        self.language = TEXT_SPACES[spoken] if spoken else ""
        last = None
        if spoken:
            last = network.language_linear if self.monocular else getattr(network.downstream_head1, f"{spoken}_head").head[4]
        self.feature_basis = language_basis(last) if last is not None else np.zeros((0, 0), np.float32)
        basis = torch.from_numpy(self.feature_basis).to(self.device)
        self.gram = basis.T @ basis

    def prepare(self, image: np.ndarray, K: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        return fit(image, K, self.long_side, self.network.config.multiple, square_to_4_3=not self.monocular)


class MonocularModel(_Common):
    """The embedded network: encoding computes the whole view, decoding is free."""

    def __init__(self, network: SAB3R, identity: str, device: torch.device, long_side: int = MINI_LONG_SIDE) -> None:
        network = network.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()
        super().__init__(network, identity, long_side)

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> View:
        raw = self.network.forward_raw(to_tensor(image, self.device))
        geometry = torch.cat([raw["logz"], raw["conf"]], 1)
        logz, confidence = nn.functional.interpolate(
            geometry, size=image.shape[:2], mode="bilinear", align_corners=False
        ).unbind(1)
        features = unit_features(raw["language_input"][0].permute(1, 2, 0), self.gram)
        return View(
            points=pinhole_points(logz.exp(), raw["focal"])[0].cpu().numpy(),
            confidence=confidence[0].cpu().numpy(),
            descriptors=np.ascontiguousarray(raw["desc"][0].permute(1, 2, 0).cpu().numpy()),
            descriptor_confidence=raw["desc_conf"][0, 0].cpu().numpy(),
            features=features.half().cpu().numpy(),
        )

    def decode(self, first: View, second: View) -> tuple[View, View]:
        return first, second


@dataclass(frozen=True)
class Tokens:
    """A keyframe as a two-view network remembers it. tokens: (1, N, C) float32. grid: rows, columns."""

    tokens: Tensor
    grid: tuple[int, int]


class LazyView:
    """A `View` whose maps are computed when they are first asked for: heads that nobody reads cost nothing."""

    def __init__(self, model: TwoViewModel, heads: ViewHeads, hooks: list[Tensor], grid: tuple[int, int]) -> None:
        self._model, self._heads, self._hooks, self._grid = model, heads, hooks, grid

    @cached_property
    def _geometry(self) -> dict[str, np.ndarray]:
        return self._run(self._model.network.geometry)

    @cached_property
    def _descriptors(self) -> dict[str, np.ndarray]:
        return self._run(self._model.network.descriptors)

    @torch.inference_mode()
    def _run(self, head: Any) -> dict[str, np.ndarray]:
        return {key: value[0].cpu().numpy() for key, value in head(self._heads, self._hooks, self._grid).items()}

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
        network = self._model.network
        if self._heads is not network.downstream_head1 or not self._model.language:
            return None  # the second view's head ends in another linear layer: its inputs do not share the basis
        return self._model.features(self._hooks, self._grid)


class TwoViewModel(_Common):
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
        super().__init__(prepare_for_inference(network, device, precision or best_precision(device)), identity, long_side)

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> Tokens:
        tensor = to_tensor(image, self.device)
        return Tokens(self.network.encode(tensor), self.network.grid(tensor))

    @torch.inference_mode()
    def decode(self, first: Tokens, second: Tokens) -> tuple[LazyView, LazyView]:
        hooks1, hooks2 = self.network.decode(first.tokens, second.tokens, first.grid, second.grid)
        heads1, heads2 = self.network.downstream_head1, self.network.downstream_head2
        return LazyView(self, heads1, hooks1, first.grid), LazyView(self, heads2, hooks2, second.grid)

    @torch.inference_mode()
    def features(self, hooks: list[Tensor], grid: tuple[int, int]) -> np.ndarray:
        """(H / 4, W / 4, D) float16 of a first view: the language head without its last layer, which the basis replaces."""
        head = next(
            getattr(self.network.downstream_head1, f"{name}_head")
            for name, _ in self.network.config.features
            if name in TEXT_SPACES
        )
        inputs = head.penultimate(hooks, grid)[0].permute(1, 2, 0).float()
        return pooled(unit_features(inputs, self.gram), self.gram, FEATURE_CELL).half().cpu().numpy()


def load_model(name_or_path: str | Path = "mini", device: str | torch.device | None = None) -> FeatureModel:
    """A model ready to map with. name_or_path: "mini" (embedded) or a checkpoint's path. device: default CUDA if there is one.

    Raises CheckpointError if the checkpoint is missing, corrupt or foreign.
    """
    path = EMBEDDED if str(name_or_path) == "mini" else Path(name_or_path)
    place = torch.device(device) if device is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = load_checkpoint(path)
    digest = read_metadata(path).get("source_sha256") or file_digest(path)
    name = "mini" if network.config.monocular else ("sab3r" if network.config.features else "mast3r")
    identity = f"{name}-{digest[:8]}"
    log.info("model %s on %s", identity, place)
    return (MonocularModel if network.config.monocular else TwoViewModel)(network, identity, place)


def file_digest(path: Path) -> str:
    """Hexadecimal sha256 of a file. Raises CheckpointError if it cannot be read."""
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
