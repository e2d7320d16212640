"""How a voxel's feature is best kept: bytes, what is lost, and time, for several codes on a network's real features.

    python bench/compression.py --rooms build/rooms/test-0

Codes that are fitted (a PCA basis, a codebook) are fitted on the first half of the rooms and judged on the second.
"Loss" is one minus the cosine of the language vectors; "flips" are vectors whose nearest indoor noun changes; "after
100 updates" is the loss, against the same mean in float32, of a mean that was stored in the code after each of 100
noisy views, the first 10 of them of another thing: the case that separates the codes, a mean that must still move with
little noise to help it over the code's steps. Where views only scatter about one feature, their noise does that.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.cluster.vq import kmeans2, vq
from tqdm import tqdm

from sab3r_ros.model.feature_model import FeatureModel, load_model
from sab3r_ros.querying.score import POOL
from sab3r_ros.querying.text import load_text_encoder
from sab3r_ros.training.shards import Shard, Vocabulary
from sab3r_ros.voxels import decoded, encoded

UPDATES, WRONG, NOISE, UPDATED = (
    100,
    10,
    0.1,
    2000,
)  # views, the first of them, noise as a share of the length, features
JUDGED = 50_000  # features
FITTED = 20_000


class Code(Protocol):
    """name: for the table. bytes: of one feature. fit, encode, decode: (N, D) float32; rng asks for unbiased rounding."""

    name: str
    bytes: int

    def fit(self, features: np.ndarray) -> None: ...

    def encode(self, features: np.ndarray, rng: np.random.Generator | None = None) -> object: ...

    def decode(self, codes: object) -> np.ndarray: ...


class Half:
    """float16, as it was."""

    name = "float16"

    def fit(self, features):
        self.bytes = 2 * features.shape[1]

    def encode(self, features, rng=None):
        return features.astype(np.float16)

    def decode(self, codes):
        return codes.astype(np.float32)


class Byte:
    """int8 with a float16 scale a vector: what the map uses."""

    def __init__(self, dithered: bool) -> None:
        self.dithered = dithered
        self.name = "int8, a scale a vector" + ("" if dithered else ", rounded to the nearest")

    def fit(self, features):
        self.bytes = features.shape[1] + 2

    def encode(self, features, rng=None):
        return encoded(features, rng if self.dithered else None)

    def decode(self, codes):
        return decoded(*codes)


class Basis:
    """The leading axes of a PCA, int8 with a scale."""

    def __init__(self, axes: int) -> None:
        self.axes, self.name, self.bytes = axes, f"PCA to {axes}, int8, a scale a vector", axes + 2

    def fit(self, features):
        self.basis = np.linalg.svd(features, full_matrices=False)[2][: self.axes].T

    def encode(self, features, rng=None):
        return encoded(features @ self.basis, rng)

    def decode(self, codes):
        return decoded(*codes) @ self.basis.T


class Product:
    """Product quantisation: 256 centroids for each of some parts of the vector."""

    def __init__(self, parts: int) -> None:
        self.parts, self.name, self.bytes = parts, f"product quantisation, {parts} × 256", parts

    def fit(self, features):
        self.cuts = np.array_split(np.arange(features.shape[1]), self.parts)
        self.books = [kmeans2(features[:, c], 256, iter=10, minit="points", seed=0)[0] for c in self.cuts]

    def encode(self, features, rng=None):
        return [vq(features[:, c], b)[0].astype(np.uint8) for c, b in zip(self.cuts, self.books, strict=True)]

    def decode(self, codes):
        return np.concatenate([b[k] for b, k in zip(self.books, codes, strict=True)], 1).astype(np.float32)


def room_features(folder: Path, model: FeatureModel, rooms: int, size: tuple[int, int]) -> list[np.ndarray]:
    """(M, D) float32 of each room's frames."""
    shard, out = Shard(folder, Vocabulary(), size), []
    for a, b in tqdm(list(shard._rooms(0))[:rooms], desc="rooms", disable=None):
        maps = []
        for k in range(a, b):
            encoding = model.encode(np.array(shard.images[k]))
            features = model.decode(encoding, encoding)[0].features
            maps.append(features.reshape(-1, features.shape[-1]).astype(np.float32))
        out.append(np.concatenate(maps))
    return out


def judged(code: Code, fit: np.ndarray, test: np.ndarray, basis: np.ndarray, nouns: np.ndarray) -> list[str]:
    """A row of the table."""
    code.fit(fit)
    start = time.process_time()
    codes = code.encode(test)
    middle = time.process_time()
    back = code.decode(codes)
    end = time.process_time()
    loss = lost(test, back, basis)
    flips = ((test @ basis.T) @ nouns.T).argmax(1) != ((back @ basis.T) @ nouns.T).argmax(1)
    rng, true, other = np.random.default_rng(0), test[:UPDATED], test[-UPDATED:]
    spread = NOISE * np.linalg.norm(true, axis=1, keepdims=True) / np.sqrt(true.shape[1])
    stored, twin = None, np.zeros_like(true)
    for n in range(1, UPDATES + 1):
        seen = (other if n <= WRONG else true) + spread * rng.normal(size=true.shape).astype(np.float32)
        held = code.decode(stored) if n > 1 else np.zeros_like(true)
        stored, twin = code.encode(held + (seen - held) / n, rng), twin + (seen - twin) / n
    drift = lost(twin, code.decode(stored), basis)
    micro = 1e6 / len(test)
    return [
        code.name,
        str(code.bytes),
        f"{loss.mean():.5f} / {np.quantile(loss, 0.99):.5f}",
        f"{100 * flips.mean():.2f} %",
        f"{drift.mean():.5f}",
        f"{micro * (middle - start):.2f} / {micro * (end - middle):.2f}",
    ]


def lost(a: np.ndarray, b: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(N,) one minus the cosine of the language vectors."""
    a, b = a @ basis.T, b @ basis.T
    return 1 - (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", type=Path, required=True, help="rendered rooms")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--limit", type=int, default=8, help="rooms")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    args = parser.parse_args()
    model = load_model(args.model, "cpu")
    rooms = room_features(args.rooms, model, args.limit, tuple(args.size))
    half, rng = (len(rooms) + 1) // 2, np.random.default_rng(0)
    fit, test = np.concatenate(rooms[:half]), np.concatenate(rooms[half:])
    fit = fit[rng.permutation(len(fit))[:FITTED]]
    test = test[rng.permutation(len(test))[:JUDGED]]
    nouns = load_text_encoder(model.language).encode(list(POOL))
    dim = fit.shape[1]
    codes = (Half(), Byte(True), Byte(False), Basis(48), Basis(32), Product(dim // 2), Product(dim // 4))
    lines = [
        "| code | bytes | loss, mean / 99 % | flips | loss after 100 updates | encode / decode, µs a vector |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for code in tqdm(codes, desc="codes", disable=None):
        lines.append("| " + " | ".join(judged(code, fit, test, model.feature_basis, nouns)) + " |")
    sys.stdout.write(
        "\n".join(lines) + f"\n\n{len(test)} features of {dim} dimensions, model {model.identity}\n"
    )


if __name__ == "__main__":
    main()
