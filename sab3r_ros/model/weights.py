"""Checkpoints of this package: safetensors with the configuration inside, loaded strictly and by memory map."""

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
from sab3r_ros.model.precision import layer_precision
from sab3r_ros.model.sab3r import SAB3R
from sab3r_ros.model.sizes import SAB3RConfig

FORMAT = "sab3r-1"
CONVERSION_CHUNK = 64  # tensors read through one memory map while their type changes
SAFETENSORS_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
MOST_KEYS_NAMED = 12  # in an error


def config_from_json(text: str) -> SAB3RConfig:
    """Inverse of `json.dumps(asdict(config))`. Raises ConfigError on unknown or unfit fields."""
    values = json.loads(text)
    values["features"] = tuple((str(name), int(dim)) for name, dim in values.get("features", ()))
    return from_dict(SAB3RConfig, values)


def meta_model(config: SAB3RConfig) -> SAB3R:
    """The network without memory behind its parameters: names and shapes only."""
    with torch.device("meta"):
        return SAB3R(config)


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """State dict without aliases: each tensor once, under its first name."""
    repeated = aliases(model)
    return {k: v.detach() for k, v in model.state_dict(keep_vars=True).items() if k not in repeated}


def aliases(model: nn.Module) -> dict[str, str]:
    """Key of each repeated tensor of the state dict → the key under which it came first."""
    first: dict[int, str] = {}
    found = {}
    for key, value in model.state_dict(keep_vars=True).items():
        if first.setdefault(id(value), key) != key:
            found[key] = first[id(value)]
    return found


def check_keys(shapes: dict[str, tuple[int, ...]], model: SAB3R, path: Path) -> None:
    """Raises CheckpointError naming missing, unexpected and misshapen keys. shapes: without aliases."""
    wanted = {key: tuple(value.shape) for key, value in own_tensors(model).items()}
    problems = [f"missing {key}" for key in wanted if key not in shapes]
    problems += [f"unexpected {key}" for key in shapes if key not in wanted]
    problems += [
        f"{key} is {shapes[key]}, not {wanted[key]}"
        for key in wanted
        if key in shapes and shapes[key] != wanted[key]
    ]
    if problems:
        more = len(problems) - MOST_KEYS_NAMED
        tail = f"; and {more} more" if more > 0 else ""
        raise CheckpointError(
            f"{path} does not fit the network: {'; '.join(problems[:MOST_KEYS_NAMED])}{tail}"
        )


def write_checkpoint(
    path: Path, tensors: dict[str, Tensor], config: SAB3RConfig, metadata: dict[str, str]
) -> None:
    """Write tensors with their configuration; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = {**metadata, "format": FORMAT, "config": json.dumps(asdict(config))}
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, metadata=notes)
    temporary.chmod(0o644)  # the library writes it for its owner alone
    os.replace(temporary, path)


def save_checkpoint(path: str | Path, model: SAB3R, metadata: dict[str, str]) -> None:
    """Write a model in float16. metadata: free notes. Raises CheckpointError if a value does not fit float16."""
    tensors = {k: v.to("cpu", torch.float16).contiguous() for k, v in own_tensors(model).items()}
    for key, value in tensors.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{key} is not finite in float16: this model is not worth saving")
    write_checkpoint(Path(path), tensors, model.config, metadata)


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
    """Notes of a checkpoint. Raises CheckpointError if it is missing, corrupt or not this package's."""
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {path}: give a .safetensors file, or see `sab3r weights --help`"
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file ({error}); if it is a public checkpoint, convert it "
            f"(sab3r weights convert {path}), else fetch it again"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not of this package: convert it first (sab3r weights convert {path})"
        )
    return metadata


def read_config(path: Path) -> SAB3RConfig:
    """Configuration of a checkpoint. Raises CheckpointError as `read_metadata` does."""
    try:
        return config_from_json(read_metadata(path)["config"])
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path} has no usable configuration: {error}") from error


def read_tensors(path: Path, kinds: dict[str, torch.dtype]) -> dict[str, Tensor]:
    """Tensors of a file in the given types, by key.

    A file whose types need no change stays memory-mapped. Otherwise all is copied, through a memory map that is
    renewed now and then, so that pages already copied do not stay in memory beside their copies.
    """
    keys, out = list(kinds), {}
    with safe_open(path, "pt") as file:
        if all(file.get_slice(key).get_dtype() == SAFETENSORS_NAMES.get(kinds[key]) for key in keys):
            return {key: file.get_tensor(key) for key in keys}
    for start in range(0, len(keys), CONVERSION_CHUNK):
        with safe_open(path, "pt") as file:
            for key in keys[start : start + CONVERSION_CHUNK]:
                out[key] = file.get_tensor(key).to(kinds[key], copy=True)
    return out


def load_checkpoint(path: str | Path, precision: torch.dtype = torch.float32) -> SAB3R:
    """Read a model in evaluation mode, its linear layers and convolutions in `precision`.

    Raises CheckpointError if the file is missing, corrupt, foreign, or does not fit its own configuration.
    """
    path = Path(path)
    model = meta_model(read_config(path))
    kinds = layer_precision(model, precision)
    try:
        with safe_open(path, "pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        check_keys(shapes, model, path)
        state = read_tensors(path, {key: kinds[key] for key in shapes})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); fetch or convert it again") from error
    repeated = {key: state[first] for key, first in aliases(model).items()}
    model.load_state_dict(state | repeated, assign=True)
    return model.requires_grad_(True).eval()
