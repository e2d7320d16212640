"""The command line, as a person runs it: in processes, on tiny maps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from oracle import OracleModel, World, walk
from small_maps import box_points, snapshot_of

from sab3r_ros.cli import main, parser
from sab3r_ros.commands.scale import things
from sab3r_ros.errors import QueryError
from sab3r_ros.mapping.map_file import load_map, save_map
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.querying.text import load_text_encoder
from sab3r_ros.types import Trajectory

ROOT = Path(__file__).parents[1]


def sab3r(*arguments: object) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "sab3r_ros.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A floor, a sofa and a mug whose features are the sentence encoder's, behind a short basis."""
    text = load_text_encoder("minilm-l6-v2")
    vectors = text.encode(["floor", "sofa", "mug"])
    basis = np.linalg.qr(vectors.T)[0].astype(np.float32)  # (384, 3)
    floor, sofa, mug = vectors @ basis
    parts = [
        (box_points((0, 0, 0), (3, 3, 0.1)), floor),
        (box_points((1, 1, 0.5), (1.6, 0.6, 0.6)), sofa),
        (box_points((-1, 0, 0.5), (0.15, 0.15, 0.2)), mug),
    ]
    path = tmp_path_factory.mktemp("maps") / "room.sab3r"
    save_map(path, snapshot_of(parts, "mini-0"), "mini-0", text.space, basis)
    return path


def test_help_shows_every_command_with_examples(capsys):
    for arguments in (["--help"], *([name, "--help"] for name in ("map", "locate", "scale", "export"))):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        text = capsys.readouterr().out
        assert end.value.code == 0 and "examples:" in text and "sab3r " in text
    assert {"map", "locate", "scale", "export", "weights", "distill"} <= set(
        parser()._subparsers._group_actions[0].choices
    )


def test_locate_tells_views_if_asked(room, tmp_path, capsys):
    saved = load_map(room)
    T_WC = np.tile(np.array([[0.0, 0, 1, -2], [-1, 0, 0, 0], [0, -1, 0, 0.5], [0, 0, 0, 1]]), (2, 1, 1))
    T_WC[1, 0, 3] = -2.5  # both look along x at the mug
    facing = replace(saved.snapshot, trajectory=Trajectory(np.array([0.0, 1.0]), T_WC))
    room = tmp_path / "facing.sab3r"
    save_map(room, facing, saved.model_identity, saved.language, saved.feature_basis)
    assert main(["locate", str(room), "a mug", "--views", "--json"]) == 0
    (mug,) = json.loads(capsys.readouterr().out)["a mug"]["objects"]
    assert mug["keyframes"] == [0, 1] and mug["best_keyframe"] == 0
    assert (mug["first_seen_s"], mug["last_seen_s"]) == (0.0, 1.0)
    assert main(["locate", str(room), "a mug", "--views"]) == 0
    assert "seen by 2 keyframes" in capsys.readouterr().out


def test_locate_by_a_point_and_by_a_picture(room, tmp_path, capsys):
    assert main(["locate", str(room), "--point", "-1", "0", "0.6"]) == 0
    assert "this looks like 'mug'; 0 more like it" in capsys.readouterr().out
    assert main(["locate", str(room), "--point", "9", "9", "9"]) == 2
    assert "point at a thing" in capsys.readouterr().err
    assert main(["locate", str(room)]) == 2 and "--point or --image" in capsys.readouterr().err
    assert main(["locate", str(room), "--image", str(tmp_path / "no.png")]) == 2
    assert "cannot read a picture" in capsys.readouterr().err


def test_locate_as_text_and_as_json(room):
    done = sab3r("locate", room, "a mug", "a couch", "--json")
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    mug, couch = answers["a mug"]["objects"][0], answers["a couch"]["objects"][0]
    assert np.allclose(mug["centroid"], [-1, 0, 0.5], atol=0.06) and 0 <= mug["score"] <= 1
    assert np.allclose(couch["box"]["size"], [1.55, 0.55, 0.55], atol=0.06)
    assert set(couch) == {"id", "label", "score", "centroid", "box", "voxels"}
    done = sab3r("locate", room, "a mug")
    assert "1 object found for 'mug'" in done.stdout and " 1. score" in done.stdout


def test_an_absent_thing_ends_with_status_1(room, capsys):
    assert main(["locate", str(room), "a giraffe"]) == 1
    assert "no 'giraffe' found. Nearest" in capsys.readouterr().out


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Images of the oracle's room, and the oracle in place of a network."""
    world = World()
    folder = tmp_path / "photos"
    folder.mkdir()
    for k, T_WC in enumerate(walk(14, turn=0.5)):
        cv2.imwrite(str(folder / f"{k}.png"), world.image(T_WC)[..., ::-1])
    model = OracleModel(world)
    monkeypatch.setattr(
        "sab3r_ros.model.feature_model.load_model", lambda name, device=None, compiled=False: model
    )
    return folder


def test_map_then_go_on_in_the_map(photos, tmp_path, capsys):
    out = tmp_path / "room.sab3r"
    assert main(["map", str(photos), "--out", str(out), "--set", "keyframe_disparity=0.02"]) == 0
    first = load_map(out, for_model="oracle")
    assert len(first.snapshot.trajectory.stamps) >= 6 and len(first.snapshot.points) > 1000
    assert f"{out}: " in capsys.readouterr().out
    again = ["map", str(photos), "--onto", str(out), "--out", str(out), "--set", "keyframe_disparity=0.02"]
    assert main(again) == 0
    assert len(load_map(out).snapshot.trajectory.stamps) > len(first.snapshot.trajectory.stamps)
    assert main(["locate", str(out), "a mug"]) == 2  # the oracle speaks no language
    assert "no language features" in capsys.readouterr().err


def test_a_known_distance_makes_a_map_metric(photos, room, tmp_path, capsys):
    out, metric = tmp_path / "room.sab3r", tmp_path / "metric.sab3r"
    assert main(["map", str(photos), "--out", str(out), "--set", "keyframe_disparity=0.02"]) == 0
    ends = ["--points", "0", "-0.5", "0", "0", "0.5", "0"]  # 1 apart
    assert main(["scale", str(out), "--metres", "1.5", *ends, "--out", str(metric)]) == 0
    assert "all lengths times 1.5000" in capsys.readouterr().out
    before, after = load_map(out), load_map(metric)
    eyes = [m.snapshot.trajectory.T_WC[:, :3, 3] for m in (before, after)]
    assert np.allclose(eyes[1], 1.5 * eyes[0], atol=1e-6)
    low, high = (np.percentile(m.snapshot.points, [2, 98], axis=0) for m in (before, after))
    assert (
        np.allclose(high, 1.5 * low, atol=0.05) and after.state["metric"][0] and not before.state["metric"][0]
    )
    assert main(["scale", str(metric), "--metres", "-1", *ends]) == 2
    assert "a length above 0" in capsys.readouterr().err
    assert main(["scale", str(room), "--metres", "1", "--things", "a mug", "a sofa"]) == 2
    assert "no keyframes' poses" in capsys.readouterr().err


def test_two_things_are_the_ends_of_a_known_distance(room):
    mug, sofa = things(load_map(room), ["a mug", "a sofa"])
    assert np.linalg.norm(mug - sofa) == pytest.approx(5**0.5, abs=0.1)
    with pytest.raises(QueryError, match=r"no 'giraffe' found.*--points"):
        things(load_map(room), ["a mug", "a giraffe"])


def test_an_interrupt_saves_what_is_mapped(photos, tmp_path, monkeypatch, capsys):
    out, add_frame = tmp_path / "room.sab3r", IncrementalMapper.add_frame
    seen = []

    def interrupted(self, frame):
        seen.append(frame)
        if len(seen) == 12:
            raise KeyboardInterrupt
        return add_frame(self, frame)

    monkeypatch.setattr(IncrementalMapper, "add_frame", interrupted)
    assert main(["map", str(photos), "--out", str(out), "--set", "keyframe_disparity=0.02"]) == 130
    assert len(load_map(out).snapshot.points) > 1000
    assert "saving what is mapped" in capsys.readouterr().err


def test_black_frames_map_nothing_and_say_so(photos, tmp_path, capsys):
    for file in photos.iterdir():
        cv2.imwrite(str(file), np.zeros((96, 128, 3), np.uint8))
    assert main(["map", str(photos), "--out", str(tmp_path / "room.sab3r")]) == 2
    error = capsys.readouterr().err
    assert "nothing was mapped" in error and "14 frames skipped" in error
    assert not (tmp_path / "room.sab3r").exists()


def test_export_writes_what_is_asked_for(room, tmp_path, capsys):
    files = [tmp_path / name for name in ("map.ply", "map.pcd", "path.txt", "map.png")]
    arguments = [
        "export",
        room,
        *files,
        "--query",
        "a mug",
        "--query",
        "a giraffe",
        "--objects",
        tmp_path / "things",
    ]
    camera = ["--camera", 640, 480, 500, 500, 320, 240]
    assert main([str(a) for a in [*arguments, "--colmap", tmp_path / "sparse", *camera]]) == 0
    for name in ("map.ply", "map.pcd", "path.txt", "map.png", "things/01-mug.ply", "sparse/images.txt"):
        assert (tmp_path / name).stat().st_size > 0
    assert "no 'giraffe' found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["locate", "none.sab3r", "a mug"], "there is no map at none.sab3r"),
        (["locate", "ROOM", ""], "the query is empty"),
        (["locate", "ROOM", "x" * 10_000], "10000 characters"),
        (["export", "ROOM"], "nothing to write"),
        (["export", "ROOM", "map.doc"], "end it in .ply"),
        (["export", "ROOM", "--colmap", "sparse"], "needs the camera"),
        (["export", "ROOM", "--objects", "things"], "at least one --query"),
        (["export", "ROOM", "/proc/map.ply"], "cannot write"),
        (["map", "none", "--out", "room.sab3r"], "nothing at none"),
        (
            ["map", "EMPTY", "--camera", "none.yaml", "--out", "room.sab3r"],
            "none.yaml is no camera calibration",
        ),
        (["map", "EMPTY", "--out", "room.sab3r"], "holds no images"),
        (["map", "ROOM", "--out", "room.sab3r"], "no video"),
        (["map", "EMPTY", "--out", "none/room.sab3r"], "none is not a folder"),
        (["map", "EMPTY", "--out", "EMPTY"], "name a file"),
        (["map", "EMPTY", "--out", "room.sab3r", "--set", "windw=3"], "did you mean 'window'"),
        (["map", "EMPTY", "--out", "room.sab3r", "--every", "0"], "at least 1"),
    ],
)
def test_one_clear_line_and_status_2(room, tmp_path, capsys, arguments, text):
    places = {"ROOM": str(room), "EMPTY": str(tmp_path)}
    assert main([places.get(a, a) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert text in error and error.startswith("sab3r: ") and error.count("\n") == 1
