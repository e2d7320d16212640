"""Furniture libraries of Sweet Home 3D (.sh3f: zip files of OBJ models with a catalogue), as pieces."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sab3r_ros.errors import ConfigError
from sab3r_ros.rooms.obj import read_obj
from sab3r_ros.rooms.pieces import Piece, nyu40_class
from sab3r_ros.rooms.store import fingerprint, load_pieces, save_pieces

log = logging.getLogger(__name__)

DEBIAN_PACKAGE = "sweethome3d-furniture"  # 120 MB; CC BY 3.0 and CC0
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sab3r_ros" / "furniture"
MAX_TRIANGLES = 40_000
MAX_MODEL_BYTES = 9_000_000
SIZE_RANGE_M = (0.03, 3.3)
OTHER_CATEGORIES = {"Vehicles", "Characters", "Staircases", "Exterior"}
NOT_INDOORS = re.compile(
    r"plug|switch|socket|dimmer|pool|hut|hedge|pine|poplar|maple|palm|tree|street|car$|van$|truck|goal|railing|fountain|seesaw|"
    r"swing|trampoline|lantern|male|girl|boy$|lady|man$|woman|cube|rails|crossing|porch|garage|gate|chimney|staircase|parking|"
    r"shipping|concept|motorbike|mower|rowboat|faucet|hood|column|rock|intercom|water heater|hose|garden|sandpit|stroller",
    re.I,
)
# The catalogue's names where they mislead; "" leaves the piece out.
NAMES = {
    "Screen": "folding screen",
    "Keyboard": "music keyboard",
    "Puff": "pouf",
    "Hashtray": "ashtray",
    "Mocassin": "shoe",
    "Trunck": "trunk",
    "Teck chair": "teak chair",
    "Island": "kitchen island",
    "Little bank": "",
    "Wood bank": "wooden bench",
    "Phone": "telephone",
    "Wireless phone": "telephone",
    "TV": "television",
    "TV 16:9": "television",
    "Wall flat TV": "television",
    "Fridge": "refrigerator",
    "Large fridge": "refrigerator",
    "Toilets unit": "toilet",
    "Frame Chambord": "picture frame",
    "Coffee cup": "mug",
    **dict.fromkeys(("Ficus", "Yucca", "Bamboo", "Spathiphyllum"), "plant"),
    **dict.fromkeys(
        ("Plant", "Indoor plant", "Little plant", "Decorative plant", "Spider plant", "Succulent plant"),
        "potted plant",
    ),
}


def fetch(cache: Path = CACHE) -> Path:
    """The folder with the .sh3f files, fetched from Debian's archive the first time. Raises ConfigError if that fails."""
    folder = cache / "usr" / "share" / "sweethome3d" / "furniture"
    if any(folder.glob("*.sh3f")):
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as place:
        try:
            subprocess.run(
                ["apt-get", "download", DEBIAN_PACKAGE], cwd=place, check=True, capture_output=True, text=True
            )
            (package,) = Path(place).glob("*.deb")
            subprocess.run(
                ["dpkg", "-x", package.name, str(cache)],
                cwd=place,
                check=True,
                capture_output=True,
                text=True,
            )
        except (OSError, subprocess.CalledProcessError, ValueError) as error:
            why = getattr(error, "stderr", "") or error
            raise ConfigError(
                f"cannot fetch {DEBIAN_PACKAGE}: {why}. On Debian or Ubuntu run `apt-get update` first; elsewhere unpack the "
                f"package's .sh3f files into {folder}"
            ) from error
    return folder


def load_library(folder: Path | None = None) -> list[Piece]:
    """All usable pieces of the .sh3f files in `folder` (default: fetched). Raises ConfigError if there are none.

    Takes half a minute the first time; then they are read from a file beside the libraries, in a second or two.
    """
    folder = Path(folder or fetch())
    libraries = sorted(folder.glob("*.sh3f"))
    store, mark = folder / "pieces.npz", fingerprint(libraries)
    kept = load_pieces(store, mark)
    if kept is not None:
        return kept
    pieces: list[Piece] = []
    for file in libraries:
        with zipfile.ZipFile(file) as archive:
            entries = read_catalogue(archive.read("PluginFurnitureCatalog.properties").decode("latin-1"))
            for entry in tqdm(entries, desc=file.stem, unit="piece"):
                piece = make_piece(archive, entry)
                if piece is not None:
                    pieces.append(piece)
    if not pieces:
        raise ConfigError(f"{folder} holds no furniture library (.sh3f)")
    save_pieces(store, pieces, mark)
    return pieces


def read_catalogue(text: str) -> list[dict[str, str]]:
    """Java properties 'key#number=value' → a dictionary a number."""
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        match = re.match(r"(\w+)#(\d+)=(.*)", line)
        if match:
            value = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), match[3].strip())
            entries.setdefault(int(match[2]), {})[match[1]] = value.replace("\\", "")
    return [entries[n] for n in sorted(entries)]


def make_piece(archive: zipfile.ZipFile, entry: dict[str, str]) -> Piece | None:
    """A catalogue entry as a piece, or None if it has no place indoors, no clear name, or too heavy a model."""
    name = NAMES.get(entry.get("name", ""), entry.get("name", "")).lower()
    if not name or NOT_INDOORS.search(name) or entry.get("category") in OTHER_CATEGORIES:
        return None
    size = np.array([float(entry[k]) for k in ("width", "depth", "height")]) / 100
    if not SIZE_RANGE_M[0] < size.max() < SIZE_RANGE_M[1]:
        return None
    try:
        model = archive.getinfo(entry["model"].lstrip("/"))
        if model.file_size > MAX_MODEL_BYTES:
            return None
        vertices, triangles, uv, material, colors, texture, textures = read_obj(archive, model.filename)
    except (KeyError, ValueError, IndexError) as error:
        log.warning("leaving out '%s': %s", name, error)
        return None
    if not 0 < len(triangles) <= MAX_TRIANGLES:
        return None
    if "modelRotation" in entry:
        vertices = vertices @ np.array([float(x) for x in entry["modelRotation"].split()]).reshape(3, 3).T
    vertices = vertices[:, [0, 2, 1]] * [1, -1, 1]  # y up, front +z → z up, front −y
    low, high = vertices.min(0), vertices.max(0)
    vertices = (vertices - (low + high) / 2) / np.maximum(high - low, 1e-6) * size + [0, 0, size[2] / 2]
    role = role_of(name, size, float(entry.get("elevation", 0)) / 100, entry.get("doorOrWindow") == "true")
    drop = float(entry.get("dropOnTopElevation", -1)) / 100
    top = drop if drop > 0 else float(size[2]) if role == "floor" and size[2] < 1.3 else -1.0
    return Piece(
        entry["id"],
        name,
        nyu40_class(name),
        role,
        size,
        vertices.astype(np.float32),
        triangles,
        uv,
        material,
        colors,
        texture,
        textures,
        top,
    )


def role_of(name: str, size: np.ndarray, elevation: float, door_or_window: bool) -> str:
    """Where a piece goes, from its name, size and hanging height in metres."""
    if door_or_window:
        return "door" if "door" in name and elevation < 0.2 and size[2] > 1.5 else "window"
    if re.search("carpet|rug$", name):
        return "rug"
    if elevation > 1.9 or re.search("hanging|pendant|chandelier|ceiling", name):
        return "ceiling"
    if elevation > 0.4 or re.search("wall|frame|mirror|towel rack|hanger", name):
        return "wall"
    stands = re.search("chair|stool|table|pouf|cabinet|bin|trash|bidet|toilet$", name)
    return "top" if size[2] < 0.75 and size[:2].max() < 0.7 and not stands else "floor"
