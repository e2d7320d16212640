"""Weights that others publish: where they are, under which licence, and what this package makes of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sab3r_ros.errors import CheckpointError

NON_COMMERCIAL = "CC BY-NC-SA 4.0: not for commercial use, share alike (https://creativecommons.org/licenses/by-nc-sa/4.0/)"


@dataclass(frozen=True)
class Source:
    """One published file set.

    repo, revision: of the hub; where revision is a branch, the first fetch resolves it to a commit, shows it and locks it
    (model/lock.py).
    files: paths in the repo; the first is the checkpoint. network: whether it converts into a SAB3R network.
    address: of a folder on the web instead of a repo; such files have no commit and no published sha256.
    """

    name: str
    what: str
    repo: str
    files: tuple[str, ...]
    licence: str
    network: bool
    revision: str = "main"
    address: str = ""

    @property
    def page(self) -> str:
        """Where a person finds the files."""
        return self.address or f"https://huggingface.co/{self.repo}"


CATALOG = {
    source.name: source
    for source in (
        Source(
            "sab3r",
            "SAB3R with CLIP and DINOv2 heads, 769,674,632 parameters",
            "uva-cv-lab/SAB3R",
            ("demo_ckpt/base/base.pt",),
            NON_COMMERCIAL,
            network=True,
        ),
        Source(
            "mast3r",
            "MASt3R, metric, 688,638,856 parameters",
            "naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric",
            ("model.safetensors",),
            NON_COMMERCIAL + "; and the licences of its training data",
            network=True,
        ),
        Source(
            "clip",
            "CLIP ViT-B/16 of OpenAI: text queries for SAB3R, teacher images for MaskCLIP",
            "timm/vit_base_patch16_clip_224.openai",
            ("open_clip_model.safetensors", "tokenizer.json"),
            "MIT",
            network=False,
        ),
        Source(
            "featup",
            "FeatUp's upsampler for MaskCLIP",
            "",
            ("maskclip_jbu_stack_cocostuff.ckpt",),
            "MIT",
            network=False,
            address="https://marhamilresearch4.blob.core.windows.net/feature-upsampling-public/pretrained/no_norm",
        ),
        Source(
            "dinov2",
            "DINOv2 ViT-S/14: teacher",
            "timm/vit_small_patch14_dinov2.lvd142m",
            ("model.safetensors",),
            "Apache-2.0",
            network=False,
        ),
    )
}


def cache_folder() -> Path:
    """Where converted weights live: sab3r under XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sab3r"


def cached_network(name: str) -> Path:
    """Where a catalogued network lies once it is converted."""
    return cache_folder() / f"{name}.safetensors"


def cached_path(name: str, file: str) -> Path:
    """Where a file of a catalogued source lies as it was published."""
    return cache_folder() / name / Path(file).name


def cached_files(name: str) -> list[Path]:
    """Files of a catalogued source that is used as it is. Raises CheckpointError, saying what to do, unless all are there."""
    source = CATALOG[name]
    paths = [cached_path(name, file) for file in source.files]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise CheckpointError(
            f"the weights of {name} are not here: run `sab3r weights fetch {name}`, or put "
            f"{', '.join(Path(f).name for f in source.files)} of {source.page} into {paths[0].parent}"
        )
    return paths
