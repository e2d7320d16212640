"""Does mapping hold? Drift with and without loops, cost over ten thousand keyframes, cuts, twins, files, real clips.

    python bench/mapping.py [--parts flat,twins,…] [--quick] [--kitchen FOLDER] [--out build/bench/mapping.json]
    python bench/mapping.py --parts laps --laps LAPS/val-0    (rooms filmed all round: `rooms.write --kind lap --out LAPS`)

A network that knows the truth (bench/oracle_flat.py: 3 % depth noise, 10 % wrong descriptors, a random scale a pair) stands in
for the trained one, but for clips and laps. Times are processor time without the network. --quick: smaller, to see that it runs.
The loops' gate was chosen on laps of the validation split and twins 0 and 1; `flat` and `kidnapped` look at places seen before.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mapping_align import compare
from mapping_clips import Row, clips_part, laps_part, path_length
from mapping_walk import Walk, fill, jittered, map_quality
from oracle_flat import OracleNetwork, Place
from tqdm import tqdm

from sab3r_ros.config import LoopConfig, MapperConfig
from sab3r_ros.mapping.map_file import load_map, save_map
from sab3r_ros.types import TrackingState

NEVER = LoopConfig(min_gap=1_000_000)


def flat_part(quick: bool) -> list[Row]:
    place = Place("flat", 0)
    poses = place.walk(200 if quick else 500)
    walk, without = Walk(OracleNetwork(place)), Walk(OracleNetwork(place), loops=NEVER)
    walk.go(poses, "with loops")
    without.go(poses, "without")
    walk.mapper.flush()
    accuracy, completeness = map_quality(walk)
    status = walk.mapper.status()
    return [
        (
            f"{len(poses)} keyframes, {path_length(np.stack(poses)):.0f} m: ATE / path, {status.loops} loops",
            "≤ 0.5 %",
            f"{walk.drift():.2%}",
        ),
        ("the same without loops", "state", f"{without.drift():.2%}"),
        ("map accuracy / completeness at 5 cm", "≥ 90 % / ≥ 90 %", f"{accuracy:.1%} / {completeness:.1%}"),
    ]


def long_part(quick: bool) -> list[Row]:
    """Four visits to one building, each as long as the first."""
    visits, rooms = 4, 4 if quick else 16
    place = Place("flat", 3, rooms=rooms)
    once = place.walk(150 if quick else 2500)
    rng, memory = np.random.default_rng(0), []
    walk = Walk(OracleNetwork(place), MapperConfig(voxel_size_m=0.05))
    for visit in range(visits):
        poses = once if visit == 0 else [jittered(T, rng) for T in once]
        walk.go(poses, f"visit {visit + 1}")
        memory.append(walk.mapper.status().memory_bytes)
    tenth = len(walk.times_s) // 10
    first, last = (float(np.mean(t)) for t in (walk.times_s[:tenth], walk.times_s[-tenth:]))
    status, refused = walk.mapper.status(), walk.mapper.recogniser.refused
    grown = [m / memory[0] for m in memory]
    size = f"{len(walk.times_s):,} keyframes, {rooms} rooms, {visits} visits"
    return [
        (
            f"{size}: ms a keyframe, last tenth / first",
            "≤ 1.2",
            f"{last / first:.2f} ({ms(last)} / {ms(first)})",
        ),
        (
            "memory after each visit / after the first",
            "second ≤ 1.1",
            ", ".join(f"{g:.2f}" for g in grown[1:]) + f" (first {memory[0] / 1e6:.0f} MB)",
        ),
        (
            f"ATE / path, {status.loops} loops, {refused} refused, {status.pieces} pieces, "
            f"{len(walk.mapper.atlas.graph.T_WK)} keyframes left in the graph",
            "state",
            f"{walk.drift():.3%}",
        ),
        (
            "slowest keyframes of all: p99, worst",
            "state",
            f"{ms(np.quantile(walk.times_s, 0.99))}, {ms(max(walk.times_s))} ms",
        ),
    ]


def ms(seconds: float) -> str:
    return f"{1e3 * seconds:.0f}"


def p50_p99(seconds: np.ndarray) -> str:
    return f"{ms(np.median(seconds))} / {ms(np.quantile(seconds, 0.99))}"


def cost_part(quick: bool) -> list[Row]:
    """At the embedded network's sizes, in a map that holds a million voxels before."""
    place = Place("flat", 1, size=(256, 192))
    walk = Walk(OracleNetwork(place), MapperConfig(voxel_size_m=0.02))
    walk.go(place.walk(300)[: 20 if quick else 100], "256 × 192")
    fill(walk.mapper, 50_000 if quick else 1_000_000)
    before = len(walk.times_s)
    walk.go([jittered(T, np.random.default_rng(1)) for T in walk.truth], "again")
    spent = np.array(walk.times_s[before:])
    pairs = spent.reshape(-1, 2).sum(1) / 2  # a window comes with every second keyframe: what one costs
    return [
        (f"at {len(walk.mapper.world):,} voxels: p50 / p99 ms a keyframe", "≤ 40 / ≤ 150", p50_p99(pairs)),
        ("the same, of single calls (every second one aligns a window)", "state", p50_p99(spent)),
    ]


def kidnapped_part(quick: bool) -> list[Row]:
    """Twenty cuts: first to a place that the map does not know, then to one that it does."""
    place, abroad = Place("flat", 0), Place("flat", 5, strange_m=1000.0)
    walk = Walk(OracleNetwork(place))
    walk.go(place.walk(300), "mapping")
    walk.mapper.flush()
    rng, found, wrong = np.random.default_rng(4), [], 0
    known = list(walk.truth)
    for _ in tqdm(range(4 if quick else 20), "cuts", leave=False, disable=None):
        begin = int(rng.integers(len(known) - 8))
        state = walk.mapper.atlas
        ids = set(state.graph.T_WK)
        home = min(state.graph.piece.values())
        recognised = None
        for n in range(1, 7):
            walk.step(jittered(known[begin + n], rng))
            new = [k for k in state.graph.T_WK if k not in ids and state.graph.piece[k] == home]
            if new and walk.mapper.tracking is TrackingState.TRACKING:
                recognised = n
                break
        if recognised is not None:
            T = walk.to_truth()
            for k in new:
                place_there = T.apply(state.graph.T_WK[k].t)
                wrong += bool(np.linalg.norm(place_there - walk.truth[int(state.stamps[k])][:3, 3]) > 0.3)
        found.append(recognised)
    stray = stray_cuts(walk, abroad)
    in_time = sum(n is not None and n <= 3 for n in found)
    return [
        (
            f"cuts to a known place: relocalised within 3 keyframes (took {found})",
            f"≥ {0.95 * len(found):.0f} of {len(found)}",
            f"{in_time}",
        ),
        ("false relocalisations: there, and of 40 keyframes of another flat", "0", f"{wrong}, {stray}"),
    ]


def stray_cuts(walk: Walk, abroad: Place) -> int:
    """How many keyframes of a flat that the map does not know join its first piece."""
    graph = walk.mapper.atlas.graph
    home, before = min(graph.piece.values()), set(graph.piece)
    walk.model.place, here = abroad, walk.model.place
    walk.model.learn_words()
    abroad.poses = [np.eye(4)] * len(here.poses)  # numbers go on
    walk.go(abroad.walk(160)[:40], "abroad")
    return sum(p == home for k, p in graph.piece.items() if k not in before)


def twins_part(quick: bool) -> list[Row]:
    rows = []
    accepted = refused = loops = 0
    for seed in range(1 if quick else 3):
        place = Place("twins", seed)
        walk = Walk(OracleNetwork(place))
        walk.go(place.walk(150 if quick else 300), f"twins {seed}")
        graph, stamps = walk.mapper.atlas.graph, walk.mapper.atlas.stamps
        for e in walk.loops:
            A, B = (walk.truth[int(stamps[k])][:3, 3] for k in (e.i, e.j))
            measured = np.linalg.norm(e.T_ij.t) * graph.pose(e.i).s * walk.to_truth().s
            accepted += bool(abs(np.linalg.norm(A - B) - measured) > 1.0)
        loops += len(walk.loops)
        refused += walk.mapper.recogniser.refused
        rows.append(f"{walk.drift():.2%}")
    return [
        (
            f"twin rooms, {len(rows)} scenes: false loops accepted ({refused} refused, {loops} true)",
            "0",
            f"{accepted}",
        ),
        ("the same: ATE / path", "state", ", ".join(rows)),
    ]


def file_part(quick: bool) -> list[Row]:
    place = Place("flat", 1)
    walk = Walk(OracleNetwork(place), MapperConfig(voxel_size_m=0.02))
    walk.go(place.walk(300)[:40], "mapping")
    fill(walk.mapper, 50_000 if quick else 1_000_000)
    walk.mapper.atlas.version += 1
    snapshot, model = walk.mapper.snapshot(), walk.model
    path = Path("build/bench/mapping.sab3r")
    path.parent.mkdir(parents=True, exist_ok=True)
    clock = time.perf_counter()
    save_map(path, snapshot, model.identity, model.language, model.feature_basis, walk.mapper.state())
    saved = time.perf_counter() - clock
    clock = time.perf_counter()
    back = load_map(path)
    loaded, size = time.perf_counter() - clock, path.stat().st_size
    path.unlink()
    every = np.arange(len(snapshot))
    equal = np.array_equal(snapshot.features_of(every), back.snapshot.features_of(every)) and all(
        np.array_equal(getattr(snapshot, n), getattr(back.snapshot, n))
        for n in ("points", "colors", "confidence")
    )
    return [
        (
            f"{len(snapshot.points):,} voxels: save / load s (wall), MB, equal",
            "≤ 2 / ≤ 1, ≤ 150, True",
            f"{saved:.2f} / {loaded:.2f}, {size / 1e6:.0f}, {equal}",
        ),
    ]


def align_part(quick: bool) -> list[Row]:
    r = compare(2 if quick else 6)
    kinds = (("rotation error °", "rotation_deg"), ("direction error °", "direction_deg"), ("cpu s", "cpu_s"))
    what = "a window of four views, ours / gradient descent: "
    return [
        (what + kind, "state", f"{r['ours_' + key]:.2f} / {r['descent_' + key]:.2f}") for kind, key in kinds
    ]


PARTS: dict[str, Callable[[bool], list[Row]]] = {
    "flat": flat_part,
    "twins": twins_part,
    "kidnapped": kidnapped_part,
    "align": align_part,
    "cost": cost_part,
    "file": file_part,
    "long": long_part,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*PARTS, "clips", "laps"]
    parser.add_argument(
        "--parts", default=",".join(names[:-1]), help=f"of {', '.join(names)} (which needs --laps)"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--kitchen", type=Path, help="7-Scenes' red kitchen, a folder of frames")
    parser.add_argument("--laps", type=Path, help="a folder of `rooms.write --kind lap`, as LAPS/val-0")
    parser.add_argument("--out", type=Path, default=Path("build/bench/mapping.json"))
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    parts = PARTS | {"clips": lambda _: clips_part(args.kitchen), "laps": lambda _: laps_part(args.laps)}
    rows: list[Row] = []
    for name in args.parts.split(","):
        clock = time.perf_counter()
        new = parts[name](args.quick)
        for what, goal, value in new:
            print(f"{name:10} {what:95} {goal:24} {value}", flush=True)
        print(f"{name:10} took {time.perf_counter() - clock:.0f} s", flush=True)
        rows += new
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps([dict(zip(("what", "goal", "value"), r, strict=True)) for r in rows], indent=1)
    )


if __name__ == "__main__":
    main()
