"""Rooms as training shards (format: sab3r_ros/training/shards.py).

    python -m sab3r_ros.rooms.write --out build/rooms --split train --rooms 2000 --workers 2

writes build/rooms/train-0, train-1, … Furniture is fetched the first time (120 MB). A killed writer leaves whole rooms and
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sab3r_ros.errors import ConfigError
from sab3r_ros.rooms.clip import KINDS, RULES, RoomClip, render_room
from sab3r_ros.rooms.lens import Lens
from sab3r_ros.rooms.library import load_library
from sab3r_ros.rooms.pieces import Piece
from sab3r_ros.rooms.render import PINHOLE

FIRST_SEED = {"train": 0, "val": 10_000_000, "test": 20_000_000}  # no room is in two splits


class ShardWriter:
    """Appends clips to a shard. A frame counts once its line is in frames.jsonl, which is written last, a room at a time."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        """size: (width, height). Data of an unfinished room, from a writer that was killed, is cut off.

        Raises ConfigError if the folder's rooms were rendered by other rules: the same seeds give other pictures now.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.lines = folder / "frames.jsonl"
        self.lines.touch()
        text = without_unfinished_room(self.lines.read_text())
        rules = {json.loads(line).get("rules", 1) for line in text.splitlines()}
        if rules - {RULES}:
            raise ConfigError(
                f"{folder} holds rooms of version {min(rules)} of the rules, these are version {RULES}: write to another folder"
            )
        os.truncate(self.lines, len(text.encode()))  # never rewritten: being killed here loses nothing
        self.rooms = {json.loads(line)["room"] for line in text.splitlines()}
        frames, pixels = text.count("\n"), size[0] * size[1]
        self.files = {}
        for name, bytes_per_pixel in (("images.u8", 3), ("depth.f16", 2), ("instance.u16", 2)):
            file = (folder / name).open("ab")
            file.truncate(frames * pixels * bytes_per_pixel)
            self.files[name] = file

    def append(self, room: int, clip: RoomClip) -> None:
        self.files["images.u8"].write(clip.images.tobytes())
        self.files["depth.f16"].write(clip.depth.astype(np.float16).tobytes())
        self.files["instance.u16"].write(clip.instance.tobytes())
        for file in self.files.values():
            file.flush()
        rows = [
            {
                "room": room,
                "rules": RULES,
                "view": v,
                "views": len(clip.images),
                "K": clip.K.tolist(),
                "T_WC": T_WC.tolist(),
                "instances": {str(n): clip.labels[n] for n in np.unique(instance).tolist() if n},
            }
            for v, (T_WC, instance) in enumerate(zip(clip.T_WC, clip.instance, strict=True))
        ]
        with self.lines.open("a") as f:
            f.write("".join(json.dumps(row) + "\n" for row in rows))

    def close(self) -> None:
        for file in self.files.values():
            file.close()


def without_unfinished_room(text: str) -> str:
    """The lines of a frames.jsonl without a torn last line, and without the last room if some of its views are missing."""
    lines = text[: text.rfind("\n") + 1].splitlines(keepends=True)
    if lines:
        last = json.loads(lines[-1])
        if last["view"] + 1 < last.get("views", 0):
            lines = lines[: len(lines) - last["view"] - 1]
    return "".join(lines)


def write_rooms(
    folder: Path,
    split: str,
    seeds: Sequence[int],
    views: int,
    size: tuple[int, int],
    library: Sequence[Piece],
    bar: int = 0,
    kind: str = "room",
    lens: Lens = PINHOLE,
) -> None:
    """Render rooms into one shard; those that are there already are left out. bar: line of the progress bar."""
    writer = ShardWriter(folder, size)
    try:
        for seed in tqdm(
            [s for s in seeds if s not in writer.rooms], desc=folder.name, unit="room", position=bar
        ):
            writer.append(seed, render_room(seed, split, views, library, size, kind, lens))
    finally:
        writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=list(FIRST_SEED), default="train")
    parser.add_argument("--rooms", type=int, default=100)
    parser.add_argument("--views", type=int, default=10)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 192), metavar=("W", "H"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kind", choices=list(KINDS), default="room")
    parser.add_argument(
        "--shutter", type=float, default=PINHOLE.shutter, help="motion blur, 0 to 1 of a step"
    )
    parser.add_argument(
        "--furniture", type=Path, help="folder of .sh3f libraries; default: Debian's package, fetched once"
    )
    parser.add_argument("--procedural", action="store_true", help="procedural furniture only: no download")
    args = parser.parse_args()
    library = [] if args.procedural else load_library(args.furniture)
    first = FIRST_SEED[args.split]
    fork = multiprocessing.get_context("fork")  # the library is shared, not copied
    workers = []
    for k in range(args.workers):
        seeds = range(first + k, first + args.rooms, args.workers)
        size, lens = tuple(args.size), Lens(shutter=args.shutter)
        job = (
            args.out / f"{args.split}-{k}",
            args.split,
            seeds,
            args.views,
            size,
            library,
            k,
            args.kind,
            lens,
        )
        workers.append(fork.Process(target=write_rooms, args=job))
        workers[-1].start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a worker failed; run again to go on where it was")


if __name__ == "__main__":
    main()
