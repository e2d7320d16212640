"""Scenes spread over processes and machines, one result file each, resumable.

The engine is torchrun: it comes with torch, starts processes on one machine or many, and a scene needs nothing of another, so
that all it has to do is to give each process its number and to wait for the last. Results meet in a folder that all see.

    torchrun --nproc-per-node 2 -m sab3r_ros.cli bench map-and-locate --out build/bench

A scene's file is written whole or not at all, and bears a key of everything that its numbers depend on. A killed run goes on
where it was; a file with another key (a new checkpoint, another seed) is made again. Each process computes with one thread:
sums come out the same however many there are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from tqdm import tqdm

from sab3r_ros.config import AlignmentConfig, MapAndLocateConfig
from sab3r_ros.evaluation.groups import draw_groups
from sab3r_ros.evaluation.map_and_locate import GroupScore, LabelDistance, score_group, true_points
from sab3r_ros.evaluation.prediction import labelled_points, place_in_world, predict
from sab3r_ros.evaluation.scenes import LabelledView, Scene
from sab3r_ros.evaluation.systems import System
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.map_file import write_whole

PROTOCOL = 1  # grows when a rule of the benchmark changes: older result files are then made again


@dataclass(frozen=True)
class Processes:
    """This process's number and how many there are; 0 of 1 without torchrun."""

    rank: int
    count: int

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            torch.distributed.barrier()


def join_processes() -> Processes:
    """As torchrun's environment says."""
    torch.set_num_threads(1)
    rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=timedelta(days=7))
    return Processes(rank, count)


def key_of(scene: Scene, data: str, systems: Sequence[System], config: MapAndLocateConfig) -> str:
    """Of everything that the scene's numbers depend on, code aside. data: what the scenes were made from."""
    depends = [
        PROTOCOL,
        scene.name,
        data,
        scene.classes,
        [(s.name, s.identity) for s in systems],
        asdict(config),
        asdict(AlignmentConfig()),
    ]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:16]


def run_scenes(
    scenes: Sequence[Scene],
    data: str,
    systems: Sequence[System],
    config: MapAndLocateConfig,
    folder: Path,
    processes: Processes,
) -> list[dict]:
    """All scenes' results, in their order. Each process does every count-th scene, then waits for the others.

    folder: of the result files, made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = [key_of(scene, data, systems, config) for scene in scenes]
    own = range(processes.rank, len(scenes), processes.count)
    for k in tqdm(own, desc=f"{folder.name} {processes.rank + 1}/{processes.count}", unit="scene"):
        path = folder / f"{scenes[k].name}.json"
        if result_of(path, keys[k]) is None:
            result = {"key": keys[k], **run_scene(scenes[k], systems, config)}
            write_whole(path, json.dumps(result).encode())
    processes.wait()
    found = [result_of(folder / f"{s.name}.json", key) for s, key in zip(scenes, keys, strict=True)]
    return [result for result in found if result is not None]


def result_of(path: Path, key: str) -> dict | None:
    """A result file's content if it is whole and bears the key."""
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) and result.get("key") == key else None


def run_scene(scene: Scene, systems: Sequence[System], config: MapAndLocateConfig) -> dict:
    """Plain numbers: for each group its views, cameras and each system's figures."""
    groups = []
    for group in draw_groups(scene, config):
        views = [scene.load(k) for k in group.views]
        rows = {system.name: run_group(views, scene.classes, system, config) for system in systems}
        groups.append(
            {"views": list(group.views), "set": group.set, "cameras": camera_steps(views), "rows": rows}
        )
    return {"scene": scene.name, "classes": list(scene.classes), "groups": groups}


def run_group(
    views: Sequence[LabelledView], classes: Sequence[str], system: System, config: MapAndLocateConfig
) -> dict:
    """One system's figures on one group."""
    model = system.model(views, classes)
    prediction = predict(model, [v.image for v in views], config.seed)
    directions = model.feature_basis.T @ system.text.encode(list(classes)).T
    guess = labelled_points(
        prediction, place_in_world(prediction, views[0], model), directions, config.points_per_view
    )
    score = score_group(true_points(views, config.points_per_view), guess, len(classes))
    return {
        **score_as_json(score),
        "placed": sum(T is not None for T in prediction.T_Vk),
        "seconds": prediction.seconds,
        "cpu_seconds": prediction.cpu_seconds,
    }


def camera_steps(views: Sequence[LabelledView]) -> list[tuple[float, float]]:
    """Of each pair of a group: distance, metres, and angle, degrees (paper Fig. 6)."""
    poses = [Sim3(1.0, v.T_WC[:3, :3], v.T_WC[:3, 3]) for v in views]
    return [
        (float(np.linalg.norm(a.t - b.t)), float(np.degrees(a.angle_to(b))))
        for n, a in enumerate(poses)
        for b in poses[n + 1 :]
    ]


def score_as_json(score: GroupScore) -> dict:
    """Counts as the list of those that are not zero."""
    at = np.argwhere(score.counts)
    return {
        "counts": [[int(i), int(j), int(score.counts[i, j])] for i, j in at],
        "distances": {str(k): asdict(d) if d else None for k, d in score.distances.items()},
        "coverage": list(score.coverage),
    }


def score_from_json(row: dict, classes: int) -> GroupScore:
    counts = np.zeros((classes, classes + 1), np.int64)
    for i, j, n in row["counts"]:
        counts[i, j] = n
    distances = {
        int(k): LabelDistance(d["mean_m"], d["median_m"], tuple(d["near"])) if d else None
        for k, d in row["distances"].items()
    }
    return GroupScore(counts, distances, tuple(row["coverage"]))
