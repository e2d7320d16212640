"""What the demo writes: report.json, trajectory.txt, clouds and a picture, from what the services answered."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from sab3r_ros.geometry.sim3 import umeyama
from sab3r_ros.mapping.map_file import load_map
from sab3r_ros.types import LocateAnswer, LocatedObject, MapSnapshot, Trajectory
from sab3r_ros.viz.export import slug, write_ply, write_tum
from sab3r_ros.viz.picture import draw_map

QUERIES = ("a computer monitor", "a teddy bear", "a keyboard", "a potted plant", "a bathtub")


def read_tum(file: Path) -> Trajectory:
    """A trajectory of lines 't tx ty tz qx qy qz qw'."""
    rows = np.loadtxt(file, ndmin=2)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :3] = Rotation.from_quat(rows[:, 4:8]).as_matrix()
    poses[:, :3, 3] = rows[:, 1:4]
    return Trajectory(rows[:, 0], poses)


def nearest_poses(trajectory: Trajectory, stamps: np.ndarray) -> Trajectory:
    """The pose at or nearest to each stamp."""
    index = [int(np.abs(trajectory.stamps - t).argmin()) for t in stamps]
    return Trajectory(trajectory.stamps[index], trajectory.T_WC[index])


def absolute_error(estimate: Trajectory, truth: Trajectory) -> tuple[float, np.ndarray]:
    """ATE (RMSE, metres) of positions after the best Sim(3), and the truth's poses in the estimate's frame for drawing.

    truth holds a pose for each of the estimate's. NaN with fewer than three poses.
    """
    if len(estimate.stamps) < 3:
        return float("nan"), np.zeros((0, 4, 4))
    P, Q = estimate.T_WC[:, :3, 3], truth.T_WC[:, :3, 3]
    s, R, t = umeyama(P, Q)
    error = np.linalg.norm(s * P @ R.T + t - Q, axis=1)
    drawn = truth.T_WC.copy()
    drawn[:, :3, 3] = (Q - t) @ R / s
    drawn[:, :3, :3] = R.T @ truth.T_WC[:, :3, :3]
    return float(np.sqrt((error**2).mean())), drawn


def as_answer(raw: dict, snapshot: MapSnapshot) -> LocateAnswer:
    """A service's answer with its points as rows of the snapshot that was saved right after it."""
    rows = {p.tobytes(): n for n, p in enumerate(snapshot.points)}
    objects = []
    for o in raw["objects"]:
        points = np.asarray(o["points"], np.float32).reshape(-1, 3)
        w, x, y, z = o["box_quaternion_wxyz"]
        objects.append(
            LocatedObject(
                o["label"],
                o["score"],
                np.array(o["centroid"]),
                np.array(o["box_center"]),
                Rotation.from_quat([x, y, z, w]).as_matrix(),
                np.array(o["box_size"]),
                np.array([rows[p.tobytes()] for p in points if p.tobytes() in rows], int),
            )
        )
    return LocateAnswer(raw["success"], raw["message"], tuple(objects), raw["best_score"])


def write_report(out: Path, clip: Path, peak_rss_mb: float) -> dict:
    """Write everything to `out` and print a table. Returns the report."""
    raw = json.loads((out / "answers.json").read_text())
    saved = load_map(out / "map.sab3r")
    snapshot, trajectory = saved.snapshot, saved.snapshot.trajectory
    answers = {query: as_answer(a, snapshot) for query, a in raw["answers"].items()}
    images = sorted((clip / "rgb").glob("*.*"))
    truth = read_tum(clip / "groundtruth.txt")
    ate, drawn = absolute_error(trajectory, nearest_poses(truth, trajectory.stamps))
    whole = nearest_poses(truth, np.array([float(f.stem) for f in images])).T_WC[:, :3, 3]
    report = {
        "frames": raw["frames"],
        "keyframes": raw["keyframes"],
        "frames_dropped": raw["frames_dropped"],
        "ate_rmse_m": None if np.isnan(ate) else ate,
        "path_length_m": float(np.linalg.norm(np.diff(whole, axis=0), axis=1).sum()),
        "keyframes_per_second": raw["rate"],
        "locate_while_mapping_ms": max(raw["busy_latencies_ms"], default=None),
        "peak_rss_mb": peak_rss_mb,
        "model": raw["model"],
        "queries": {
            query: {
                "objects": len(a.objects),
                "best_score": a.best_score,
                "points": sum(len(o.indices) for o in a.objects),
                "centroid": a.objects[0].centroid.tolist() if a.objects else None,
                "latency_ms": raw["answers"][query]["latency_ms"],
                "message": a.message,
            }
            for query, a in answers.items()
        },
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    write_tum(out / "trajectory.txt", trajectory)
    write_ply(out / "map.ply", snapshot.points, snapshot.colors, snapshot.confidence)
    for query, a in answers.items():
        index = np.concatenate([o.indices for o in a.objects]) if a.objects else np.zeros(0, int)
        write_ply(out / f"{slug(query)}.ply", snapshot.points[index], snapshot.colors[index])
    views = [cv2.cvtColor(cv2.imread(str(f)), cv2.COLOR_BGR2RGB) for f in images[:: max(len(images) // 5, 1)]]
    draw_map(snapshot, answers, out / "map.png", Trajectory(trajectory.stamps[: len(drawn)], drawn), views)
    (out / "answers.json").unlink()
    print_table(report)
    return report


def print_table(report: dict) -> None:
    ate, busy = report["ate_rmse_m"], report["locate_while_mapping_ms"]
    error = "not enough keyframes to tell"
    if ate is not None:
        length = report["path_length_m"]
        error = f"{ate:.3f} m after alignment ({100 * ate / length:.1f} % of the path of {length:.2f} m)"
    print(f"\n  model                {report['model']}")
    print(f"  images               {report['frames']} received, {report['frames_dropped']} dropped")
    print(f"  keyframes            {report['keyframes']}, {report['keyframes_per_second']:.1f} a second")
    print(f"  trajectory error     {error}")
    print(f"  locate while mapping {'–' if busy is None else f'{busy:.0f} ms at most'}")
    print(f"  peak memory          {report['peak_rss_mb']:.0f} MB\n")
    print(
        f"  {'query':<22} {'objects':>7} {'score':>6} {'points':>7} {'ms':>6}   best object's centroid (x, y, z in m)"
    )
    for query, q in report["queries"].items():
        where = "  ".join(f"{c:6.2f}" for c in q["centroid"]) if q["centroid"] else "nothing found"
        row = f"{q['objects']:>7} {q['best_score']:>6.2f} {q['points']:>7} {q['latency_ms']:>6.0f}"
        print(f"  {query:<22} {row}   {where}")
