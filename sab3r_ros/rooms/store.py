"""Pieces in one file, so that a furniture library is parsed once: a second instead of half a minute."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sab3r_ros.rooms.pieces import TEXTURE_SIZE, Piece

log = logging.getLogger(__name__)

ARRAYS = (
    "vertices",
    "triangles",
    "uv",
    "material",
    "colors",
    "texture",
    "textures",
)  # of one piece, joined in the file
RULES = ("library.py", "obj.py", "pieces.py", "store.py")  # what decides how a piece is read


def fingerprint(libraries: Sequence[Path]) -> str:
    """Changes with the libraries' files and with the code that reads them."""
    state = hashlib.sha256()
    for file in libraries:
        state.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}\n".encode())
    for name in RULES:
        state.update((Path(__file__).parent / name).read_bytes())
    return state.hexdigest()


def save_pieces(file: Path, pieces: Sequence[Piece], mark: str) -> None:
    """Write pieces and the fingerprint they belong to (300 MB for 550). Where that is not possible, it is logged."""
    joined = {name: np.concatenate([as_array(p, name) for p in pieces]) for name in ARRAYS}
    counts = np.array([[len(getattr(p, name)) for name in ARRAYS] for p in pieces])
    words = json.dumps([[p.id, p.name, p.nyu40, p.role] for p in pieces])
    sizes, tops = np.stack([p.size for p in pieces]), np.array([p.top for p in pieces])
    place = file.with_name(f"{file.stem}.{os.getpid()}.npz")
    try:
        np.savez(place, mark=mark, words=words, counts=counts, size=sizes, top=tops, **joined)
        place.replace(file)
    except OSError as error:
        place.unlink(missing_ok=True)
        log.warning("the furniture will be read again next time: %s", error)


def as_array(piece: Piece, name: str) -> np.ndarray:
    """A piece's array; its list of textures as (N, TEXTURE_SIZE, TEXTURE_SIZE, 3)."""
    value = getattr(piece, name)
    if name == "textures" and not value:
        return np.zeros((0, TEXTURE_SIZE, TEXTURE_SIZE, 3), np.uint8)
    return np.asarray(value)


def load_pieces(file: Path, mark: str) -> list[Piece] | None:
    """Pieces as they were saved, or None if there is no such file, it is broken, or it belongs to another fingerprint."""
    try:
        with np.load(file, allow_pickle=False) as data:
            if str(data["mark"]) != mark:
                return None
            joined = {name: data[name] for name in ARRAYS}
            words, counts, size, top = (
                json.loads(str(data["words"])),
                data["counts"],
                data["size"],
                data["top"],
            )
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        log.warning("reading the furniture anew, %s is broken: %s", file, error)
        return None
    ends = np.concatenate([np.zeros((1, len(ARRAYS)), int), np.cumsum(counts, axis=0)])
    pieces = []
    for k, (identity, name, nyu40, role) in enumerate(words):
        parts = {a: joined[a][ends[k, n] : ends[k + 1, n]] for n, a in enumerate(ARRAYS)}
        parts["textures"] = list(parts["textures"])
        pieces.append(Piece(identity, name, nyu40, role, size[k], top=float(top[k]), **parts))
    return pieces
