"""Checkpoints in safetensors: saving, strict loading by memory map, configuration inside the file."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sab3r_ros.config import from_dict
from sab3r_ros.errors import CheckpointError, ConfigError
from sab3r_ros.model.sab3r import SAB3R
from sab3r_ros.model.sizes import SAB3RConfig

FORMAT = "sab3r-1"


def config_from_json(text: str) -> SAB3RConfig:
    """Inverse of `json.dumps(asdict(config))`. Raises ConfigError on unknown or unfit fields."""
    values = json.loads(text)
    values["features"] = tuple((str(name), int(dim)) for name, dim in values.get("features", ()))
    return from_dict(SAB3RConfig, values)


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """State dict without aliases: each tensor once, under its first name."""
    seen: set[int] = set()
    state = {}
    for key, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            state[key] = value.detach()
    return state


def save_checkpoint(path: str | Path, model: SAB3R, metadata: dict[str, str]) -> None:
    """Write a model in float16 with its configuration; the file appears whole or not at all. metadata:

    free notes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = {**metadata, "format": FORMAT, "config": json.dumps(asdict(model.config))}
    tensors = {k: v.to("cpu", torch.float16).contiguous() for k, v in own_tensors(model).items()}
    for key, value in tensors.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{key} is not finite in float16: the model is not worth saving")
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, metadata=notes)
    os.replace(temporary, path)


def file_digest(path: Path) -> str:
    """Hexadecimal sha256 of a file. Raises CheckpointError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    return digest.hexdigest()


def read_metadata(path: Path) -> dict[str, str]:
    """Notes of a safetensors file."""
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def load_checkpoint(path: str | Path) -> SAB3R:
    """Read a model, float32, in evaluation mode.

    Raises CheckpointError if the file is missing, corrupt or foreign.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {path}: give the path of a .safetensors file, or 'mini' for the embedded one"
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file ({error}): fetch or convert it again"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} was not written by this package: convert it first (sab3r weights convert {path})"
        )
    try:
        config = config_from_json(metadata["config"])
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path} has no usable configuration: {error}") from error
    with torch.device("meta"):
        model = SAB3R(config)
    wanted = own_tensors(model)
    problems = [f"missing {k}" for k in wanted if k not in state]
    problems += [f"unexpected {k}" for k in state if k not in wanted]
    problems += [
        f"{k} is {tuple(state[k].shape)}, not {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in state and state[k].shape != v.shape
    ]
    if problems:
        raise CheckpointError(f"{path} does not fit its configuration: {'; '.join(problems)}")
    aliases = {k: state[first] for k, first in alias_names(model).items()}
    model.load_state_dict(state | aliases, assign=True)
    return model.eval()


def alias_names(model: nn.Module) -> dict[str, str]:
    """Key of each repeated tensor of the state dict → the key under which it came first."""
    first: dict[int, str] = {}
    found = {}
    for key, value in model.state_dict(keep_vars=True).items():
        if id(value) in first:
            found[key] = first[id(value)]
        first.setdefault(id(value), key)
    return found
