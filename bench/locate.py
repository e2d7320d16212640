"""Does locating return the right thing, an honest score, in milliseconds? A table on rooms with truth.

    python bench/locate.py --rooms build/rooms/test-0 --validation build/rooms/val-0 --out build/bench/locate

Rooms are folders that `python -m sab3r_ros.rooms.write` fills. Thresholds of peers' rules are chosen on the
validation rooms, as this package's curve is (--calibrate prints it).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from locate_judge import Tally, absent, ask_colors, ask_room, ask_synonyms, plain, present
from locate_maps import RoomMap, caption_map, full_map, predicted_map
from locate_rules import PEERS, peer
from tqdm import tqdm

from sab3r_ros.config import LocateConfig, MapperConfig
from sab3r_ros.model.feature_model import load_model
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.text import TextEncoder, load_text_encoder
from sab3r_ros.training.shards import Shard, Vocabulary

THRESHOLDS = (0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", type=Path, required=True, help="test rooms")
    parser.add_argument("--validation", type=Path, help="rooms on which peers' thresholds are chosen")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--limit", type=int, default=16, help="most rooms")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    parser.add_argument("--out", type=Path, help="writes OUT.md and OUT.json")
    parser.add_argument(
        "--calibrate", action="store_true", help="fit the score's curve on these rooms, no table"
    )
    parser.add_argument("--full", action="store_true", help="also the mapper's own maps")
    parser.add_argument(
        "--voxels", type=int, nargs="*", default=[1_000_000], help="map sizes for the latency"
    )
    args = parser.parse_args()
    text, model = load_text_encoder("minilm-l6-v2"), load_model(args.model, "cpu")
    if args.calibrate:
        sys.stdout.write(
            calibrated(rooms_of(args.rooms, args, lambda s, a, b: predicted_map(s, a, b, model)), text)
        )
        return
    exact = rooms_of(args.rooms, args, lambda s, a, b: caption_map(s, a, b, text))
    predicted = rooms_of(args.rooms, args, lambda s, a, b: predicted_map(s, a, b, model))
    rows = quality("truth geometry, caption vectors", exact, text, {})
    rows |= quality("truth geometry, model's features", predicted, text, {})
    rows |= language(predicted, text)
    if args.full:
        full = rooms_of(args.rooms, args, lambda s, a, b: full_map(s, a, b, model, MapperConfig()))
        rows |= quality("mapped from images", full, text, {})
    if args.validation:
        validation = rooms_of(args.validation, args, lambda s, a, b: predicted_map(s, a, b, model))
        for name, kind in PEERS.items():
            threshold = best_threshold(kind, validation, text)
            tally = tally_of(
                predicted, text, lambda m, k=kind, t=threshold: peer(k, m.basis, text, t, asked(m, text))
            )
            rows |= summary(f"{name}, threshold {threshold:g}", tally)
    for voxels in args.voxels:
        rows |= latency(predicted, text, voxels)
    write(rows, args, model.identity)


def rooms_of(folder: Path, args: argparse.Namespace, build) -> list[RoomMap]:
    """Maps of the first rooms that show furniture."""
    shard, maps = Shard(folder, Vocabulary(), tuple(args.size)), []
    for a, b in tqdm(list(shard._rooms(0))[: args.limit], desc=folder.name, disable=None):
        room = build(shard, a, b)
        if room is not None and room.things:
            maps.append(room)
    return maps


def everything(rooms: list[RoomMap]) -> list[str]:
    return sorted({plain(t.name) for room in rooms for t in room.things})


def asked(room: RoomMap, text: TextEncoder) -> tuple[str, ...]:
    """The query set of a room: what a softmax over queries normalises by."""
    return (*present(room), *absent(room, [], text), "wall", "floor", "ceiling")


def tally_of(rooms: list[RoomMap], text: TextEncoder, locator_of) -> Tally:
    tally, names = Tally(), everything(rooms)
    for room in rooms:
        locator = locator_of(room)
        ask_room(room, lambda q, m=room, one=locator: one.locate(m.snapshot, q), names, text, tally)
    return tally


def summary(name: str, tally: Tally) -> dict[str, str]:
    """A rule's figures in one row."""
    counts = f"{tally.hits} found, {tally.wrong} wrong, {tally.missed} missed"
    figures = f"P {tally.precision:.2f}, R {tally.recall:.2f}, F1 {tally.f1:.2f}"
    return {name: f"{figures}; absent refused {tally.refused:.2f} of {tally.absent} ({counts})"}


def quality(name: str, rooms: list[RoomMap], text: TextEncoder, rows: dict[str, str]) -> dict[str, str]:
    tally = tally_of(rooms, text, lambda m: Locator(m.basis, text))
    rows |= summary(name, tally)
    offset = np.median(tally.offsets_m) if tally.offsets_m else float("nan")
    rows[f"{name}: centroid error, median"] = f"{offset:.2f} m"
    rows[f"{name}: calibration error (ECE)"] = f"{tally.ece:.2f} over {len(tally.scores)} objects"
    return rows


def language(rooms: list[RoomMap], text: TextEncoder) -> dict[str, str]:
    """Synonyms and colours."""
    by_name, by_synonym, colors = Tally(), Tally(), []
    for room in rooms:
        locator = Locator(room.basis, text)

        def ask(query, room=room, locator=locator):
            return locator.locate(room.snapshot, query)

        ask_synonyms(room, ask, text, by_name, by_synonym)
        colors += ask_colors(room, ask)
    kept = by_synonym.f1 / by_name.f1 if by_name.f1 else float("nan")
    right = f"{np.mean(colors):.2f} of {len(colors)}" if colors else "none there"
    return {
        "synonyms instead of names: F1 kept": f"{kept:.2f} ({by_name.f1:.2f} → {by_synonym.f1:.2f})",
        "right colour first, where a room has several": right,
    }


def best_threshold(kind, rooms: list[RoomMap], text: TextEncoder) -> float:
    """The threshold with the best F1 plus refusal on the validation rooms."""

    def merit(threshold: float) -> float:
        tally = tally_of(rooms, text, lambda m: peer(kind, m.basis, text, threshold, asked(m, text)))
        return tally.f1 + 0.5 * tally.refused

    return max(THRESHOLDS, key=merit)


def calibrated(rooms: list[RoomMap], text: TextEncoder) -> str:
    """Logistic fit of "this object is right" on the logit of its share; scores from a low threshold on."""
    config = LocateConfig()
    tally, names = Tally(), everything(rooms)
    for room in rooms:
        locator = Locator(room.basis, text)

        def ask(query, room=room, locator=locator):
            return locator.locate(room.snapshot, query, min_score=0.1)

        ask_room(room, ask, names, text, tally)
    s = np.clip(np.array(tally.scores), 1e-6, 1 - 1e-6)
    logit = (np.log(s) - np.log1p(-s) - config.score_offset) / config.score_slope
    X, y, w = np.stack([logit, np.ones_like(logit)], 1), np.array(tally.right, float), np.zeros(2)
    for _ in range(50):  # Newton's method
        p = 1 / (1 + np.exp(-X @ w))
        hessian = X.T @ (X * (p * (1 - p))[:, None]) + 1e-3 * np.eye(2)
        w += np.linalg.solve(hessian, X.T @ (y - p) - 1e-3 * w)
    lines = [f"score_slope {w[0]:.2f}, score_offset {w[1]:.2f} from {len(y)} objects, {y.mean():.2f} right"]
    p = 1 / (1 + np.exp(-X @ w))
    for low in np.arange(0, 1, 0.2):
        here = (p >= low) & (p < low + 0.2)
        if here.any():
            lines.append(
                f"scores {low:.1f}–{low + 0.2:.1f}: {here.sum()} objects, mean {p[here].mean():.2f}, right {y[here].mean():.2f}"
            )
    return "\n".join(lines) + "\n"


def latency(rooms: list[RoomMap], text: TextEncoder, voxels: int) -> dict[str, str]:
    """Rooms side by side until the map is as large as asked; each query five times."""
    parts, width, count = [], 10.0, 0
    while sum(len(p.points) for p, _ in parts) < voxels:
        parts.append(
            (rooms[count % len(rooms)].snapshot, np.float32([width * (count % 20), width * (count // 20), 0]))
        )
        count += 1
    first = parts[0][0]

    blocks = tuple(
        replace(block, points=block.points + shift) for part, shift in parts for block in part.blocks
    )
    big = replace(first, blocks=blocks)
    locator, times = Locator(rooms[0].basis, text), []
    start = time.perf_counter()
    locator.locate(big, "mug")
    first_ms = 1e3 * (time.perf_counter() - start)
    for query in 5 * [
        "a mug",
        "an office chair",
        "a computer monitor",
        "a sofa",
        "a potted plant",
        "a table",
        "a giraffe",
    ]:
        start = time.perf_counter()
        locator.locate(big, query)
        times.append(1e3 * (time.perf_counter() - start))
    size = sum(block.nbytes for block in big.blocks) / len(big)
    return {
        f"latency at {len(big):,} voxels": f"p50 {np.median(times):.0f} ms, p99 {np.quantile(times, 0.99):.0f} ms, "
        f"first query of a map {first_ms:.0f} ms",
        "memory a voxel": f"{size:.0f} B",
    }


def write(rows: dict[str, str], args: argparse.Namespace, identity: str) -> None:
    """The table on the screen and, if asked for, beside its configuration in files."""
    lines = [
        "| figure | value |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]
    note = f"\nmodel {identity}, rooms {args.rooms} (first {args.limit}), {asdict(LocateConfig())}\n"
    sys.stdout.write("\n".join(lines) + "\n" + note)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".md").write_text("\n".join(lines) + "\n" + note)
        content = {
            "figures": rows,
            "model": identity,
            "rooms": str(args.rooms),
            "config": asdict(LocateConfig()),
        }
        args.out.with_suffix(".json").write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
