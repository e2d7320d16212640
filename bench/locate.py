"""Does locating return the right thing, an honest score? A table on rooms with truth.

    python bench/locate.py --rooms build/rooms/test-0 --validation build/rooms/val-0 --pairs build/rooms/pairs/test-0 \\
        --laps build/rooms/laps/test-0 --full --out build/bench/locate

Rooms are folders that `python -m sab3r_ros.rooms.write` fills. Peers' thresholds are chosen on the validation rooms. After a
change of the checkpoint,

    python bench/locate.py --calibrate --validation build/rooms/val-0 --limit 200

fits what a score means in its language space to it, and shows what a few thresholds do there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import latency
import numpy as np
from latency import Tour, new_atlas, queried, visited
from locate_calibrate import candidates_of, draw_reliability, fitted
from locate_judge import Tally, absent, ask_colors, ask_room, ask_synonyms, plain, present
from locate_maps import RoomMap, caption_map, full_map, predicted_map
from locate_rules import PEERS, PlainCosine, peer
from tqdm import tqdm

from sab3r_ros.config import LocateConfig, MapperConfig
from sab3r_ros.model.feature_model import FeatureModel, load_model
from sab3r_ros.querying.calibration import write as write_calibration
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.text import TextEncoder, load_text_encoder
from sab3r_ros.training.shards import Shard, Vocabulary

CALIBRATED = (0.35, 0.4, 0.45, 0.5)  # thresholds that --calibrate shows
THRESHOLDS = (0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9)


GOALS = {  # beginning of a row's name → its goal
    "mapped from images": "P ≥ 0.60, R ≥ 0.60",
    "truth geometry, caption vectors": "P ≥ 0.95, R ≥ 0.95",
    "centroid error": "≤ 0.15 m",
    "synonyms": "≥ 0.85",
    "right colour": "≥ 0.80",
    "absent": "≥ 0.90",
    "calibration error": "≤ 0.08",
    "chairs, floor": "all",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", type=Path, help="test rooms")
    parser.add_argument("--validation", type=Path, help="rooms for peers' thresholds and for --calibrate")
    parser.add_argument(
        "--pairs", type=Path, help="rooms with things in two colours (rooms.write --kind pairs): adds a row"
    )
    parser.add_argument(
        "--laps",
        type=Path,
        help="rooms filmed all round (rooms.write --kind lap): mapped from their images, with --full",
    )
    parser.add_argument("--model", default="mini")
    parser.add_argument("--limit", type=int, default=40, help="most rooms of each kind")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    parser.add_argument("--out", type=Path, help="writes OUT.md, OUT.json and the reliability curve OUT.svg")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="only fit the score on the validation rooms, and write it into sab3r_ros/querying/calibration.json",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="also the mapper's own maps, a real photo, and maps of 1 and 5 million voxels (bench/latency.py): all rows",
    )
    args = parser.parse_args()
    if args.full and not (args.validation and args.pairs and args.laps):
        parser.error("--full needs --validation, --pairs and --laps: without them rows are missing")
    if args.calibrate and not args.validation:
        parser.error("--calibrate needs --validation: the score is never fitted on the test rooms")
    if not (args.calibrate or args.rooms):
        parser.error("--rooms is needed: the test rooms")
    text, model = load_text_encoder("minilm-l6-v2"), load_model(args.model, "cpu")

    def predicted_maps(folder: Path) -> list[RoomMap]:
        return rooms_of(folder, args, lambda s, a, b: predicted_map(s, a, b, model))

    config = LocateConfig()
    validation = predicted_maps(args.validation) if args.validation else []
    if args.calibrate:
        calibrate(validation, text, config)
        return
    exact = rooms_of(args.rooms, args, lambda s, a, b: caption_map(s, a, b, text))
    rows, _ = quality("truth geometry, caption vectors", exact, text, config)
    predicted = predicted_maps(args.rooms)
    more, tally = quality("truth geometry, model's features", predicted, text, config)
    rows |= more | language(predicted, text, config)
    if args.pairs:
        rows |= colors(
            "true captions",
            rooms_of(args.pairs, args, lambda s, a, b: caption_map(s, a, b, text)),
            text,
            config,
        )
        rows |= colors("model's features", predicted_maps(args.pairs), text, config)
    if args.full:
        for name, folder in (("few views", args.rooms), ("filmed all round", args.laps)):
            full = rooms_of(folder, args, lambda s, a, b: full_map(s, a, b, model, MapperConfig()))
            rows |= quality(f"mapped from images, {name}", full, text, config)[0]
            mapped = sum(len(room.snapshot) > 0 for room in full)
            row = f"mapped from images, {name}: rooms with a map of three keyframes or more"
            rows[row] = f"{mapped} of {len(full)}"
    ours = quality("", validation, text, config)[1] if validation else Tally()
    for name, kind in PEERS.items() if validation else ():

        def locator(room: RoomMap, threshold: float, kind: type = kind) -> PlainCosine:
            return peer(kind, room.basis, text, threshold, asked(room, text))

        threshold, chosen = best_threshold(validation, text, locator)
        theirs = tally_of(predicted, text, lambda m, of=locator, t=threshold: of(m, t))
        rows |= summary(f"peer: {name}, threshold {threshold:g}", theirs)
        stricter = replace(config, min_score=refusing(ours.absent_scores, chosen.refused, config.min_score))
        row = f"ours, as strict as {name} on the validation rooms: min_score {stricter.min_score:.2f}"
        rows |= summary(row, tally_of(predicted, text, lambda m, c=stricter: Locator(m.basis, text, c)))
    if args.full:
        rows |= photo() | large_maps(args.rooms, model)
    write(rows, args, model.identity, config)
    if args.out:
        tallies = {"test rooms": tally}
        if validation:
            tallies["validation rooms"] = ours
        draw_reliability(args.out.with_suffix(".svg"), tallies)


def calibrate(validation: list[RoomMap], text: TextEncoder, config: LocateConfig) -> None:
    """Fit the score, write it where the locator reads it, and show what thresholds do with it."""
    path = write_calibration(text.space, fitted(candidates_of(validation, everything(validation), text)))
    sys.stdout.write(f"{path}: {text.space} of {len(validation)} rooms\n")
    for t in CALIBRATED:
        shown = tally_of(
            validation, text, lambda m, t=t: Locator(m.basis, text, replace(config, min_score=t))
        )
        sys.stdout.write(
            f"min_score {t:g}: F1 {shown.f1:.3f}, absent refused {shown.refused:.3f}, ECE {shown.ece:.3f}\n"
        )


def rooms_of(folder: Path, args: argparse.Namespace, build) -> list[RoomMap]:
    """Maps of the first rooms that show furniture."""
    shard, maps = Shard(folder, Vocabulary(), tuple(args.size)), []
    for a, b in tqdm(list(shard._rooms(0))[: args.limit], desc=folder.name, disable=None):
        room = build(shard, a, b)
        if room.things:
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
    """A rule's figures."""
    counts = f"{tally.hits} found, {tally.wrong} wrong, {tally.missed} missed"
    return {
        name: f"P {tally.precision:.2f}, R {tally.recall:.2f}, F1 {tally.f1:.2f} ({counts})",
        f"{name}: absent refused": f"{tally.refused:.2f} of {tally.absent}",
    }


def quality(
    name: str, rooms: list[RoomMap], text: TextEncoder, config: LocateConfig
) -> tuple[dict[str, str], Tally]:
    tally = tally_of(rooms, text, lambda m: Locator(m.basis, text, config))
    offset = np.median(tally.offsets_m) if tally.offsets_m else float("nan")
    rows = summary(name, tally) | {
        f"{name}: centroid error, median": f"{offset:.2f} m of {len(tally.offsets_m)}",
        f"{name}: calibration error (ECE)": f"{tally.ece:.3f} over {len(tally.scores)} objects",
    }
    return rows, tally


def language(rooms: list[RoomMap], text: TextEncoder, config: LocateConfig) -> dict[str, str]:
    """Synonyms."""
    by_name, by_synonym = Tally(), Tally()
    for room in rooms:
        locator = Locator(room.basis, text, config)
        ask_synonyms(room, partial(locator.locate, room.snapshot), text, by_name, by_synonym)
    kept = by_synonym.f1 / by_name.f1 if by_name.f1 else float("nan")
    change = f"{by_name.f1:.2f} → {by_synonym.f1:.2f}, {by_name.hits + by_name.missed} things"
    return {"synonyms instead of names: F1 kept": f"{kept:.2f} ({change})"}


def colors(name: str, rooms: list[RoomMap], text: TextEncoder, config: LocateConfig) -> dict[str, str]:
    """Of things in two colours: how often is the one that was asked for the first of the answer?"""
    right: list[bool] = []
    for room in rooms:
        right += ask_colors(room, partial(Locator(room.basis, text, config).locate, room.snapshot))
    return {f"right colour of a pair first, {name}": f"{np.mean(right):.2f} of {len(right)}"}


def photo() -> dict[str, str]:
    """The real photo with real CLIP vectors, as the tests ask it."""
    test = Path(__file__).parents[1] / "test" / "test_lounge.py"
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", test], capture_output=True, text=True)
    passed = run.stdout.strip().splitlines()[-1].split(" in ")[0]
    return {"lounge photo, CLIP vectors: chairs, floor, wall, door found, absent refused": passed}


def large_maps(folder: Path, model: FeatureModel) -> dict[str, str]:
    """Queries while mapping goes on, and bytes a voxel."""
    tour, rows = Tour(folder, model, 6, (192, 256)), {}
    for voxels in (1_000_000, 5_000_000):
        atlas = new_atlas(model)
        count, _ = visited(atlas, tour, 0, lambda n, a=atlas, v=voxels: len(a.world) < v)
        locator = Locator(model.feature_basis, load_text_encoder(model.language))
        rows |= queried(atlas, tour, locator, count, 5, f"{voxels:,} voxels")
    return {name: value for name, value in rows.items() if latency.goal(name)}


def best_threshold(rooms: list[RoomMap], text: TextEncoder, locator_of) -> tuple[float, Tally]:
    """A peer's threshold with the best F1 plus half the refusals on the validation rooms, and what it does there: the best
    of THRESHOLDS, or of those half-way to the next, as some rules' values lie close together.

    locator_of: a room and a threshold → what answers there.
    """
    tried: dict[float, Tally] = {}

    def best(thresholds: Sequence[float]) -> float:
        tried.update({t: tally_of(rooms, text, lambda m, t=t: locator_of(m, t)) for t in thresholds})
        return max(tried, key=lambda t: tried[t].f1 + 0.5 * tried[t].refused)

    k = THRESHOLDS.index(best(THRESHOLDS))
    near = THRESHOLDS[max(k - 1, 0) : k + 2]
    threshold = best([round((a + b) / 2, 4) for a, b in pairwise(near)])
    return threshold, tried[threshold]


def refusing(scores: list[float], share: float, least: float) -> float:
    """The lowest threshold, at least `least`, that is above at least a share of absent things' best scores."""
    ordered = np.sort(scores)
    enough = int(np.ceil(share * len(ordered) - 1e-9))
    return max(least, float(np.nextafter(ordered[enough - 1], 1)) if enough else 0.0)


def goal(name: str) -> str:
    """The goal of a row; the goals of parts of a figure are of the network's maps, not of the ideal ones."""
    figure = name.rsplit(": ", 1)[-1] if ": " in name and not name.startswith("synonyms") else name
    if name.startswith(("peer", "truth geometry, caption vectors: ")):
        return ""
    return next((v for start, v in GOALS.items() if figure.startswith(start)), latency.goal(name))


def write(rows: dict[str, str], args: argparse.Namespace, identity: str, config: LocateConfig) -> None:
    """The table on the screen and, if asked for, beside its configuration in files."""
    lines = [
        "| figure | goal | value |",
        "| --- | --- | --- |",
        *(f"| {name} | {goal(name)} | {value} |" for name, value in rows.items()),
    ]
    command = "python " + " ".join(sys.argv)
    note = f"\n`{command}`: model {identity}, first {args.limit} rooms, {asdict(config)}\n"
    sys.stdout.write("\n".join(lines) + "\n" + note)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".md").write_text("\n".join(lines) + "\n" + note)
        content = {"figures": rows, "model": identity, "command": command, "config": asdict(config)}
        args.out.with_suffix(".json").write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
