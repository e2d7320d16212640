"""Real clips and rooms filmed all round with the embedded network: our mapping against chaining each keyframe to the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from sab3r_ros.config import AlignmentConfig, LoopConfig
from sab3r_ros.evaluation.clips import desk_clip
from sab3r_ros.geometry.sim3 import Sim3, umeyama
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.mapping.window import Window
from sab3r_ros.model.feature_model import FeatureModel, load_model
from sab3r_ros.training.shards import Shard, Vocabulary
from sab3r_ros.types import Frame

Row = tuple[str, str, str]  # what, goal, measured

ROOT = Path(__file__).parents[1]
DESK = ROOT / "test" / "data" / "tum_fr2desk20"
KITCHEN_FROM = 500  # frames before this were trained on
BEFORE_CUT, AFTER_CUT = 10, 6  # keyframes
LAP_SIZE = (192, 256)  # (H, W) as `rooms.write` renders


@dataclass(frozen=True)
class Clip:
    """Frames and their true poses (F, 4, 4)."""

    name: str
    frames: list[Frame]
    T_WC: np.ndarray


def desk() -> Clip:
    rows = np.loadtxt(DESK / "groundtruth.txt")
    files = sorted((DESK / "rgb").iterdir())
    frames, poses = [], []
    for file in files:
        stamp = float(file.stem)
        row = rows[np.abs(rows[:, 0] - stamp).argmin()]
        frames.append(Frame(read(file), stamp))
        poses.append(pose(row[1:4], row[4:8]))
    return Clip("desk", frames, np.stack(poses))


def calibrated_desk() -> Clip:
    """The desk with its published lens undone and its intrinsics given."""
    return replace(desk(), name="desk, calibrated", frames=desk_clip(DESK))


def kitchen(folder: Path, first: int = 0) -> Clip:
    """7-Scenes: every frame from the `first` whose pose is there. The poses are the depth camera's: near enough."""
    files = [f for f in sorted(folder.glob("*.color.jpg")) if int(f.name[6:12]) >= first]
    frames = [Frame(read(f), int(f.name[6:12]) / 30) for f in files]
    poses = [np.loadtxt(str(f).replace("color.jpg", "pose.txt")) for f in files]
    return Clip(f"kitchen from frame {first}", frames, np.stack(poses))


def laps(shard: Path) -> Iterator[Clip]:
    """Rooms that a camera films all round: a folder that `python -m sab3r_ros.rooms.write --kind lap` wrote. K is known."""
    rooms = Shard(shard, Vocabulary(), LAP_SIZE)
    for n, (a, b) in enumerate(rooms._rooms(0)):
        frames = [Frame(np.asarray(rooms.images[k]), float(k), rooms.frames[k]["K"]) for k in range(a, b)]
        yield Clip(f"lap {n}", frames, np.stack([rooms.frames[k]["T_WC"] for k in range(a, b)]))


def read(file: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)


def pose(t: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.from_quat(quaternion).as_matrix(), t
    return T


def ate(estimate: np.ndarray, truth: np.ndarray) -> float:
    """RMSE of camera centres after the best Sim(3), metres. (K, 4, 4) both."""
    P, Q = estimate[:, :3, 3], truth[:, :3, 3]
    s, R, t = umeyama(P, Q)
    return float(np.sqrt((np.linalg.norm(s * P @ R.T + t - Q, axis=1) ** 2).mean()))


def path_length(T_WC: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(T_WC[:, :3, 3], axis=0), axis=1).sum())


def mapped(model: FeatureModel, clip: Clip, every: bool = False) -> IncrementalMapper:
    """every: each frame is a keyframe, whatever it shows."""
    mapper = IncrementalMapper(model, None, AlignmentConfig(), LoopConfig())
    for frame in clip.frames:
        (mapper.add_keyframe if every else mapper.add_frame)(frame)
    mapper.flush()
    return mapper


@dataclass(frozen=True)
class Compared:
    """ATE of the map's largest piece, and of the same frames chained, metres. keyframes: that it holds."""

    ours_m: float
    chained_m: float
    keyframes: int

    def __str__(self) -> str:
        return f"{self.ours_m:.4f} / {self.chained_m:.4f}, {self.keyframes} keyframes of the largest piece"


def compared(model: FeatureModel, clip: Clip, mapper: IncrementalMapper) -> Compared:
    """Poses of two pieces of a map have no relation: only those of the largest are compared."""
    trajectory, graph = mapper.trajectory(), mapper.atlas.graph
    stamps = np.array([f.stamp for f in clip.frames])
    pieces = np.array([graph.piece_of(k) for k in mapper.atlas.stamps])
    kept = pieces == np.bincount(pieces).argmax()
    rows = [int(np.abs(stamps - t).argmin()) for t in trajectory.stamps[kept]]
    truth = clip.T_WC[rows]
    chain = chained(model, [clip.frames[r] for r in rows])
    return Compared(ate(trajectory.T_WC[kept], truth), ate(chain, truth), int(kept.sum()))


def chained(model: FeatureModel, frames: list[Frame]) -> np.ndarray:
    """(F, 4, 4): each frame aligned to the one before and to nothing else; where that fails it stays where it was."""
    rng, T, poses = np.random.default_rng(0), Sim3.identity(), []
    window = Window(model, AlignmentConfig())
    for n, frame in enumerate(frames):
        image, K = model.prepare(frame.image, frame.K)
        window.add(Keyframe(n, frame.stamp, image, K, model.encode(image)))
        if n:
            pair = window.pair(*window.keyframes, rng)
            T = T @ pair.T_ij if pair else T
            window.keep_last(1)
        poses.append(T.rigid())
    return np.stack(poses)


def clips_part(folder: Path | None) -> list[Row]:
    model, rows = load_model("mini"), []
    kitchens = [kitchen(folder, first) for first in (KITCHEN_FROM, 0)] if folder else []
    for clip in [desk(), calibrated_desk(), *kitchens]:
        mapper = mapped(model, clip)
        result = compared(model, clip, mapper)
        what = f"{clip.name}, {model.identity}: ATE m ours / pairwise chaining"
        of = f"of a path of {path_length(clip.T_WC):.2f} m, {mapper.status().keyframes} keyframes, {mapper.status().loops} loops"
        rows.append((what, "ours better", f"{result} {of}"))
    return rows


def cut_to(model: FeatureModel, before: Clip, after: Clip) -> int:
    """How many keyframes of a room the map takes for the room before, where the camera is suddenly elsewhere."""
    frames = [*before.frames[:BEFORE_CUT], *after.frames[:AFTER_CUT]]
    mapper = mapped(
        model, replace(before, frames=[replace(f, stamp=float(n)) for n, f in enumerate(frames)]), True
    )
    graph, stamps = mapper.atlas.graph, mapper.atlas.stamps
    first = min(graph.piece.values())
    return sum(graph.piece_of(k) == first and stamp >= BEFORE_CUT for k, stamp in stamps.items())


def laps_part(shard: Path) -> list[Row]:
    model, rows, results, blind = load_model("mini"), [], [], []
    clips = list(laps(shard))
    for clip in tqdm(clips, "laps", leave=False, disable=None):
        mapper = mapped(model, clip, every=True)
        results.append(compared(model, clip, mapper))
        status = mapper.status()
        what = f"{clip.name}: {status.keyframes} of {len(clip.frames)} keyframes, {status.pieces} pieces, {status.loops} loops"
        rows.append((what, "ours better", f"{results[-1]} of a path of {path_length(clip.T_WC):.1f} m"))
        unknown = replace(clip, frames=[replace(f, K=None) for f in clip.frames])
        mapper = mapped(model, unknown, every=True)
        focal = mapper.window.focal.pixels / clip.frames[0].K[0, 0]
        blind.append((compared(model, unknown, mapper), abs(np.log(focal))))
    ours, chain = np.array([[r.ours_m, r.chained_m] for r in results]).T
    middle = f"{np.median(ours):.3f} / {np.median(chain):.3f}"
    better, held = int((ours < chain).sum()), sum(r.keyframes for r in results)
    what = f"{len(results)} laps, {held} keyframes in largest pieces, {model.identity}: median ATE m ours / chaining; better in"
    rows.append((what, "ours better", f"{middle}; {better}"))
    ours, chain = np.median([[r.ours_m, r.chained_m] for r, _ in blind], 0)
    what = "the same, camera unknown: median ATE m ours / chaining; median error of the focal length"
    off = 100 * np.median([error for _, error in blind])
    rows.append((what, "ours better", f"{ours:.3f} / {chain:.3f}; {off:.1f} %"))
    cuts = [(a, b) for a in clips for b in clips if a is not b]
    taken = [cut_to(model, *cut) for cut in tqdm(cuts, "cuts", leave=False, disable=None)]
    what = f"{len(cuts)} cuts from room to room: taken for going on; keyframes of {AFTER_CUT * len(cuts)} in the wrong room"
    return [*rows, (what, "0", f"{np.count_nonzero(taken)}; {sum(taken)}")]
