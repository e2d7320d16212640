"""Benchmark runs: data in their published layouts, scenes over processes, a killed run resumed, files for people."""

import json
import multiprocessing
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from small_rooms import box_room, box_views

from sab3r_ros.cli import main
from sab3r_ros.config import MapAndLocateConfig
from sab3r_ros.errors import ConfigError
from sab3r_ros.evaluation import bounds, report, scannet
from sab3r_ros.evaluation.labels import ASKED, NYU40, asked_index
from sab3r_ros.evaluation.rgbd_folder import FolderFormat, folder_scene, read_format
from sab3r_ros.evaluation.runner import Processes, run_scenes
from sab3r_ros.evaluation.scannet import DEFAULT_SCENES, scannet_scenes
from sab3r_ros.evaluation.systems import load_systems
from sab3r_ros.evaluation.table import class_table, quality_tables, rows_of

BOUNDS = {"Oracle": "oracle", "Chance": "chance"}
CONFIG = MapAndLocateConfig(max_overlap=0.95, sets=1, points_per_view=800)
RAW_ID = {
    0: 21,
    1: 11,
    -1: 99,
}  # label of the small room → ScanNet's raw id: wall, floor, and one that is void
FORM = FolderFormat(classes={7: "cupboard", 9: "carpet"}, depth_unit_m=0.0001, depth_rotated=True)


def png(image, ending=".png"):
    return cv2.imencode(ending, image)[1].tobytes()


def write_label_map(path):
    path.write_text(
        "id\traw_category\tnyu40id\n21\twall\t1\n11\tfloor\t2\n99\tthing\t40\n5\tchair\t5\n6\tnone\t\n"
    )
    return path


def raw_ids(view):
    return np.select([view.labels == k for k in (0, 1)], [RAW_ID[0], RAW_ID[1]], RAW_ID[-1]).astype(np.uint16)


def write_sens(folder, views, lost=()):
    """As ScanNet publishes a scene: a .sens file and zipped labels."""
    folder.mkdir(parents=True)
    h, w = views[0].depth.shape
    K = np.eye(4, dtype="<f4")
    K[:3, :3] = views[0].K
    head = struct.pack("<IQ", 4, 6) + b"sensor" + K.tobytes() + np.eye(4, dtype="<f4").tobytes()
    head += K.tobytes() + np.eye(4, dtype="<f4").tobytes()
    head += struct.pack("<iiIIII", 2, 1, 2 * w, 2 * h, w, h) + struct.pack("<fQ", 1000.0, len(views))
    with zipfile.ZipFile(folder / f"{folder.name}_2d-label-filt.zip", "w") as labels:
        body = b""
        for k, view in enumerate(views):
            pose = np.full((4, 4), -np.inf) if k in lost else view.T_WC
            color = png(cv2.resize(view.image, (2 * w, 2 * h))[..., ::-1], ".jpg")
            depth = zlib.compress((view.depth * 1000).round().astype("<u2").tobytes())
            body += (
                pose.astype("<f4").tobytes()
                + struct.pack("<QQQQ", k, k, len(color), len(depth))
                + color
                + depth
            )
            big = cv2.resize(raw_ids(view), (2 * w, 2 * h), interpolation=cv2.INTER_NEAREST)
            labels.writestr(f"label-filt/{k}.png", png(big))
    (folder / f"{folder.name}.sens").write_bytes(head + body)


def write_exported(folder, views):
    """As its SensReader and unzip leave it."""
    for name in ("color", "depth", "pose", "intrinsic", "label-filt"):
        (folder / name).mkdir(parents=True)
    K = np.eye(4)
    K[:3, :3] = views[0].K
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", K)
    for k, view in enumerate(views):
        (folder / "color" / f"{k}.jpg").write_bytes(png(view.image[..., ::-1], ".jpg"))
        (folder / "depth" / f"{k}.png").write_bytes(png((view.depth * 1000).round().astype(np.uint16)))
        (folder / "label-filt" / f"{k}.png").write_bytes(png(raw_ids(view)))
        np.savetxt(folder / "pose" / f"{k}.txt", view.T_WC)


def write_folder(folder, views):
    """As 7-Scenes names files, with depth as SUN3D rotates it."""
    folder.mkdir(parents=True)
    np.savetxt(folder / "camera-intrinsics.txt", views[0].K)
    for k, view in enumerate(views):
        units = (view.depth * 10_000).round().astype(np.uint16)
        cv2.imwrite(str(folder / f"frame-{k:06d}.depth.png"), (units << 3) | (units >> 13))
        cv2.imwrite(str(folder / f"frame-{k:06d}.color.png"), view.image[..., ::-1])
        ids = np.select([view.labels == 0, view.labels == 1], [7, 9], 0).astype(np.uint8)
        cv2.imwrite(str(folder / f"frame-{k:06d}.segm.png"), ids)
        np.savetxt(folder / f"frame-{k:06d}.pose.txt", view.T_WC)


@pytest.mark.parametrize("write", [write_sens, write_exported])
def test_scannet_in_its_layouts(write, tmp_path):
    views = box_views(3)
    write(tmp_path / "scene0011_00", views)
    (scene,) = scannet_scenes(tmp_path, write_label_map(tmp_path / "labels.tsv"), ("scene0011_00",))
    assert (scene.frames, scene.name, scene.classes) == (3, "scene0011_00", ASKED)
    for k, true in enumerate(views):
        read = scene.load(k)
        assert np.allclose(read.depth, true.depth, atol=6e-4) and np.allclose(read.T_WC, true.T_WC, atol=1e-5)
        assert np.allclose(read.K, true.K) and (read.labels == true.labels).mean() > 0.99
        assert np.abs(read.image.astype(int) - true.image).mean() < 8  # JPEG


def test_scannet_frames_that_lost_track_are_left_out(tmp_path):
    write_sens(tmp_path / "scene0011_00", box_views(3), lost=(1,))
    (scene,) = scannet_scenes(tmp_path, write_label_map(tmp_path / "labels.tsv"), ("scene0011_00",))
    assert [scene.load(k) is None for k in range(3)] == [False, True, False]


def test_scannet_says_what_is_missing(tmp_path):
    label_map = write_label_map(tmp_path / "labels.tsv")
    with pytest.raises(ConfigError, match="scannetv2-labels"):
        scannet_scenes(tmp_path, tmp_path / "none.tsv")
    with pytest.raises(ConfigError, match="scene0011_00 is no ScanNet scene"):
        scannet_scenes(tmp_path, label_map)
    write_exported(tmp_path / "scene0011_00", box_views(1))
    for file in (tmp_path / "scene0011_00" / "label-filt").iterdir():
        file.unlink()
    (tmp_path / "scene0011_00" / "label-filt").rmdir()
    with pytest.raises(ConfigError, match=r"2d-label-filt\.zip"):
        scannet_scenes(tmp_path, label_map, ("scene0011_00",))
    (tmp_path / "scene0015_00").mkdir()
    (tmp_path / "scene0015_00" / "scene0015_00.sens").write_bytes(struct.pack("<IQ", 3, 0))
    write_sens(tmp_path / "scene0019_00", box_views(2))
    torn = tmp_path / "scene0019_00" / "scene0019_00.sens"
    torn.write_bytes(torn.read_bytes()[:400])
    with pytest.raises(ConfigError, match="ends early"):
        scannet.sens_frames(torn)
    with pytest.raises(ConfigError, match=r"sens is a \.sens file of version 3"):
        scannet.sens_frames(tmp_path / "scene0015_00" / "scene0015_00.sens")


def test_labels_are_nyu40_without_the_ones_that_name_nothing():
    assert (
        len(NYU40) == 40 and len(set(NYU40)) == 40 and len(DEFAULT_SCENES) == len(set(DEFAULT_SCENES)) == 24
    )
    assert [asked_index(n) for n in ("wall", "refridgerator", "otherprop", "")] == [0, 23, -1, -1]


def test_a_labelled_folder_is_read(tmp_path):
    views = box_views(2)
    write_folder(tmp_path / "box", views)
    scene = folder_scene(tmp_path / "box", FORM)
    read = scene.load(1)
    assert scene.classes == ("cupboard", "carpet") and scene.frames == 2
    assert np.allclose(read.depth, views[1].depth, atol=1e-4) and (read.labels == views[1].labels).all()
    assert (read.image == views[1].image).all() and np.allclose(read.T_WC, views[1].T_WC)
    (tmp_path / "box" / "frame-000001.segm.png").unlink()
    with pytest.raises(ConfigError, match=r"segm\.png is missing"):
        scene.load(1)


@pytest.mark.parametrize("text", ["", "classes: {}", "clases: {1: mug}", "classes: [", None])
def test_a_bad_description_of_labels_says_so(text, tmp_path):
    if text is not None:
        (tmp_path / "labels.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"labels\.yaml|did you mean 'classes'"):
        read_format(tmp_path / "labels.yaml")


def test_the_shipped_description_is_read():
    assert read_format(Path(__file__).parents[1] / "config" / "bench_shelf.yaml").classes[132] == "tissue box"


@pytest.fixture(scope="module", autouse=True)
def small_bounds():
    """Oracle and chance look at a quarter of the pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "LONG_SIDE", 128)
        yield


class Alone(Processes):
    """One of several processes that does not wait for the others, which come after it."""

    def wait(self):
        pass


@pytest.fixture(scope="module")
def systems():
    torch.set_num_threads(1)
    return load_systems(BOUNDS, None)[0]


def scenes():
    return [box_room(f"box-{k}", seed=k, size=(64, 96), focal=75.0) for k in range(4)]


def tables(results):
    rows = rows_of(results, list(BOUNDS))
    return quality_tables(rows, {"other": "not here"}) + class_table(rows, results[0]["classes"], 3)


@pytest.fixture(scope="module")
def whole(systems, tmp_path_factory):
    return tables(
        run_scenes(scenes(), "", systems, CONFIG, tmp_path_factory.mktemp("whole"), Processes(0, 1))
    )


def test_the_table_is_the_same_whatever_the_number_of_processes(systems, whole, tmp_path):
    for rank in (2, 0, 1):
        found = run_scenes(scenes(), "", systems, CONFIG, tmp_path, Alone(rank, 3))
    assert tables(found) == whole and "| Oracle | 9" in whole


def test_a_killed_run_goes_on_and_gives_the_same_table(systems, whole, tmp_path):
    fork = multiprocessing.get_context("fork")
    job = fork.Process(target=run_scenes, args=(scenes(), "", systems, CONFIG, tmp_path, Processes(0, 1)))
    job.start()
    while len(list(tmp_path.glob("box-*.json"))) < 2 and job.is_alive():
        time.sleep(0.005)
    os.kill(job.pid, signal.SIGKILL)
    job.join()
    done = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("box-*.json")}
    assert job.exitcode == -signal.SIGKILL and 2 <= len(done) < 4
    assert tables(run_scenes(scenes(), "", systems, CONFIG, tmp_path, Processes(0, 1))) == whole
    assert all((tmp_path / name).stat().st_mtime_ns == at for name, at in done.items())


def test_results_of_another_configuration_and_torn_files_are_made_again(systems, whole, tmp_path):
    other = MapAndLocateConfig(**{**CONFIG.__dict__, "points_per_view": 300})
    run_scenes(scenes()[:2], "", systems, other, tmp_path, Processes(0, 1))
    (tmp_path / "box-2.json").write_text("{")
    assert tables(run_scenes(scenes(), "", systems, CONFIG, tmp_path, Processes(0, 1))) == whole


def bench_folders(tmp_path, count):
    for k in range(count):
        write_folder(tmp_path / f"box-{k}", box_views(6, seed=k, size=(64, 96), focal=75.0))
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump(FORM.__dict__))
    found = [str(tmp_path / f"box-{k}") for k in range(count)]
    return [
        *(x for folder in found for x in ("--rgbd", folder)),
        "--labels", str(tmp_path / "labels.yaml"), "--rooms", "0", "--only", "Oracle", "--only", "Chance",
        "--set", "max_overlap=0.95", "--set", "points_per_view=800",
    ]  # fmt: skip


def test_the_command_leaves_tables_results_and_a_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "PANEL", (76, 56))
    monkeypatch.setattr(report, "CUT", (24, 24))
    options = bench_folders(tmp_path, 1)
    assert main(["bench", "map-and-locate", *options, "--out", str(tmp_path / "out")]) == 0
    said, table = capsys.readouterr().out, (tmp_path / "out" / "table.md").read_text()
    assert table in said and "| Oracle |" in table and "quoted from the paper" in table
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/webp") >= 10 and "Truth and prediction" in page and "SAB3R (CD)" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)  # nothing is fetched from elsewhere
    assert record["figures"]["rgbd"]["Oracle"]["2"]["miou"] > 0.9 and record["systems"]["Oracle"] == "oracle"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rooms", "0"], "nothing to measure on"),
        (["--rooms", "0", "--scannet", "scans", "--scenes", "none.txt"], "list of scenes none.txt"),
        (["--rooms", "1", "--only", "minni"], "no row is called 'minni'"),
        (["--set", "max_overlp=1"], "did you mean 'max_overlap'"),
        (["--set", "sets=two"], "sets=two"),
        (["--row", "mine"], "--row 'my network=FILE'"),
    ],
)
def test_the_command_says_what_is_wrong(options, message, tmp_path, capsys):
    assert main(["bench", "map-and-locate", *options, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_torchrun_gives_the_same_table(tmp_path):
    options = bench_folders(tmp_path, 3)
    tables = []
    for count in (1, 2):
        out = tmp_path / f"out{count}"
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(count),
            "-m",
        ]
        command += ["sab3r_ros.cli", "bench", "map-and-locate", *options, "--out", str(out)]
        subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
        tables.append((out / "table.md").read_bytes())
    assert tables[0] == tables[1]
