"""Public checkpoints (MASt3R's, SAB3R's) → this package's format. Nothing in a file is executed or evaluated."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sab3r_ros.errors import CheckpointError
from sab3r_ros.model.heads import PATCH
from sab3r_ros.model.sizes import SAB3RConfig
from sab3r_ros.model.weights import aliases, check_keys, file_digest, meta_model, write_checkpoint

CONTAINERS = ("model", "module", "state_dict")  # MASt3R's, DeepSpeed's, Lightning's
HEAD_DIM = 64


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict inside a public file, by memory map where the file allows.

    Pickles are read with tensors and `argparse.Namespace` as the only things that they may name.
    Raises CheckpointError if the file is missing, corrupt, or names anything else.
    """
    if not path.is_file():
        raise CheckpointError(f"no file at {path}")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it names something that is not a tensor, or is no pickle at all; nothing of it was "
            f"run ({str(error).splitlines()[0]})"
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is corrupt or of an unknown format: {error}") from error
    if isinstance(content, dict):
        content = next((content[key] for key in CONTAINERS if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} holds no state dict under any of {', '.join(CONTAINERS)}")
    return dict(content)


def config_of(state: dict[str, Tensor], path: Path) -> SAB3RConfig:
    """Sizes, read off the shapes. Raises CheckpointError if this is not a network of the MASt3R family."""

    def shape(key: str) -> torch.Size:
        if key not in state:
            raise CheckpointError(f"{path} is not a MASt3R or SAB3R checkpoint: missing {key}")
        return state[key].shape

    def depth(prefix: str) -> int:
        return 1 + max(
            (int(m[1]) for key in state if (m := re.match(rf"{prefix}\.(\d+)\.", key))), default=-1
        )

    encoder_width, decoder_width = shape("patch_embed.proj.weight")[0], shape("decoder_embed.weight")[0]
    names = [
        m[1] for key in state if (m := re.fullmatch(r"downstream_head1\.(\w+)_head\.head\.4\.weight", key))
    ]
    descriptor_outputs = shape("downstream_head1.head_local_features.fc2.bias")[0] // PATCH**2
    return SAB3RConfig(
        encoder_width=encoder_width,
        encoder_depth=depth("enc_blocks"),
        encoder_heads=encoder_width // HEAD_DIM,
        decoder_width=decoder_width,
        decoder_depth=depth("dec_blocks"),
        decoder_heads=decoder_width // HEAD_DIM,
        features=tuple((n, shape(f"downstream_head1.{n}_head.head.4.weight")[0]) for n in names),
        descriptor_dim=descriptor_outputs - 1,
        desc_conf_mode="1+exp" if names else "exp",  # SAB3R's configuration leaves MASt3R's mode out
    )


def canonical(state: dict[str, Tensor], config: SAB3RConfig, path: Path) -> dict[str, Tensor]:
    """Each tensor once under its first name; an absent second decoder is a copy of the first.

    Raises CheckpointError naming every key that is missing, unexpected, misshapen, or an alias that disagrees.
    """
    state = dict(state)
    model = meta_model(config)
    for alias, first in aliases(model).items():
        if alias in state:
            value = state.pop(alias)
            if not torch.equal(state.setdefault(first, value), value):
                raise CheckpointError(f"{path} contradicts itself: {alias} differs from {first}")
    if not any(key.startswith("dec_blocks2.") for key in state):
        first_decoder = {k: v for k, v in state.items() if k.startswith("dec_blocks.")}
        state |= {
            key.replace("dec_blocks.", "dec_blocks2.", 1): v.clone() for key, v in first_decoder.items()
        }
    check_keys({key: tuple(value.shape) for key, value in state.items()}, model, path)
    return state


def convert(path: Path, out: Path, notes: dict[str, str] | None = None) -> SAB3RConfig:
    """Write a public checkpoint as `out`, float32, with its sizes and the source's sha256. Returns the sizes."""
    state = read_state(path)
    config = config_of(state, path)
    tensors = {key: value.float().contiguous() for key, value in canonical(state, config, path).items()}
    write_checkpoint(out, tensors, config, {**(notes or {}), "source_sha256": file_digest(path)})
    return config
