"""The seam between networks and maps: one `FeatureModel`, whichever network runs behind it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from sab3r_ros.errors import CheckpointError
from sab3r_ros.model import compilation
from sab3r_ros.model.catalog import CATALOG, cached_files, cached_network
from sab3r_ros.model.network_model import MonocularModel, TwoViewModel
from sab3r_ros.model.precision import best_precision
from sab3r_ros.model.two_models import TwoModelPipeline
from sab3r_ros.model.weights import file_digest, load_checkpoint, read_config, read_metadata
from sab3r_ros.types import View

log = logging.getLogger(__name__)

EMBEDDED = Path(__file__).parent / "checkpoints" / "mini.safetensors"

TWO_MODELS = "mast3r+maskclip"

Encoding = Any


class FeatureModel(Protocol):
    """What a map asks of a network.

    identity: two models with different features differ in it. language: the text encoder that speaks its
    space, empty without a language head. feature_basis: (L, D) float32; the language vector of a stored
    feature f (D,) is feature_basis @ f. monocular: of a view only descriptors depend on its partner.
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
        """Both views, in the first camera's frame, or each in its own where the model is monocular.

        `decode(i, j)[0].points` is always i's own-frame pointmap. Of a monocular model `decode(i, i)` says what i's view
        says alone; with another one it may compare the two, so that descriptors are for this pair. A two-view network
        computes a view's maps when they are first read, and gives language features for the first view only.
        """
        ...


def checkpoint_path(name_or_path: str | Path) -> Path:
    """The file behind "mini", a catalogued network's name, or a path.

    Raises CheckpointError, saying how to get it, if a named network is not in the cache.
    """
    name = str(name_or_path)
    if name == "mini":
        return EMBEDDED
    if name in CATALOG and CATALOG[name].network:
        path = cached_network(name)
        if not path.is_file():
            raise CheckpointError(
                f"{name} is not here yet: run `sab3r weights fetch {name}`, or `sab3r weights convert FILE --name {name}`"
            )
        return path
    return Path(name_or_path)


def load_model(
    name_or_path: str | Path = "mini", device: str | torch.device | None = None, compile_blocks: bool = False
) -> FeatureModel:
    """A model ready to map with.

    name_or_path: "mini" (embedded), "sab3r" or "mast3r" (fetched before), "mast3r+maskclip" (two models, fetched
    before as mast3r, clip and featup), or a checkpoint's path. device: default CUDA if there is one, else CPU.
    compile_blocks: run the transformer blocks through torch.compile; outputs agree within rounding.
    Raises CheckpointError if a checkpoint is missing, corrupt or foreign, ConfigError if compiling is impossible.
    """
    if str(name_or_path) == TWO_MODELS:
        return load_two_models(device, compile_blocks)
    path = checkpoint_path(name_or_path)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    digest = read_metadata(path).get("source_sha256") or file_digest(path)
    model: MonocularModel | TwoViewModel
    if read_config(path).monocular:
        model = MonocularModel(load_checkpoint(path), f"mini-{digest[:8]}", place)
    else:
        precision = best_precision(place)
        network = load_checkpoint(path, precision)
        kind = "sab3r" if network.config.features else "mast3r"
        model = TwoViewModel(network, f"{kind}-{digest[:8]}", place, precision)
    if compile_blocks:
        compilation.compile_blocks(model.network)
    return model


def load_two_models(
    device: str | torch.device | None = None, compile_blocks: bool = False
) -> TwoModelPipeline:
    """MASt3R with MaskCLIP and FeatUp. Raises CheckpointError, saying how to get them, if weights are missing."""
    from sab3r_ros.model.clip_text import load_clip
    from sab3r_ros.teachers.featup import load_jbu
    from sab3r_ros.teachers.maskclip import MaskClip, UpsampledMaskClip

    (jbu,) = cached_files("featup")
    clip, _ = load_clip()
    geometry = load_model("mast3r", device, compile_blocks)
    semantics = (
        UpsampledMaskClip(MaskClip(clip.visual), load_jbu(jbu, clip.config.dim)).to(geometry.device).eval()
    )
    return TwoModelPipeline(geometry, semantics, clip.config.dim)
