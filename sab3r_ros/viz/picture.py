"""One picture that says at a glance what was mapped, where the camera went, and what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.mapping.map_file import write_whole
from sab3r_ros.types import LocateAnswer, LocatedObject, MapSnapshot, Trajectory
from sab3r_ros.viz.render import Parallel, draw_points, looking

WIDTH, VIEW_HEIGHT, OBLIQUE_WIDTH = 1680, 760, 1060
TITLE_HEIGHT, ROW_HEIGHT, STRIP_HEIGHT, GAP = 56, 34, 150, 14
INK, FAINT, PATH, TRUTH = (30, 34, 40), (150, 154, 160), (20, 90, 220), (235, 120, 20)
# Colours that stay apart for people who do not see all of them (Okabe and Ito), strongest first.
PALETTE = (
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (0, 114, 178),
    (230, 159, 0),
    (86, 180, 233),
    (150, 130, 0),
)
BOX_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1]
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_map(
    snapshot: MapSnapshot,
    answers: Mapping[str, LocateAnswer],
    path: str | Path,
    truth_trajectory: Trajectory | None = None,
    images: Sequence[np.ndarray] = (),
) -> None:
    """Write a PNG: the map from the cameras' side and from above, the camera's path, what each query found.

    answers: by query. truth_trajectory: already in the map frame, drawn beside the estimate. images: (H, W, 3)
    uint8 RGB, shown as a strip. Raises MapFileError if the path cannot be written.
    """
    found = [thing.indices for answer in answers.values() for thing in answer.objects]
    shown = np.unique(np.concatenate([visible_rows(snapshot), *found]))
    colors = highlighted(snapshot, answers)
    framing = snapshot.points[shown].astype(np.float64)
    if len(snapshot.trajectory.T_WC):
        framing = np.concatenate([framing, snapshot.trajectory.T_WC[:, :3, 3]])
    top_width = WIDTH - OBLIQUE_WIDTH - 3 * GAP
    yaw = viewing_yaw(snapshot.trajectory)
    sides = [
        (Parallel.fitted(looking(yaw, np.deg2rad(38)), framing, OBLIQUE_WIDTH, VIEW_HEIGHT), True),
        (Parallel.fitted(looking(yaw, np.deg2rad(89.9)), framing, top_width, VIEW_HEIGHT), False),
    ]
    panels = []
    for view, with_scores in sides:
        panel = draw_points(view, snapshot.points[shown], colors[shown], snapshot.voxel_size_m)
        draw_path(panel, view, snapshot.trajectory, PATH)
        if truth_trajectory is not None:
            draw_path(panel, view, truth_trajectory, TRUTH)
        draw_objects(panel, view, answers, with_scores)
        draw_scale_bar(panel, view)
        panels.append(panel)

    rows = -(-len(answers) // 2)
    strip = thumbnails(images)
    height = TITLE_HEIGHT + VIEW_HEIGHT + rows * ROW_HEIGHT + 2 * GAP
    height += 0 if strip is None else len(strip) + GAP
    canvas = np.full((height, WIDTH, 3), 255, np.uint8)
    draw_title(canvas, snapshot, truth_trajectory is not None)
    canvas[TITLE_HEIGHT : TITLE_HEIGHT + VIEW_HEIGHT, GAP : GAP + OBLIQUE_WIDTH] = panels[0]
    canvas[TITLE_HEIGHT : TITLE_HEIGHT + VIEW_HEIGHT, OBLIQUE_WIDTH + 2 * GAP : WIDTH - GAP] = panels[1]
    draw_legend(canvas, TITLE_HEIGHT + VIEW_HEIGHT + GAP, answers)
    if strip is not None:
        canvas[height - len(strip) - GAP : height - GAP, GAP : GAP + strip.shape[1]] = strip
    write_whole(Path(path), cv2.imencode(".png", canvas[..., ::-1])[1].tobytes())


def visible_rows(snapshot: MapSnapshot) -> np.ndarray:
    """Rows that are drawn: without stray far points, and without a ceiling that would hide the room."""
    if len(snapshot.points) == 0:
        return np.zeros(0, np.int64)
    low, high = np.percentile(snapshot.points, [2, 98], axis=0)
    margin = 0.1 * (high - low) + snapshot.voxel_size_m
    keep = ((snapshot.points >= low - margin) & (snapshot.points <= high + margin)).all(1)
    if len(snapshot.trajectory.T_WC):
        lid = snapshot.trajectory.T_WC[:, 2, 3].max() + 0.4 * max(high[2] - low[2], 1e-3)
        keep &= snapshot.points[:, 2] <= lid
    return np.flatnonzero(keep)


def viewing_yaw(trajectory: Trajectory) -> float:
    """The direction in which the cameras looked on average, radians in the ground plane."""
    forward = trajectory.T_WC[:, :2, 2].sum(0) if len(trajectory.T_WC) else np.array([1.0, 0.0])
    return float(np.arctan2(forward[1], forward[0]))


def highlighted(snapshot: MapSnapshot, answers: Mapping[str, LocateAnswer]) -> np.ndarray:
    """(N, 3) uint8: the map's colours, paler, and each answer's objects in its colour."""
    colors = 0.82 * snapshot.colors.astype(np.float32) + 0.18 * 215
    for color, answer in zip(cycled(len(answers)), answers.values(), strict=True):
        for found in answer.objects:
            colors[found.indices] = 0.35 * colors[found.indices] + 0.65 * np.array(color, np.float32)
    return colors.astype(np.uint8)


def cycled(count: int) -> list[tuple[int, int, int]]:
    return [PALETTE[k % len(PALETTE)] for k in range(count)]


def corners(found: LocatedObject) -> np.ndarray:
    """(8, 3) corners of an object's box; corner k has the high side of axis a where bit a of k is set."""
    signs = np.array([[(k >> a & 1) - 0.5 for a in range(3)] for k in range(8)])
    return found.box_center + signs * found.box_size @ found.box_R.T


def draw_path(panel: np.ndarray, view: Parallel, trajectory: Trajectory, color: tuple[int, int, int]) -> None:
    """The path as a line, a dot at each keyframe with a tick where it looked, a ring at the start."""
    if len(trajectory.T_WC) == 0:
        return
    at = view.pixels(trajectory.T_WC[:, :3, 3])
    ahead = view.pixels(trajectory.T_WC[:, :3, 3] + trajectory.T_WC[:, :3, 2] * 28 / view.scale)
    cv2.polylines(panel, [np.round(at).astype(np.int32)], False, color, 2, cv2.LINE_AA)
    for k in np.unique(np.linspace(0, len(at) - 1, 25).astype(int)):
        cv2.line(panel, whole(at[k]), whole(ahead[k]), color, 1, cv2.LINE_AA)
        cv2.circle(panel, whole(at[k]), 3, color, -1, cv2.LINE_AA)
    cv2.circle(panel, whole(at[0]), 8, color, 2, cv2.LINE_AA)


def draw_objects(
    panel: np.ndarray, view: Parallel, answers: Mapping[str, LocateAnswer], scores: bool
) -> None:
    """Boxes, and tags with label and, if asked for, score that do not cover one another."""
    taken: list[tuple[int, int, int, int]] = []
    tags = []
    for color, answer in zip(cycled(len(answers)), answers.values(), strict=True):
        for found in answer.objects:
            box = view.pixels(corners(found))
            for a, b in BOX_EDGES:
                cv2.line(panel, whole(box[a]), whole(box[b]), color, 2, cv2.LINE_AA)
            text = f"{ascii_only(found.label)} {found.score:.2f}" if scores else ascii_only(found.label)
            tags.append((text, whole((box[:, 0].mean(), box[:, 1].min())), color))
    for text, above, color in sorted(tags, key=lambda tag: -tag[1][1]):  # the lowest first: the rest move up
        draw_tag(panel, text, above, color, taken)


def draw_tag(
    panel: np.ndarray,
    text: str,
    above: tuple[int, int],
    color: tuple[int, int, int],
    taken: list[tuple[int, int, int, int]],
) -> None:
    """A filled tag above a point, moved up until it is free, with a leader to the point."""
    (w, h), _ = cv2.getTextSize(text, FONT, 0.55, 1)
    w, h = w + 12, h + 12
    x = int(np.clip(above[0] - w // 2, 0, max(panel.shape[1] - w, 0)))
    y = int(np.clip(above[1] - h - 10, 0, panel.shape[0] - h))
    while y > 0 and any(
        x < tx + tw and tx < x + w and y < ty + th and ty < y + h for tx, ty, tw, th in taken
    ):
        y -= 4
    taken.append((x, max(y, 0), w, h))
    cv2.line(panel, (x + w // 2, y + h), above, color, 1, cv2.LINE_AA)
    cv2.rectangle(panel, (x, y), (x + w, y + h), color, -1, cv2.LINE_AA)
    cv2.putText(panel, text, (x + 6, y + h - 7), FONT, 0.55, (255, 255, 255), 1, cv2.LINE_AA)


def draw_scale_bar(panel: np.ndarray, view: Parallel) -> None:
    """A bar of a round length, at most a quarter of the panel's width. Metres, as far as the map knows them."""
    longest = view.width / 4 / view.scale
    length = max(
        (m for m in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if m <= longest), default=0.01
    )
    end, y = view.width - 20, view.height - 16
    start = int(end - length * view.scale)
    cv2.rectangle(panel, (start - 8, y - 26), (end + 8, y + 8), (255, 255, 255), -1)
    cv2.line(panel, (start, y), (end, y), INK, 3)
    cv2.putText(panel, f"{length:g} m", (start, y - 8), FONT, 0.5, INK, 1, cv2.LINE_AA)


def draw_title(canvas: np.ndarray, snapshot: MapSnapshot, with_truth: bool) -> None:
    """Counts of the map on the left, what the lines mean on the right."""
    keyframes, voxels = len(snapshot.trajectory.stamps), len(snapshot.points)
    text = f"Map and locate: {keyframes} keyframes, {voxels:,} voxels of {snapshot.voxel_size_m:g} m"
    cv2.putText(canvas, text, (GAP, 36), FONT, 0.8, INK, 2, cv2.LINE_AA)
    lines = [("camera path (ring: start)", PATH)] + ([("true path", TRUTH)] if with_truth else [])
    x = WIDTH - GAP - 250 * len(lines)
    for text, color in lines:
        cv2.line(canvas, (x, 30), (x + 34, 30), color, 3, cv2.LINE_AA)
        cv2.putText(canvas, text, (x + 42, 36), FONT, 0.5, INK, 1, cv2.LINE_AA)
        x += 250


def draw_legend(canvas: np.ndarray, top: int, answers: Mapping[str, LocateAnswer]) -> None:
    """A swatch and a line a query, in two columns; queries without an object are faint."""
    for k, (color, (query, answer)) in enumerate(zip(cycled(len(answers)), answers.items(), strict=True)):
        x, y = GAP + (k % 2) * WIDTH // 2, top + (k // 2) * ROW_HEIGHT
        if answer.objects:
            points = sum(len(o.indices) for o in answer.objects)
            count = f"{len(answer.objects)} object{'s' if len(answer.objects) > 1 else ''}"
            text = f'"{ascii_only(query)}": {count}, best score {answer.best_score:.2f}, {points:,} voxels'
            cv2.rectangle(canvas, (x, y + 4), (x + 22, y + 24), color, -1)
        else:
            text = f'"{ascii_only(query)}": not found (best score {answer.best_score:.2f})'
            cv2.rectangle(canvas, (x, y + 4), (x + 22, y + 24), FAINT, 2)
        ink = INK if answer.objects else FAINT
        cv2.putText(canvas, text[:84], (x + 34, y + 21), FONT, 0.6, ink, 1, cv2.LINE_AA)


def thumbnails(images: Sequence[np.ndarray]) -> np.ndarray | None:
    """Up to eight images, evenly chosen, side by side: (STRIP_HEIGHT, ≤ WIDTH − 2 GAP, 3)."""
    if not len(images):
        return None
    chosen = [images[k] for k in np.unique(np.linspace(0, len(images) - 1, 8).astype(int))]
    widths = [round(i.shape[1] / i.shape[0] * STRIP_HEIGHT) for i in chosen]
    small = [
        cv2.resize(i, (w, STRIP_HEIGHT), interpolation=cv2.INTER_AREA)
        for i, w in zip(chosen, widths, strict=True)
    ]
    return np.concatenate(small, 1)[:, : WIDTH - 2 * GAP]


def whole(point: Sequence[float]) -> tuple[int, int]:
    """Pixels for OpenCV, kept where its drawing cannot overflow."""
    x, y = np.clip(np.round(np.asarray(point, float)), -30000, 30000)
    return int(x), int(y)


def ascii_only(text: str) -> str:
    """What OpenCV's fonts can draw."""
    return text.encode("ascii", "replace").decode()
