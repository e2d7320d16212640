"""The node as a process of its own: how it starts, and how it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.weights import save_checkpoint

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """An untrained network: it finds nothing worth having, but computes as long as a trained one."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "untrained.safetensors"
    save_checkpoint(path, SAB3R(SAB3RConfig.mini()), {"note": "untrained"})
    return path


class Process:
    """mapper_node with its log in a file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / "log.txt"
        self.process = subprocess.Popen(
            ["sh", str(ROOT / "scripts" / "mapper_node"), "--ros-args", *arguments],
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        )

    def hear(self, *words: str, timeout: float = 60.0) -> str:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for line in self.log.read_text().splitlines():
                if all(word in line for word in words):
                    return line
            time.sleep(0.05)
        raise AssertionError(f"not heard: {words}\n{self.log.read_text()}")

    def end(self, number: int, timeout: float = 60.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_ctrl_c_in_the_middle_of_a_window_ends_cleanly(tmp_path, checkpoint, number):
    node = Process(tmp_path, "-p", f"model:={checkpoint}", "-p", f"map_path:={tmp_path / 'room.sab3r'}")
    try:
        node.hear("ready: model mini-")
        camera = subprocess.Popen(
            [sys.executable, "-m", "sab3r_ros.ros.demo.camera", str(ROOT / "test/data/tum_fr2desk20/rgb")],
            cwd=ROOT,
        )
        camera.wait(60)  # its last images are still being worked on
        assert node.end(number) == 0
        assert "Traceback" not in node.log.read_text()
        map_file = tmp_path / "room.sab3r"
        assert (
            map_file.is_file() or "saved" not in node.log.read_text()
        )  # nothing mapped yet: nothing to save
    finally:
        node.process.kill()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("no checkpoint at",)),
        (b"rubbish" * 100, ("safetensors", "corrupt")),
    ],
)
def test_a_checkpoint_that_cannot_be_used_ends_with_one_clear_line(tmp_path, content, words):
    path = tmp_path / "model.safetensors"
    if content:
        path.write_bytes(content)
    node = Process(tmp_path, "-p", f"model:={path}")
    assert node.process.wait(60) == 1
    text = node.log.read_text()
    assert "FATAL" in text and str(path) in text and "Traceback" not in text
    assert any(word in text for word in words), text


def test_an_unknown_parameter_is_named_with_the_nearest_one(tmp_path):
    node = Process(tmp_path, "-p", "mapper.voxel_sise_m:=0.05")
    assert node.process.wait(60) == 1
    assert "did you mean 'mapper.voxel_size_m'?" in node.log.read_text()
