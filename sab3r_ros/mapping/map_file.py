"""`.sab3r` files: a map that outlives the process that made it.

Layout: MAGIC, format version (4 bytes, little-endian), SHA-256 of the rest (32 bytes), then a safetensors
block whose metadata names the model. It holds the model's feature basis, so that locating needs only the
text encoder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sab3r_ros import __version__
from sab3r_ros.errors import MapFileError
from sab3r_ros.types import MapSnapshot, Trajectory
from sab3r_ros.voxels import Voxels

MAGIC = b"SAB3RMAP"
FORMAT_VERSION = 2
HEAD_BYTES = len(MAGIC) + 4 + 32

# Array → its type and number of dimensions; N voxels, K keyframes, D feature dimensions, L language
# dimensions.
ARRAYS = {
    "points": (np.float32, 2),
    "colors": (np.uint8, 2),
    "codes": (np.int8, 2),
    "scales": (np.float16, 1),
    "confidence": (np.float16, 1),
    "hits": (np.uint16, 1),
    "anchors": (np.int32, 1),
    "stamps": (np.float64, 1),
    "T_WC": (np.float64, 3),
    "feature_basis": (np.float32, 2),
}


@dataclass(frozen=True)
class SavedMap:
    """What a map file holds. state: the mapper's own arrays, to go on mapping; empty if only the map was
    saved.
    """

    snapshot: MapSnapshot
    model_identity: str
    language: str
    feature_basis: np.ndarray
    state: dict[str, np.ndarray]


def save_map(
    path: str | Path,
    snapshot: MapSnapshot,
    model_identity: str,
    language: str,
    feature_basis: np.ndarray,
    state: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a map. The file appears whole or not at all; one that was there stays until the new one is on
    disk.

    Raises MapFileError if the path cannot be written or the disk is full.
    """
    voxels = snapshot.voxels()
    arrays = {
        **{f.name: getattr(voxels, f.name) for f in fields(voxels)},
        "stamps": snapshot.trajectory.stamps,
        "T_WC": snapshot.trajectory.T_WC,
        "feature_basis": feature_basis,
    }
    tensors = {name: np.ascontiguousarray(value, ARRAYS[name][0]) for name, value in arrays.items()}
    tensors |= {f"state/{name}": np.ascontiguousarray(value) for name, value in (state or {}).items()}
    about = {
        "model_identity": model_identity,
        "language": language,
        "voxel_size_m": snapshot.voxel_size_m,
        "version": snapshot.version,
        "written_by": f"sab3r_ros {__version__}",
    }
    body = save(tensors, {"about": json.dumps(about)})
    head = MAGIC + FORMAT_VERSION.to_bytes(4, "little") + hashlib.sha256(body).digest()
    write_whole(Path(path), head, body)


def write_whole(path: Path, *parts: bytes) -> None:
    """Write a file atomically: beside its place, flushed to the disk, then renamed. Raises MapFileError."""
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
        with contextlib.suppress(OSError):  # some file systems cannot flush a folder; the file itself is safe
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise MapFileError(write_problem(path, error, sum(map(len, parts)))) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def write_problem(path: Path, error: OSError, size: int) -> str:
    """Why a map was not written, and what to do."""
    kept = "; the map that was there is kept" if path.is_file() else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no room on the disk for {path} ({size / 1e6:.1f} MB): free some or save elsewhere{kept}"
    if not path.parent.is_dir():
        return f"cannot write {path}: {path.parent} is not a folder; create it or save elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot write {path}: not permitted ({error.strerror}); save where you may write{kept}"
    return f"cannot write {path}: {error.strerror}{kept}"


def load_map(path: str | Path, for_model: str | None = None) -> SavedMap:
    """Read a map. for_model: identity of the model that is to go on with it; None accepts any model's map.

    Raises MapFileError if the file is missing, no map, of a newer format, truncated, corrupt or of another
    model.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MapFileError(f"there is no map at {path}: make one with `sab3r map`") from error
    except OSError as error:
        raise MapFileError(f"cannot read {path}: {error.strerror}") from error
    body = checked_body(path, data)
    try:
        tensors = load(body)
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
        saved = assemble(tensors, json.loads(header["__metadata__"]["about"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise MapFileError(f"{path} is not a usable map: {error}") from error
    if for_model is not None and saved.model_identity != for_model:
        raise MapFileError(
            f"{path} was made with model {saved.model_identity}, whose features model {for_model} cannot read: load "
            f"it with {saved.model_identity}, or map again"
        )
    return saved


def checked_body(path: Path, data: bytes) -> bytes:
    """What follows the head. Raises MapFileError unless magic, version and checksum fit."""
    if data[: len(MAGIC)] != MAGIC:
        raise MapFileError(f"{path} is not a map file (.sab3r)" if data else f"{path} is empty, not a map")
    version = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little")
    if version != FORMAT_VERSION and len(data) > HEAD_BYTES:
        what_to_do = "update sab3r_ros" if version > FORMAT_VERSION else "it is too old, map again"
        raise MapFileError(
            f"{path} has map format {version}, this version reads {FORMAT_VERSION}: {what_to_do}"
        )
    body = data[HEAD_BYTES:]
    if hashlib.sha256(body).digest() != data[len(MAGIC) + 4 : HEAD_BYTES]:
        raise MapFileError(
            f"{path} is truncated or corrupt (its checksum does not fit): copy or make it again"
        )
    return body


def assemble(tensors: dict[str, np.ndarray], about: dict) -> SavedMap:
    """Arrays and description → SavedMap. Raises KeyError or ValueError if something is missing or does not
    fit.
    """
    for name, (dtype, ndim) in ARRAYS.items():
        if tensors[name].dtype != dtype or tensors[name].ndim != ndim:
            raise ValueError(f"'{name}' has type {tensors[name].dtype} and shape {tensors[name].shape}")
    state = {
        name.removeprefix("state/"): value for name, value in tensors.items() if name.startswith("state/")
    }
    t = {name: tensors[name] for name in ARRAYS}
    n, k = len(t["points"]), len(t["stamps"])
    voxels = Voxels(*(t[f.name] for f in fields(Voxels)))
    fits = (
        t["points"].shape == t["colors"].shape == (n, 3)
        and all(len(column) == n for column in voxels.columns())
        and t["T_WC"].shape == (k, 4, 4)
        and t["codes"].shape[1] == t["feature_basis"].shape[1]
    )
    if not fits:
        raise ValueError(f"its arrays disagree: { {name: value.shape for name, value in t.items()} }")
    for value in t.values():
        value.setflags(write=False)
    snapshot = MapSnapshot(
        (voxels,),
        t["codes"].shape[1],
        float(about["voxel_size_m"]),
        Trajectory(t["stamps"], t["T_WC"]),
        str(about["model_identity"]),
        int(about["version"]),
    )
    return SavedMap(snapshot, snapshot.model_identity, str(about["language"]), t["feature_basis"], state)
