"""Map files: what goes in comes out, nothing is half-written, every bad file says what it is."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_maps import box_points, snapshot_of

from sab3r_ros.errors import MapFileError
from sab3r_ros.mapping import map_file
from sab3r_ros.mapping.map_file import HEAD_BYTES, MAGIC, load_map, save_map
from sab3r_ros.types import MapSnapshot, Trajectory
from sab3r_ros.voxels import Voxels

BASIS = np.arange(24, dtype=np.float32).reshape(6, 4)


@pytest.fixture
def room():
    return snapshot_of([(box_points((0, 0, 0), (0.2, 0.2, 0.2)), np.array([1.0, 2, 3, 4]))], "mini-12345678")


@pytest.fixture
def saved(room, tmp_path):
    path = tmp_path / "room.sab3r"
    save_map(path, room, "mini-12345678", "minilm-l6-v2", BASIS, {"scale": np.array([2.5])})
    return path


def same(a: MapSnapshot, b: MapSnapshot) -> bool:
    def parts(m: MapSnapshot) -> list[np.ndarray]:
        poses = [m.trajectory.stamps, m.trajectory.T_WC]
        return [*m.voxels().columns(), *poses]

    return all(
        x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        for x, y in zip(parts(a), parts(b), strict=True)
    ) and (a.voxel_size_m, a.model_identity, a.version) == (b.voxel_size_m, b.model_identity, b.version)


def test_a_map_comes_back_as_it_was(room, saved):
    loaded = load_map(saved, for_model="mini-12345678")
    assert same(loaded.snapshot, room)
    assert (loaded.model_identity, loaded.language) == ("mini-12345678", "minilm-l6-v2")
    assert np.array_equal(loaded.feature_basis, BASIS) and loaded.state["scale"] == 2.5
    assert not loaded.snapshot.points.flags.writeable


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_roundtrip_of_any_map(data):
    n, k, d = (data.draw(st.integers(0, 6)) for _ in range(3))

    def draw(kind, shape):
        return data.draw(arrays(kind, shape))

    voxels = Voxels(
        draw(np.float32, (n, 3)),
        draw(np.uint8, (n, 3)),
        draw(np.int8, (n, d)),
        draw(np.float16, (n,)),
        draw(np.float16, (n,)),
        draw(np.uint16, (n,)),
        draw(np.int32, (n,)),
    )
    snapshot = MapSnapshot(
        (voxels,),
        d,
        data.draw(st.floats(0.01, 1)),
        Trajectory(draw(np.float64, (k,)), np.tile(np.eye(4), (k, 1, 1))),
        data.draw(st.text(max_size=20)),
        data.draw(st.integers(0, 2**40)),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.sab3r"
        save_map(path, snapshot, snapshot.model_identity, "toy", np.zeros((3, d), np.float32))
        assert same(load_map(path).snapshot, snapshot)


def test_another_models_features_are_refused(saved):
    with pytest.raises(MapFileError, match="mini-12345678, whose features model sab3r-0 cannot read"):
        load_map(saved, for_model="sab3r-0")


@pytest.mark.parametrize("cut", [0, 4, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 9, -1])
def test_a_truncated_file_is_refused(saved, cut):
    saved.write_bytes(saved.read_bytes()[:cut])
    with pytest.raises(MapFileError, match=r"truncated|empty|not a map"):
        load_map(saved)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 255))
def test_any_changed_byte_is_noticed(place, flip):
    room = snapshot_of([(box_points((0, 0, 0), (0.1, 0.1, 0.1)), np.ones(4))])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "room.sab3r"
        save_map(path, room, "m", "toy", BASIS)
        data = bytearray(path.read_bytes())
        data[place % len(data)] ^= flip
        path.write_bytes(bytes(data))
        with pytest.raises(MapFileError):
            load_map(path)


def test_files_that_are_no_maps(tmp_path, saved):
    with pytest.raises(MapFileError, match="there is no map at"):
        load_map(tmp_path / "none.sab3r")
    with pytest.raises(MapFileError, match="cannot read"):
        load_map(tmp_path)
    (tmp_path / "photo.sab3r").write_bytes(b"\x89PNG" * 40)
    with pytest.raises(MapFileError, match="not a map file"):
        load_map(tmp_path / "photo.sab3r")
    saved.write_bytes(MAGIC + (9).to_bytes(4, "little") + saved.read_bytes()[12:])
    with pytest.raises(MapFileError, match=r"format 9.*update"):
        load_map(saved)
    saved.write_bytes(MAGIC + (1).to_bytes(4, "little") + saved.read_bytes()[12:])
    with pytest.raises(MapFileError, match=r"format 1.*too old"):
        load_map(saved)


def test_a_full_disk_keeps_the_old_map(room, saved, monkeypatch):
    before = saved.read_bytes()

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(map_file.os, "fsync", full)
    with pytest.raises(MapFileError, match=r"no room on the disk.*is kept"):
        save_map(saved, room, "m", "toy", BASIS)
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


def test_a_really_full_device(room):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError) as caught, open("/dev/full", "wb") as file:
        file.write(b"x" * 100_000)
        file.flush()
    assert "no room" in map_file.write_problem(Path("room.sab3r"), caught.value, 100)


def test_an_interrupt_leaves_nothing_behind(room, tmp_path, monkeypatch):
    def interrupted(_handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(map_file.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_map(tmp_path / "room.sab3r", room, "m", "toy", BASIS)
    assert os.listdir(tmp_path) == []


def test_paths_that_cannot_be_written(room, tmp_path):
    with pytest.raises(MapFileError, match="is not a folder"):
        save_map(tmp_path / "none" / "room.sab3r", room, "m", "toy", BASIS)
    with pytest.raises(MapFileError, match="cannot write"):
        save_map("/proc/room.sab3r", room, "m", "toy", BASIS)
    (tmp_path / "folder.sab3r").mkdir()
    with pytest.raises(MapFileError, match="cannot write"):
        save_map(tmp_path / "folder.sab3r", room, "m", "toy", BASIS)
    assert os.listdir(tmp_path) == ["folder.sab3r"]


def test_a_killed_process_leaves_the_old_map(room, saved):
    """Killed between writing and renaming, as by the kernel when memory runs out."""
    before = saved.read_bytes()
    script = (
        "import os, signal, sys\n"
        "from sab3r_ros.mapping import map_file\n"
        "saved = map_file.load_map(sys.argv[1])\n"
        "map_file.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "map_file.save_map(sys.argv[1], saved.snapshot, 'm', 'toy', saved.feature_basis)\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run([sys.executable, "-c", script, str(saved)], env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == -signal.SIGKILL
    assert saved.read_bytes() == before and same(load_map(saved).snapshot, room)
