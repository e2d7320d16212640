"""How fast rooms are rendered: frames a second with one and with two processes, and where the time goes.

    PYTHONPATH=. python bench/rooms.py [--rooms 12] [--procedural]

Wall-clock rates want a quiet machine; frames a CPU second compare on a busy one, too. Goal: 60 a second at 224 × 168 with two.
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import pstats
import time
from collections.abc import Sequence
from pathlib import Path

from sab3r_ros.rooms.clip import RULES, render_room
from sab3r_ros.rooms.library import load_library
from sab3r_ros.rooms.pieces import Piece

SIZE, VIEWS, GOAL = (224, 168), 10, 60
STAGES = {  # function → what it does
    "furnish": "building the room",
    "__init__": "handing it to Embree",
    "cast_rays": "viewing rays",
    "_albedo": "textures",
    "_light": "light, with its rays",
    "test_occlusions": "  its rays alone",
    "spread_light": "light to full resolution",
    "develop": "exposure",
}


def render(library: Sequence[Piece], seeds: Sequence[int]) -> tuple[int, float, float]:
    """Frames rendered, seconds, and CPU seconds. Imports are done before the clock starts."""
    render_room(0, "train", 1, library, (32, 24))
    began, cpu = time.perf_counter(), time.process_time()
    frames = sum(len(render_room(seed, "train", VIEWS, library, SIZE).images) for seed in seeds)
    return frames, time.perf_counter() - began, time.process_time() - cpu


def work(library: Sequence[Piece], seeds: Sequence[int], results: multiprocessing.Queue) -> None:
    results.put(render(library, seeds))


def measured(library: Sequence[Piece], rooms: int, processes: int) -> None:
    """Each process renders `rooms` rooms of its own; their rates add up."""
    fork = multiprocessing.get_context("fork")  # the library is shared, not copied
    results = fork.Queue()
    workers = [
        fork.Process(target=work, args=(library, range(k * rooms, (k + 1) * rooms), results))
        for k in range(processes)
    ]
    for worker in workers:
        worker.start()
    parts = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    rate = sum(frames / seconds for frames, seconds, _ in parts)
    frames, cpu = sum(part[0] for part in parts), sum(part[2] for part in parts)
    print(f"| {processes} | {frames} | {rate:.1f} | {frames / cpu:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", type=int, default=12)
    parser.add_argument("--furniture", type=Path)
    parser.add_argument("--procedural", action="store_true", help="procedural furniture only: no download")
    args = parser.parse_args()
    library = [] if args.procedural else load_library(args.furniture)
    print(
        f"rooms of version {RULES}, {SIZE[0]} × {SIZE[1]}, {VIEWS} views each; goal {GOAL} frames a second with 2\n"
    )
    print("| processes | frames | frames a second | frames a CPU second |\n| --- | --- | --- | --- |")
    for processes in (1, 2):
        measured(library, args.rooms, processes)
    render_room(0, "train", 1, library, SIZE)
    profile = cProfile.Profile()
    profile.enable()
    render(library, range(max(args.rooms // 4, 1)))
    profile.disable()
    stats = pstats.Stats(profile)
    print("\n| part | share of the time |\n| --- | --- |")
    for function, what in STAGES.items():
        spent = sum(
            row[3]
            for (file, _, name), row in stats.stats.items()
            if (name == function and "rooms" in file) or f".{function}" in name
        )
        print(f"| {what} | {100 * spent / stats.total_tt:.0f} % |")


if __name__ == "__main__":
    main()
