"""The demo, whole: three processes over DDS on the real clip, with an untrained network; and its arithmetic."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_ros_process import checkpoint  # noqa: F401  a fixture

from sab3r_ros.ros.demo.report import absolute_error, read_tum
from sab3r_ros.types import Trajectory

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "test" / "data" / "tum_fr2desk20"


def trajectory(positions) -> Trajectory:
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    poses[:, :3, 3] = positions
    return Trajectory(np.arange(len(positions), dtype=float), poses)


def test_the_error_ignores_scale_and_place():
    truth = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    estimate = 0.4 * truth @ quarter.T + [5, 6, 7]
    error, drawn = absolute_error(trajectory(estimate), trajectory(truth))
    assert error == pytest.approx(0, abs=1e-9)
    assert np.allclose(drawn[:, :3, 3], estimate)


def test_the_error_of_one_bent_corner():
    truth = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    estimate = truth.copy()
    estimate[4:, 2] *= 1.1  # 0.1 m too long: after the best scale 6.2 / 6.42, by hand
    scale = 6.2 / 6.42
    residual = np.array([1 - scale] * 4 + [1 - 1.1 * scale] * 2)
    error, _ = absolute_error(trajectory(estimate), trajectory(truth))
    assert error == pytest.approx(np.sqrt((residual**2).mean()), rel=1e-6)


def test_too_few_keyframes_have_no_error():
    two = trajectory(np.zeros((2, 3)))
    assert np.isnan(absolute_error(two, two)[0])


def test_the_clip_is_what_its_attribution_says():
    images = sorted((CLIP / "rgb").iterdir())
    truth = read_tum(CLIP / "groundtruth.txt")
    stamps = np.array([float(f.stem) for f in images])
    assert len(images) == 20 and 1.8 < stamps[-1] - stamps[0] < 2.0
    assert max(np.abs(truth.stamps - t).min() for t in stamps) < 0.01  # a pose for each image
    assert "CC BY 4.0" in (CLIP / "ATTRIBUTION.md").read_text()


def test_the_whole_demo_runs_and_reports_honestly(tmp_path, checkpoint):  # noqa: F811
    done = subprocess.run(
        [sys.executable, "-m", "sab3r_ros.ros.demo", "--model", str(checkpoint), "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["frames"] == 20 and report["frames_dropped"] == 0
    assert report["model"].startswith("mini-") and 0.4 < report["path_length_m"] < 0.6
    assert report["peak_rss_mb"] > 200
    assert done.returncode == (0 if report["keyframes"] else 1), done.stderr
    assert set(report["queries"]) == {
        "a computer monitor",
        "a teddy bear",
        "a keyboard",
        "a potted plant",
        "a bathtub",
    }
    for answer in report["queries"].values():
        assert set(answer) >= {"objects", "best_score", "points", "centroid", "latency_ms"}
        assert (answer["centroid"] is None) == (answer["objects"] == 0)
    written = {p.name for p in tmp_path.iterdir()}
    assert {"trajectory.txt", "map.ply", "map.png", "a-teddy-bear.ply"} <= written
    assert "a teddy bear" in done.stdout
