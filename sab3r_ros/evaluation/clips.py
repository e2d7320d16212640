"""Real clips: poses of pairs, the path of the whole, and whether a named thing's best object is on the thing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.errors import ImageError
from sab3r_ros.evaluation.pose_metrics import pose_errors
from sab3r_ros.geometry.camera import project
from sab3r_ros.geometry.lens import Lens
from sab3r_ros.geometry.sim3 import umeyama
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.mapping.window import Window
from sab3r_ros.model.feature_model import FeatureModel
from sab3r_ros.querying.locate import Locator
from sab3r_ros.recordings import open_recording
from sab3r_ros.types import Frame, LocatedObject, MapSnapshot

DESK_LENS = Lens(
    (520.908620, 0, 325.141442, 0, 521.007327, 249.701764, 0, 0, 1),
    (480, 640),
    "plumb_bob",
    (0.231222, -0.784899, -0.003257, -0.000105, 0.917205),
)
KITCHEN_K = np.array([[525.0, 0, 320], [0, 525, 240], [0, 0, 1]])
KITCHEN_FIRST = 596  # the frame of the kitchen whose outlines are below; it and those behind it are mapped
PAIR_STEP = 3  # of the desk clip's frames, each third is paired with all others
THRESHOLDS = (0.3, 0.2, 0.1, 0.05, 0.02)
ON_THE_THING = 0.5  # of an object's voxels in the picture, so many within the outline


@dataclass(frozen=True)
class Thing:
    """What is asked for, and its outlines (N, 2) in pixels of the clip's first frame (straightened), drawn by hand."""

    query: str
    outlines: tuple[np.ndarray, ...]


def outline(*corners: tuple[int, int]) -> np.ndarray:
    return np.array(corners, np.int32)


def desk_outline(*corners: tuple[int, int]) -> np.ndarray:
    """Corners in the camera's picture → where they are without the lens's bending."""
    return np.rint(DESK_LENS.straightened_pixels(np.array(corners), DESK_LENS.size)).astype(np.int32)


DESK_THINGS = (
    Thing(
        "a computer monitor",
        (desk_outline((204, 76), (328, 90), (318, 214), (298, 232), (238, 228), (236, 200), (200, 188)),),
    ),
    Thing("a keyboard", (desk_outline((172, 214), (296, 246), (266, 282), (142, 238)),)),
    Thing(
        "a potted plant",
        (
            desk_outline(
                (95, 0), (140, 60), (190, 50), (184, 150), (122, 136), (80, 186), (25, 120), (25, 80)
            ),
        ),
    ),
    Thing("a mug", (desk_outline((290, 272), (330, 272), (330, 330), (290, 330)),)),
)
KITCHEN_THINGS = (
    Thing(
        "a wooden chair",
        (
            outline((54, 296), (250, 232), (276, 330), (212, 420), (180, 479), (0, 479), (40, 376)),
            outline((444, 226), (639, 220), (639, 310), (444, 290)),
        ),
    ),
)


def desk_clip(folder: Path) -> list[Frame]:
    """The frames of rgb/ without their lens's bending, stamped by their names."""
    return list(open_recording(folder / "rgb", lens=DESK_LENS).frames())


def kitchen_clip(folder: Path) -> list[Frame]:
    """The frames from KITCHEN_FIRST on: every second one of 30 a second. Raises ImageError if there are none."""
    files = [f for f in sorted(folder.glob("frame-*.color.*")) if int(f.name[6:12]) >= KITCHEN_FIRST]
    if not files or int(files[0].name[6:12]) != KITCHEN_FIRST:
        raise ImageError(f"{folder} has no frame-{KITCHEN_FIRST:06d}.color.jpg, which the outlines belong to")
    return [
        Frame(cv2.cvtColor(cv2.imread(str(f)), cv2.COLOR_BGR2RGB), int(f.name[6:12]) / 30, KITCHEN_K)
        for f in files
    ]


def tum_poses(file: Path, stamps: np.ndarray) -> np.ndarray:
    """(N, 4, 4) T_WC nearest to each stamp, from lines 't tx ty tz qx qy qz qw'."""
    rows = np.loadtxt(file, ndmin=2)
    rows = rows[np.abs(rows[:, :1] - stamps).argmin(0)]
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :3] = Rotation.from_quat(rows[:, 4:8]).as_matrix()
    poses[:, :3, 3] = rows[:, 1:4]
    return poses


def pair_rotations(model: FeatureModel, frames: list[Frame], T_WC: np.ndarray) -> np.ndarray:
    """Rotation error in degrees of every pair of each PAIR_STEP-th frame, as the mapper takes it; infinite without a pose."""
    rng, keyframes = np.random.default_rng(0), []
    for n in range(0, len(frames), PAIR_STEP):
        image, K = model.prepare(frames[n].image, frames[n].K)
        keyframes.append(Keyframe(n, frames[n].stamp, image, K, model.encode(image)))
    errors = []
    for a, b in combinations(keyframes, 2):
        window = Window(model, AlignmentConfig(), keyframes=[a, b])
        truth = np.linalg.inv(T_WC[a.id]) @ T_WC[b.id]
        errors.append(pose_errors(window.solve(rng).get(b.id), truth)[0])
    return np.array(errors)


def still_rotations(T_WC: np.ndarray) -> np.ndarray:
    """The same for "the camera has not turned"."""
    some = T_WC[::PAIR_STEP, :3, :3]
    return np.degrees([Rotation.from_matrix(a.T @ b).magnitude() for a, b in combinations(some, 2)])


def ate_share(estimate: np.ndarray, truth: np.ndarray, path_m: float) -> float:
    """RMSE of positions after the best Sim(3), as a share of the path's length. Poses (N, 4, 4); NaN below three."""
    if len(estimate) < 3:
        return float("nan")
    P, Q = estimate[:, :3, 3], truth[:, :3, 3]
    s, R, t = umeyama(P, Q)
    return float(np.sqrt(((s * P @ R.T + t - Q) ** 2).sum(1).mean()) / path_m)


def path_length(T_WC: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(T_WC[:, :3, 3], axis=0), axis=1).sum())


def map_clip(model: FeatureModel, frames: list[Frame]) -> MapSnapshot:
    mapper = IncrementalMapper(model)
    for frame in frames:
        mapper.add_frame(frame)
    mapper.flush()
    return mapper.snapshot()


@dataclass(frozen=True)
class Found:
    """A query's best object. pixels: (M, 2) of its voxels in the picture. inside: share of them within the outline."""

    thing: Thing
    inside: float
    score: float
    pixels: np.ndarray

    @property
    def on_the_thing(self) -> bool:
        return self.inside >= ON_THE_THING


def best_object(locator: Locator, snapshot: MapSnapshot, query: str) -> LocatedObject | None:
    """The object that scores most, at the highest threshold that leaves any: a lower one makes larger objects."""
    for threshold in THRESHOLDS:
        answer = locator.locate(snapshot, query, min_score=threshold, max_objects=1)
        if answer.objects:
            return answer.objects[0]
    return None


def find_things(
    locator: Locator, snapshot: MapSnapshot, frame: Frame, things: tuple[Thing, ...]
) -> list[Found]:
    """Each query's best object, whatever it scores, seen from the clip's first frame, which begins the map."""
    T_WC, (h, w) = snapshot.trajectory.T_WC[0], frame.image.shape[:2]
    results = []
    for thing in things:
        best = best_object(locator, snapshot, thing.query)
        if best is None:
            results.append(Found(thing, 0.0, 0.0, np.zeros((0, 2))))
            continue
        X = snapshot.points[best.indices].astype(float)
        uv = project((X - T_WC[:3, 3]) @ T_WC[:3, :3], frame.K)
        seen = (uv >= 0).all(1) & (uv < [w, h]).all(1)
        inside = outline_mask(thing, (h, w))[tuple(uv[seen].astype(int).T[::-1])]
        results.append(Found(thing, float(inside.mean()) if seen.any() else 0.0, best.score, uv[seen]))
    return results


def outline_mask(thing: Thing, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    for corners in thing.outlines:
        cv2.fillPoly(mask, [corners], 1)
    return mask.astype(bool)


def draw_found(found: Found, image: np.ndarray, path: Path) -> None:
    """A PNG: the picture, the thing's outline, and the best object's voxels over it."""
    drawn = image.copy()
    for u, v in found.pixels.astype(int):
        cv2.circle(drawn, (int(u), int(v)), 2, (213, 94, 0), -1)
    drawn = cv2.addWeighted(drawn, 0.6, image, 0.4, 0)
    cv2.polylines(drawn, list(found.thing.outlines), True, (0, 200, 60), 2)
    verdict = "on the thing" if found.on_the_thing else "beside it"
    text = f"{found.thing.query}: {verdict}, {found.inside:.0%} inside, score {found.score:.2f}"
    cv2.rectangle(drawn, (0, image.shape[0] - 28), (image.shape[1], image.shape[0]), (255, 255, 255), -1)
    cv2.putText(
        drawn, text, (8, image.shape[0] - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 34, 40), 1, cv2.LINE_AA
    )
    cv2.imwrite(str(path), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
