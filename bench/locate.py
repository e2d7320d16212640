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
from itertools import chain, pairwise
from pathlib import Path

import latency
import numpy as np
from latency import Tour, new_atlas, queried, visited
from locate_calibrate import candidates_of, draw_reliability, fitted
from locate_judge import Tally, plain
from locate_maps import RoomMap
from locate_rules import PEERS
from locate_work import Rule, Workers, asked_colors, asked_synonyms, text, together

from sab3r_ros.config import LocateConfig
from sab3r_ros.model.feature_model import FeatureModel, load_model
from sab3r_ros.querying.calibration import write as write_calibration
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.text import load_text_encoder

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
    parser.add_argument(
        "--processes", type=int, default=2, help="that share the rooms; figures do not depend on it"
    )
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
    with Workers(args.processes, args.model) as workers:
        if args.calibrate:
            calibrate(workers, maps_of(workers, "features", args.validation, args))
            return
        rows, tallies = figures(workers, args)
    model = load_model(args.model, "cpu")
    if args.full:
        rows |= photo() | large_maps(args.rooms, model)  # after the others: their times are measured
    write(rows, args, model.identity, LocateConfig())
    if args.out:
        draw_reliability(args.out.with_suffix(".svg"), tallies)


def figures(workers: Workers, args: argparse.Namespace) -> tuple[dict[str, str], dict[str, Tally]]:
    """The rows of all rooms, and the tallies of the reliability curve."""
    config, maps = LocateConfig(), partial(maps_of, workers, args=args)
    rows, _ = quality(workers, "truth geometry, caption vectors", maps("captions", args.rooms))
    predicted = maps("features", args.rooms)
    more, tally = quality(workers, "truth geometry, model's features", predicted)
    rows |= more | language(workers, predicted)
    if args.pairs:
        for name, kind in (("true captions", "captions"), ("model's features", "features")):
            rows |= colors(workers, name, maps(kind, args.pairs))
    if args.full:
        for name, folder in (("few views", args.rooms), ("filmed all round", args.laps)):
            full = maps("images", folder)
            rows |= quality(workers, f"mapped from images, {name}", full)[0]
            mapped = sum(len(room.snapshot) > 0 for room in full)
            row = f"mapped from images, {name}: rooms with a map"
            rows[row] = f"{mapped} of {len(full)}"
    if not args.validation:
        return rows, {"test rooms": tally}
    validation = maps("features", args.validation)
    (ours,) = tallies_of(workers, validation, [Rule(config)])
    for name in PEERS:
        threshold, chosen = best_threshold(workers, validation, name)
        least = refusing(ours.absent_scores, chosen.refused, config.min_score)
        theirs = Rule(replace(config, min_score=threshold), name)
        theirs, stricter = tallies_of(workers, predicted, [theirs, Rule(replace(config, min_score=least))])
        rows |= summary(f"peer: {name}, threshold {threshold:g}", theirs)
        rows |= summary(f"ours, as strict as {name} on the validation rooms: min_score {least:.2f}", stricter)
    return rows, {"test rooms": tally, "validation rooms": ours}


def calibrate(workers: Workers, validation: list[RoomMap]) -> None:
    """Fit the score, write it where the locator reads it, and show what thresholds do with it."""
    fit = fitted(candidates_of(validation, everything(validation), text()))
    path = write_calibration(text().space, fit)
    sys.stdout.write(f"{path}: {text().space} of {len(validation)} rooms\n")
    rules = [Rule(replace(LocateConfig(), min_score=t)) for t in CALIBRATED]
    for t, shown in zip(CALIBRATED, tallies_of(workers, validation, rules), strict=True):
        sys.stdout.write(
            f"min_score {t:g}: F1 {shown.f1:.3f}, absent refused {shown.refused:.3f}, ECE {shown.ece:.3f}\n"
        )


def maps_of(workers: Workers, kind: str, folder: Path, args: argparse.Namespace) -> list[RoomMap]:
    return workers.maps(kind, folder, args.limit, tuple(args.size))


def everything(rooms: list[RoomMap]) -> list[str]:
    return sorted({plain(t.name) for room in rooms for t in room.things})


def tallies_of(workers: Workers, rooms: list[RoomMap], rules: Sequence[Rule]) -> list[Tally]:
    return workers.tallies(rooms, rules, everything(rooms))


def summary(name: str, tally: Tally) -> dict[str, str]:
    """A rule's figures."""
    counts = f"{tally.hits} found, {tally.wrong} wrong, {tally.missed} missed"
    return {
        name: f"P {tally.precision:.2f}, R {tally.recall:.2f}, F1 {tally.f1:.2f} ({counts})",
        f"{name}: absent refused": f"{tally.refused:.2f} of {tally.absent}",
    }


def quality(workers: Workers, name: str, rooms: list[RoomMap]) -> tuple[dict[str, str], Tally]:
    (tally,) = tallies_of(workers, rooms, [Rule(LocateConfig())])
    offset = np.median(tally.offsets_m) if tally.offsets_m else float("nan")
    mean, high = tally.ece_by_chance()
    rows = summary(name, tally) | {
        f"{name}: centroid error, median": f"{offset:.2f} m of {len(tally.offsets_m)}",
        f"{name}: calibration error (ECE)": f"{tally.ece:.3f} over {len(tally.scores)} objects (of scores that are "
        f"exactly right, so few would show {mean:.3f}, one time in twenty more than {high:.3f})",
    }
    return rows, tally


def language(workers: Workers, rooms: list[RoomMap]) -> dict[str, str]:
    """Synonyms."""
    each = workers.each(partial(asked_synonyms, config=LocateConfig()), rooms, "synonyms")
    by_name, by_synonym = (together(column) for column in zip(*each, strict=True))
    kept = by_synonym.f1 / by_name.f1 if by_name.f1 else float("nan")
    change = f"{by_name.f1:.2f} → {by_synonym.f1:.2f}, {by_name.hits + by_name.missed} things"
    return {"synonyms instead of names: F1 kept": f"{kept:.2f} ({change})"}


def colors(workers: Workers, name: str, rooms: list[RoomMap]) -> dict[str, str]:
    """Of things in two colours: how often is the one that was asked for the first of the answer?"""
    right = list(
        chain.from_iterable(workers.each(partial(asked_colors, config=LocateConfig()), rooms, "colours"))
    )
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


def best_threshold(workers: Workers, rooms: list[RoomMap], name: str) -> tuple[float, Tally]:
    """A peer's threshold with the best F1 plus half the refusals on the validation rooms, and what it does there: the best
    of THRESHOLDS, or of those half-way to the next, as some rules' values lie close together.
    """
    tried: dict[float, Tally] = {}

    def best(thresholds: Sequence[float]) -> float:
        rules = [Rule(replace(LocateConfig(), min_score=t), name) for t in thresholds]
        tried.update(zip(thresholds, tallies_of(workers, rooms, rules), strict=True))
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
