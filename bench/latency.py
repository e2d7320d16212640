"""What a large map costs: mapping, asking while mapping goes on, saving, loading, bytes. A table.

    python bench/latency.py --rooms build/rooms/test-0 --voxels 1000000 5000000 --out build/bench/latency

Rooms are folders that `python -m sab3r_ros.rooms.write` fills. Their frames, with true depth and the model's features,
are fused at true poses, the rooms side by side until the map is as large as asked; then all is seen again, with noise.
Times are wall clock; those of the thread's own processor time stand behind, for a machine that others use, too.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sab3r_ros.config import LoopConfig, MapperConfig
from sab3r_ros.geometry.camera import pixel_grid
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.atlas import Atlas
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.map_file import load_map, save_map
from sab3r_ros.model.feature_model import FeatureModel, load_model
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.search import LEAST_SHARE
from sab3r_ros.querying.text import load_text_encoder
from sab3r_ros.querying.vocabulary import INDOOR
from sab3r_ros.training.shards import Shard, Vocabulary
from sab3r_ros.types import View

QUERIES = (
    *("a mug", "an office chair", "a computer monitor", "a sofa", "a potted plant", "a table", "a giraffe"),
    *("a wall", "the floor", "a door"),
)
ROOM_M = 12.0  # from one room's middle to the next
ROW = 20  # rooms in a row
NOISE = 0.005  # of the depth, the same over a view, at each visit
KEYFRAMES_A_SECOND = 4.0
FEWER = 2  # each second noun is asked
SAME_SCORE = 1e-5  # sums in another order
GOALS = {  # part of a row's name → its goal
    "mapping a keyframe": "≤ 40 / ≤ 150 ms at 1 M",
    "the first tenth": "≤ 1.2",
    "after the second visit": "≤ 1.1",
    "bytes a voxel": "≤ 100",
    "saved, loaded": "≤ 2 s, ≤ 1 s, ≤ 150 MB at 1 M",
    "equal answers": "all",
}


class Clock:
    """Wall and processor seconds of what runs within it."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def __enter__(self) -> None:
        self._start = time.perf_counter(), time.thread_time()

    def __exit__(self, *_: object) -> None:
        self.wall.append(time.perf_counter() - self._start[0])
        self.cpu.append(time.thread_time() - self._start[1])

    def __str__(self) -> str:
        wall, cpu = ([f"{1e3 * q:.0f}" for q in np.quantile(t, [0.5, 0.99])] for t in (self.wall, self.cpu))
        return f"p50 / p99 {wall[0]} / {wall[1]} ms (processor {cpu[0]} / {cpu[1]})"


class Tour:
    """Endless keyframes: every frame of every room, the rooms side by side."""

    def __init__(self, folder: Path, model: FeatureModel, rooms: int, size: tuple[int, int]) -> None:
        shard = Shard(folder, Vocabulary(), size)
        self.frames: list[tuple[int, np.ndarray, View, np.ndarray, np.ndarray]] = []
        for room, (a, b) in enumerate(tqdm(list(shard._rooms(0))[:rooms], desc="rooms", disable=None)):
            for k in range(a, b):
                frame = shard.view(k)
                z = frame.depth[..., None].astype(np.float32)
                rays = (pixel_grid(*size) - frame.K[:2, 2]) / frame.K[[0, 1], [0, 1]]
                points = np.concatenate([rays * z, z], -1).astype(np.float32)
                encoding = model.encode(np.array(frame.image))
                seen = model.decode(encoding, encoding)[0]
                view = View(
                    np.where(z > 0, points, np.nan),
                    np.full(size, 2.0, np.float32),
                    seen.descriptors,
                    seen.descriptor_confidence,
                    seen.features,
                )
                self.frames.append((room, frame.T_WC, view, frame.image, frame.K))
        self.rooms = room + 1

    def keyframe(self, n: int, visit: int) -> tuple[Keyframe, View, Sim3]:
        """The n-th of a visit: ids grow, and no two visits see quite the same."""
        lap, k = divmod(n, len(self.frames))
        room, T_WC, view, image, K = self.frames[k]
        place = lap * self.rooms + room
        rng = np.random.default_rng((visit, n))
        shift = np.array([ROOM_M * (place % ROW), ROOM_M * (place // ROW), 0]) + rng.normal(0, 0.002, 3)
        T_WK = Sim3(float(np.exp(rng.normal(0, NOISE))), T_WC[:3, :3], T_WC[:3, 3] + shift)
        return Keyframe(n + visit * 1_000_000, float(n), image, K, None), view, T_WK


def visited(atlas: Atlas, tour: Tour, visit: int, goes_on: Callable[[int], bool]) -> tuple[int, Clock]:
    """Keyframes until told to stop: how many, and what each cost."""
    n, clock = 0, Clock()
    with tqdm(desc=f"visit {visit + 1}", disable=None) as bar:
        while goes_on(n):
            keyframe, view, T_WK = tour.keyframe(n, visit)
            with clock:
                atlas.add(keyframe, view, T_WK, [], 0)
                atlas.fuse()
            n += 1
            bar.update()
    return n, clock


def measure(tour: Tour, model: FeatureModel, voxels: int, visits: int, asked: int) -> dict[str, str]:
    """All figures of one map size."""
    atlas = new_atlas(model)
    count, first = visited(atlas, tour, 0, lambda n: len(atlas.world) < voxels)
    memory = atlas.world.memory_bytes
    late = Clock()
    late.wall, late.cpu = first.wall[-max(count // 10, 20) :], first.cpu[-max(count // 10, 20) :]
    early = float(np.median(first.cpu[: max(count // 10, 20)]))
    name = f"{len(atlas.world):,} voxels"
    rows = {
        f"{name}: mapping a keyframe of new space, the last tenth": str(late),
        f"{name}: the same, against the first tenth (processor)": f"{np.median(late.cpu) / early:.2f}",
    }
    if visits > 1:
        _, again = visited(atlas, tour, 1, lambda n: n < count)
        rows[f"{name}: mapping a keyframe seen before"] = str(again)
        rows[f"{name}: memory after the second visit"] = (
            f"{atlas.world.memory_bytes / memory:.3f} of the first's"
        )
    locator = Locator(model.feature_basis, load_text_encoder(model.language))
    return rows | queried(atlas, tour, locator, count, asked, name) | filed(atlas, model, locator, name)


def new_atlas(model: FeatureModel) -> Atlas:
    return Atlas(MapperConfig(max_map_mb=1e5), LoopConfig(), model.feature_basis.shape[1], model.identity)


def queried(atlas: Atlas, tour: Tour, locator: Locator, count: int, asked: int, name: str) -> dict[str, str]:
    """Each query asked so many times while keyframes come in, from the middle of the `count` that made the map."""
    snapshots, prepares = Clock(), Clock()
    gc.collect()
    gc.freeze()  # as the node does
    locator.prepare(atlas.snapshot())
    held = [atlas.snapshot()]
    stop = threading.Event()

    def map_on() -> None:
        n = count // 2
        while not stop.is_set():
            start = time.perf_counter()
            keyframe, view, T_WK = tour.keyframe(n, 2)
            atlas.add(keyframe, view, T_WK, [], 0)
            atlas.fuse()
            with snapshots:
                snapshot = atlas.snapshot()
            with prepares:
                locator.prepare(snapshot)
            held[0] = snapshot
            n += 1
            stop.wait(max(0.0, 1 / KEYFRAMES_A_SECOND - (time.perf_counter() - start)))

    thread = threading.Thread(target=map_on)
    thread.start()
    each, whole, finding, first = {query: Clock() for query in QUERIES}, Clock(), Clock(), Clock()
    try:
        for query in tqdm(asked * QUERIES, desc="queries", disable=None):
            snapshot = held[0]
            with each[query], whole:
                locator.locate(snapshot, query)
            ready, phrases = locator.searcher.prepared(snapshot), locator.scorer.phrases(query)
            with finding:
                locator.scorer.likely(ready, phrases, LEAST_SHARE)
        for query in tqdm(INDOOR[::FEWER], desc="new queries", disable=None):
            locator.scorer.text.encode([query])
            with first:
                locator.locate(held[0], query)
    finally:
        stop.set()
        thread.join()
    rows = {f"{name}: a query while mapping goes on": str(whole)}
    rows[f"{name}: a query while mapping goes on, never asked before"] = str(first)
    rows[f"{name}: of it, finding the voxels"] = str(finding)
    unknown = Clock()
    for k in range(20):
        with unknown:
            locator.scorer.text.encode([f"a thing of kind {k}"])
    rows[f"{name}: a text's vector the first time, to be added"] = str(unknown)
    rows |= {f"{name}: '{query}'": str(clock) for query, clock in each.items()}
    rows[f"{name}: a snapshot"] = str(snapshots)
    rows[f"{name}: preparing queries, a keyframe"] = str(prepares)
    queries = ready.nbytes / len(ready.snapshot)
    rows[f"{name}: bytes a voxel"] = f"{atlas.world.row_bytes}, and {queries:.0f} while it is asked"
    return rows


def filed(atlas: Atlas, model: FeatureModel, locator: Locator, name: str) -> dict[str, str]:
    """Saving and loading, and whether the answers stay."""
    saving, loading = Clock(), Clock()
    before = atlas.snapshot()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.sab3r"
        with saving:
            save_map(path, before, model.identity, model.language, model.feature_basis, atlas.state())
        size = path.stat().st_size
        with loading:
            after = load_map(path).snapshot
    same = 0
    for query in QUERIES:
        a, b = (locator.locate(snapshot, query) for snapshot in (before, after))
        same += a.message == b.message and all(
            np.array_equal(x.indices, y.indices) and abs(x.score - y.score) < SAME_SCORE
            for x, y in zip(a.objects, b.objects, strict=True)
        )
    return {
        f"{name}: saved, loaded": f"{saving.wall[0]:.2f} s, {loading.wall[0]:.2f} s (processor {saving.cpu[0]:.2f}, "
        f"{loading.cpu[0]:.2f}), {size / 1e6:.0f} MB",
        f"{name}: equal answers after loading": f"{same} of {len(QUERIES)}",
    }


def goal(name: str) -> str:
    """The goal of a row, if it has one."""
    if "a query while" in name:
        return "≤ 15 / ≤ 50 ms at 1 M, p99 ≤ 200 ms at 5 M"
    return next((text for part, text in GOALS.items() if part in name), "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", type=Path, required=True, help="rendered rooms")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--limit", type=int, default=6, help="rooms that are repeated")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    parser.add_argument("--voxels", type=int, nargs="+", default=[1_000_000], help="map sizes")
    parser.add_argument("--visits", type=int, choices=(1, 2), default=2, help="1 is quicker")
    parser.add_argument("--asked", type=int, default=10, help="times that each query is asked")
    parser.add_argument("--out", type=Path, help="writes OUT.md and OUT.json")
    args = parser.parse_args()
    model = load_model(args.model, "cpu")
    tour, rows = Tour(args.rooms, model, args.limit, tuple(args.size)), {}
    for voxels in args.voxels:
        rows |= measure(tour, model, voxels, args.visits, args.asked)
    lines = [f"| {name} | {value} | {goal(name)} |" for name, value in rows.items()]
    table = "\n".join(["| figure | value | goal |", "| --- | --- | --- |", *lines])
    note = (
        f"\n\nmodel {model.identity}, {tour.rooms} rooms of {args.rooms}, {len(tour.frames)} frames a lap, "
        f"{KEYFRAMES_A_SECOND:g} keyframes/s beside the queries\n"
    )
    sys.stdout.write(table + note)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".md").write_text(table + note)
        args.out.with_suffix(".json").write_text(
            json.dumps({"figures": rows, "model": model.identity}, indent=2)
        )


if __name__ == "__main__":
    main()
