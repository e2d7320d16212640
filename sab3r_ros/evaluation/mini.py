"""What the embedded checkpoint is worth: every figure with its goal, an upper bound and a bare baseline beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sab3r_ros.evaluation import clips
from sab3r_ros.evaluation.aliked import Aliked, load_aliked
from sab3r_ros.evaluation.pairs import (
    MATCH_OVERLAP,
    POSE_OVERLAP,
    Judge,
    aliked_matches,
    choose_pairs,
    constant_depth,
    identity_poses,
    of_image,
)
from sab3r_ros.evaluation.synonyms import SYNONYMS
from sab3r_ros.evaluation.truth_model import TruthModel
from sab3r_ros.model.feature_model import FeatureModel
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.text import TextEncoder
from sab3r_ros.training.captions import CaptionVectors
from sab3r_ros.training.shards import Shard
from sab3r_ros.viz.export import slug


@dataclass(frozen=True)
class Row:
    """A figure and what it is to be compared with. goal: (-1 at most, 1 at least; value), in `unit`; None = no goal.

    bound: what true geometry and true labels reach by the same code. baseline: a dead network's. n: of what it is the mean.
    """

    figure: str
    unit: str
    value: float | str
    n: int
    goal: tuple[int, float] | None = None
    bound: float | None = None
    baseline: float | None = None
    beside: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None or isinstance(self.value, str):
            return None
        sign, limit = self.goal
        return bool(sign * self.value >= sign * limit)


AT_MOST, AT_LEAST = -1, 1


def text_queries(text: TextEncoder) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """NYU40 class → unit vector of its name, and of its synonym."""
    names = list(SYNONYMS)
    plain, other = text.encode(names), text.encode(list(SYNONYMS.values()))
    return dict(zip(names, plain, strict=True)), dict(zip(names, other, strict=True))


def depth_rows(place: str, judge: Judge, frames: list[int], goals: tuple[float, float]) -> Iterator[Row]:
    own, flat = judge.depth(frames), constant_depth(judge.shard, frames)
    yield Row(
        f"{place}: depth AbsRel, median-scaled",
        "%",
        100 * own["abs_rel"],
        len(frames),
        (AT_MOST, goals[0]),
        0.0,
        100 * flat["abs_rel"],
    )
    yield Row(
        f"{place}: depth within a factor of 1.25",
        "%",
        100 * own["delta"],
        len(frames),
        (AT_LEAST, goals[1]),
        100.0,
        100 * flat["delta"],
    )


def match_rows(
    place: str, judge: Judge, truth: Judge, pairs: np.ndarray, aliked: Aliked | None
) -> Iterator[Row]:
    own, best = judge.matches(pairs), truth.matches(pairs)
    peer = aliked_matches(aliked, judge.shard, pairs) if aliked else None
    rows = (
        ("descriptor matches within 3 px of truth", "match_3px", (AT_LEAST, 75.0)),
        ("share of covisible pixels matched", "match_share", (AT_LEAST, 25.0)),
        ("the mapper's surest matches within 3 px", "used_3px", None),
        ("its most probable, a quarter of covisible pixels, within 3 px", "surest_3px", None),
    )
    for name, key, goal in rows:
        beside = "" if goal is None else f"ALIKED {100 * peer[key]:.1f}" if peer else "ALIKED not given"
        yield Row(f"{place}: {name}", "%", 100 * own[key], len(pairs), goal, 100 * best[key], beside=beside)


def pose_rows(place: str, judge: Judge, truth: Judge, pairs: np.ndarray) -> Iterator[Row]:
    still = identity_poses(judge.shard, pairs)
    for known, name in ((False, "camera unknown"), (True, "camera known")):
        own, best = judge.poses(pairs, known), truth.poses(pairs, known)
        for key, goal in (("rra", 95.0), ("rta", 85.0)):
            yield Row(
                f"{place}: {key.upper()}@15, {name}",
                "%",
                100 * own[key],
                len(pairs),
                (AT_LEAST, goal),
                100 * best[key],
                100 * still[key],
                f"found {100 * own['found']:.0f} %, median {own['rotation_deg']:.1f}°"
                if key == "rra"
                else "",
            )


def word_rows(place: str, judge: Judge, truth: Judge, frames: list[int], text: TextEncoder) -> Iterator[Row]:
    for queries, name, goal in zip(
        text_queries(text), ("class names", "unseen synonyms"), (40.0, 35.0), strict=True
    ):
        own, best = judge.words(frames, queries), truth.words(frames, queries)
        yield Row(
            f"{place}: mIoU over {own['classes']:.0f} NYU40 classes, {name}",
            "%",
            100 * own["miou"],
            len(frames),
            (AT_LEAST, goal),
            100 * best["miou"],
            100 * own["majority_miou"],
        )


@dataclass(frozen=True)
class Bench:
    """What is measured, and on what. A part whose data are not given is left out of the table by name.

    rooms, kitchen: shards. desk: folder of the desk clip (rgb/, groundtruth.txt). kitchen_folder: the 7-Scenes sequence.
    aliked: its weights. out: where pictures go. pairs, views: most of each.
    """

    model: FeatureModel
    text: TextEncoder
    rooms: Shard | None
    kitchen: Shard | None
    desk: Path | None
    kitchen_folder: Path | None
    aliked: Path | None
    out: Path
    pairs: int = 120
    views: int = 240

    def rows(self) -> Iterator[Row]:
        """All figures, in the order of the table, as they are measured."""
        aliked = load_aliked(self.aliked) if self.aliked else None
        if self.rooms is not None:
            yield from self._rooms(self.rooms, aliked)
        if self.kitchen is not None:
            yield from self._kitchen(self.kitchen, aliked)
        if self.desk is not None:
            yield from self._desk(self.desk)
        if self.desk is not None and self.kitchen_folder is not None:
            yield from self._things(self.desk, self.kitchen_folder)

    def _judges(self, shard: Shard) -> tuple[Judge, Judge]:
        truth = TruthModel(shard, CaptionVectors(shard.vocabulary, self.text)().numpy())
        return Judge(shard, self.model, of_image(self.model)), Judge(shard, truth, truth.encode)

    def _frames(self, shard: Shard) -> list[int]:
        return np.linspace(0, len(shard.frames) - 1, min(self.views, len(shard.frames))).astype(int).tolist()

    def _rooms(self, shard: Shard, aliked: Aliked | None) -> Iterator[Row]:
        own, truth = self._judges(shard)
        frames = self._frames(shard)
        yield from depth_rows("rooms", own, frames, (8.0, 93.0))
        yield from match_rows("rooms", own, truth, choose_pairs(shard, MATCH_OVERLAP, self.pairs), aliked)
        yield from pose_rows("rooms", own, truth, choose_pairs(shard, POSE_OVERLAP, self.pairs))
        yield from word_rows("rooms", own, truth, frames, self.text)

    def _kitchen(self, shard: Shard, aliked: Aliked | None) -> Iterator[Row]:
        own, truth = self._judges(shard)
        yield from depth_rows("kitchen", own, self._frames(shard), (14.0, 82.0))
        yield from match_rows("kitchen", own, truth, choose_pairs(shard, MATCH_OVERLAP, self.pairs), aliked)

    def _desk(self, folder: Path) -> Iterator[Row]:
        frames = clips.desk_clip(folder)
        stamps = np.array([f.stamp for f in frames])
        T_WC = clips.tum_poses(folder / "groundtruth.txt", stamps)
        errors, still = clips.pair_rotations(self.model, frames, T_WC), clips.still_rotations(T_WC)
        yield Row(
            "desk: pair rotation error, median",
            "deg",
            float(np.median(errors)),
            len(errors),
            (AT_MOST, 3.0),
            baseline=float(np.median(still)),
            beside=f"{np.isfinite(errors).mean():.0%} of pairs have a pose",
        )
        path = clips.map_clip(self.model, frames).trajectory
        length = clips.path_length(T_WC)
        at = [int(np.abs(stamps - t).argmin()) for t in path.stamps]
        centre = T_WC[:, :3, 3] - T_WC[:, :3, 3].mean(0)
        yield Row(
            "desk: ATE after Sim(3), of the path",
            "%",
            100 * clips.ate_share(path.T_WC, T_WC[at], length),
            len(at),
            (AT_MOST, 5.0),
            baseline=100 * float(np.sqrt((centre**2).sum(1).mean()) / length),
            beside=f"path {length:.2f} m",
        )

    def _things(self, desk: Path, kitchen: Path) -> Iterator[Row]:
        locator = Locator(self.model.feature_basis, self.text)
        found, chance = [], 0.0
        for frames, things in (
            (clips.desk_clip(desk), clips.DESK_THINGS),
            (clips.kitchen_clip(kitchen), clips.KITCHEN_THINGS),
        ):
            snapshot = clips.map_clip(self.model, frames)
            for one in clips.find_things(locator, snapshot, frames[0], things):
                found.append(one)
                clips.draw_found(one, frames[0].image, self.out / f"{slug(one.thing.query)}.png")
                chance += float(clips.outline_mask(one.thing, frames[0].image.shape[:2]).mean())
        for one in found:
            yield Row(
                f"{one.thing.query}: best object inside the outline",
                "%",
                100 * one.inside,
                len(one.pixels),
                beside=f"score {one.score:.2f}",
            )
        yield Row(
            "named things whose best object is on them",
            "of 5",
            float(sum(one.on_the_thing for one in found)),
            len(found),
            (AT_LEAST, 3.0),
            baseline=chance,
        )


def table(rows: list[Row]) -> str:
    """Markdown, a line a figure."""
    head = "| figure | goal | reached | upper bound | baseline | n | |\n| --- | --- | --- | --- | --- | --- | --- |"
    return "\n".join([head, *(line(row) for row in rows)])


def line(row: Row) -> str:
    def number(x: float | None) -> str:
        return "–" if x is None or np.isnan(x) else f"{x:.1f}"

    goal = "–" if row.goal is None else f"{'≤' if row.goal[0] < 0 else '≥'} {row.goal[1]:g} {row.unit}"
    value = row.value if isinstance(row.value, str) else f"{number(row.value)} {row.unit}"
    verdict = {True: " ✓", False: " ✗", None: ""}[row.met]
    cells = (
        row.figure,
        goal,
        value + verdict,
        number(row.bound),
        number(row.baseline),
        str(row.n),
        row.beside,
    )
    return f"| {' | '.join(cells)} |"
