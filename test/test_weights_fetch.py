"""`sab3r weights` against a small hub on this machine: commit, size, sha256 and licence, resuming, and being offline."""

import argparse
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file
from small_heads import small_heads  # noqa: F401

from sab3r_ros.commands import weights as command
from sab3r_ros.errors import CheckpointError
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.catalog import CATALOG, cached_files, cached_network, cached_path
from sab3r_ros.model.lock import Locked, lock_file, locked
from sab3r_ros.model.weights import load_checkpoint, own_tensors, read_metadata

TINY = SAB3RConfig(
    encoder_width=64, encoder_depth=1, encoder_heads=1, decoder_width=64, decoder_depth=4, decoder_heads=1
)
COMMIT = "c0ffee" * 6 + "abcd"


class Hub(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.claimed, self.commit, self.requests = b"", "", COMMIT, []


class Handler(BaseHTTPRequestHandler):
    """Like the hub: /resolve/ tells about the file and redirects to storage, which serves ranges."""

    def do_HEAD(self):
        self.server.requests.append(("HEAD", self.path))
        self.send_response(302)
        self.send_header("X-Repo-Commit", self.server.commit)
        self.send_header("X-Linked-Etag", f'"{self.server.claimed}"')
        self.send_header("X-Linked-Size", str(len(self.server.content)))
        self.send_header("Location", "/storage")
        self.end_headers()

    def do_GET(self):
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.requests.append(("GET", self.path, start))
        if self.path != "/storage":
            self.send_response(302)
            self.send_header("Location", "/storage")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.end_headers()
        self.wfile.write(self.server.content[start:])

    def log_message(self, *_args):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def network(hub, tmp_path):
    torch.manual_seed(0)
    model = SAB3R(TINY)
    save_file({k: v.clone() for k, v in own_tensors(model).items()}, tmp_path / "public.safetensors")
    hub.content = (tmp_path / "public.safetensors").read_bytes()
    hub.claimed = hashlib.sha256(hub.content).hexdigest()
    return model


def fetch(name, accept=True, revision=None):
    command.fetch(argparse.Namespace(name=name, accept_licence=accept, revision=revision))


def test_fetch_shows_what_it_gets_and_converts_it(hub, network, capsys):
    fetch("mast3r")
    shown = capsys.readouterr().out
    for part in ("CC BY-NC-SA 4.0", COMMIT, f"{len(hub.content):,} bytes", hub.claimed):
        assert part in shown
    path = cached_network("mast3r")
    assert torch.equal(load_checkpoint(path).enc_norm.weight, network.enc_norm.weight)
    assert read_metadata(path)["revision"] == COMMIT
    assert read_metadata(path)["source_sha256"] == hub.claimed
    asked = len(hub.requests)
    fetch("mast3r")  # offline after: nothing is asked again, nothing converted again
    assert len(hub.requests) == asked
    assert capsys.readouterr().out.startswith("mast3r is already here")


def test_a_revision_can_be_pinned(hub, network):
    fetch("mast3r", revision="v1/a")
    assert hub.requests[0] == ("HEAD", f"/{CATALOG['mast3r'].repo}/resolve/v1%2Fa/model.safetensors")


def forget_network(name="mast3r"):
    """As on another day, with the cache emptied but the lock still there."""
    cached_network(name).unlink()
    cached_path(name, CATALOG[name].files[0]).unlink()


def republish(hub, tmp_path):
    """The same name, another network, another commit."""
    torch.manual_seed(1)
    save_file({k: v.clone() for k, v in own_tensors(SAB3R(TINY)).items()}, tmp_path / "other.safetensors")
    hub.content = (tmp_path / "other.safetensors").read_bytes()
    hub.claimed, hub.commit = hashlib.sha256(hub.content).hexdigest(), "beef" * 10


def test_the_first_fetch_pins_commit_and_sha256(hub, network):
    fetch("mast3r")
    assert locked("mast3r/model.safetensors") == Locked(COMMIT, hub.claimed)
    forget_network()
    fetch("mast3r")
    heads = [path for verb, path, *_ in hub.requests if verb == "HEAD"]
    assert heads[0].split("/")[-2] == "main" and heads[1].split("/")[-2] == COMMIT  # no longer the branch


def test_a_silent_change_is_refused_and_a_revision_overrides(hub, network, tmp_path):
    fetch("mast3r")
    first = hub.claimed
    forget_network()
    republish(hub, tmp_path)
    asked = len([r for r in hub.requests if r[0] == "GET"])
    with pytest.raises(
        CheckpointError, match=f"has changed: its sha256 is {hub.claimed}.*{first}.*--revision"
    ):
        fetch("mast3r")
    assert len([r for r in hub.requests if r[0] == "GET"]) == asked  # refused before a byte came
    assert not cached_network("mast3r").exists() and locked("mast3r/model.safetensors").sha256 == first
    fetch("mast3r", revision="main")
    assert locked("mast3r/model.safetensors") == Locked("beef" * 10, hub.claimed)
    assert read_metadata(cached_network("mast3r"))["revision"] == "beef" * 10


def test_a_change_is_noticed_where_the_server_publishes_no_sha256(hub, network, tmp_path):
    hub.claimed = ""
    fetch("mast3r")
    forget_network()
    republish(hub, tmp_path)
    hub.claimed = ""
    with pytest.raises(CheckpointError, match="the published file has changed"):
        fetch("mast3r")
    assert not cached_path("mast3r", "model.safetensors").exists()


def test_a_revision_replaces_the_file_that_is_here(hub, network, tmp_path):
    fetch("mast3r")
    republish(hub, tmp_path)
    fetch("mast3r", revision="beef")
    assert read_metadata(cached_network("mast3r"))["source_sha256"] == hub.claimed


def test_a_file_put_there_by_hand_is_locked_too(hub, network):
    path = cached_path("mast3r", "model.safetensors")
    path.parent.mkdir(parents=True)
    path.write_bytes(hub.content)
    fetch("mast3r")
    assert hub.requests == [] and locked("mast3r/model.safetensors") == Locked("", hub.claimed)
    assert read_metadata(cached_network("mast3r"))["revision"] == "unknown"
    cached_network("mast3r").unlink()
    path.write_bytes(hub.content + b"x")
    with pytest.raises(CheckpointError, match=r"model\.safetensors has changed"):
        fetch("mast3r")


@pytest.mark.parametrize("content", ["not json", "[1]", '{"mast3r/model.safetensors": {"commit": "a"}}'])
def test_an_unusable_lock_is_named(hub, network, content):
    lock_file().parent.mkdir(parents=True, exist_ok=True)
    lock_file().write_text(content)
    with pytest.raises(CheckpointError, match=r"weights\.lock\.json"):
        fetch("mast3r")
    assert not cached_network("mast3r").exists()


def test_a_stopped_download_is_resumed(hub, network):
    part = cached_network("mast3r").parent / "mast3r" / f"model.safetensors.{hub.claimed[:8]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(hub.content[:1000])
    fetch("mast3r")
    assert ("GET", "/storage", 1000) in hub.requests
    assert cached_network("mast3r").is_file()


def test_a_wrong_sha256_is_refused(hub, network):
    hub.claimed = "0" * 64
    with pytest.raises(CheckpointError, match="sha256"):
        fetch("mast3r")
    assert not list(cached_network("mast3r").parent.rglob("*.safetensors*"))


def test_without_consent_nothing_is_downloaded(hub, network, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(CheckpointError, match="licence was not accepted"):
        fetch("mast3r", accept=False)
    assert all(request[0] == "HEAD" for request in hub.requests)


def test_offline_says_which_file_goes_where(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(CheckpointError) as error:
        fetch("sab3r")
    message = str(error.value)
    assert "demo_ckpt/base/base.pt of https://huggingface.co/uva-cv-lab/SAB3R" in message
    assert str(tmp_path / "sab3r" / "sab3r" / "base.pt") in message
    with pytest.raises(CheckpointError, match="sab3r weights fetch clip"):
        cached_files("clip")


def test_unknown_names_are_explained(tmp_path):
    with pytest.raises(CheckpointError, match="known: mini, sab3r, mast3r"):
        fetch("mastr")


def test_convert_and_inspect(hub, network, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["weights", "convert", str(tmp_path / "public.safetensors"), "--name", "mast3r"])
    args.run(args)
    args = parser.parse_args(["weights", "inspect", "mast3r"])
    args.run(args)
    shown = capsys.readouterr().out
    assert f"parameters: {network.parameter_count:,}" in shown
    assert hub.claimed in shown
