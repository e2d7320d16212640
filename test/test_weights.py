"""Checkpoints: strict, safe, converted once, found or explained."""

import argparse
import os
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_heads import small_heads  # noqa: F401

from sab3r_ros.errors import CheckpointError
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.feature_model import EMBEDDED, checkpoint_path, load_model
from sab3r_ros.model.public_checkpoints import convert, read_state
from sab3r_ros.model.weights import load_checkpoint, own_tensors, read_metadata, save_checkpoint

TINY = SAB3RConfig(
    encoder_width=64,
    encoder_depth=1,
    encoder_heads=1,
    decoder_width=64,
    decoder_depth=4,
    decoder_heads=1,
    features=(("clip", 16),),
    desc_conf_mode="1+exp",
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SAB3R(TINY).eval()


@pytest.fixture
def public(model, tmp_path):
    """Writes a checkpoint as the authors do, its state changed by a function."""

    def write(change=lambda state: None, container="model"):
        state = dict(model.state_dict())
        change(state)
        path = tmp_path / "public.pth"
        args = argparse.Namespace(model="__import__('os').system('touch evaluated')")
        torch.save({container: state, "args": args}, path)
        return path

    return write


def same(a, b):
    x, y = a.state_dict(), b.state_dict()
    return list(x) == list(y) and all(torch.equal(x[k], y[k]) for k in x)


def test_a_saved_model_comes_back_in_float16_precision(tmp_path):
    model = SAB3R(SAB3RConfig.mini())
    save_checkpoint(tmp_path / "m.safetensors", model, {"note": "hello"})
    again = load_checkpoint(tmp_path / "m.safetensors")
    assert again.config == model.config
    assert all(
        torch.equal(a.half().float(), b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
    assert read_metadata(tmp_path / "m.safetensors")["note"] == "hello"
    assert list(tmp_path.iterdir()) == [tmp_path / "m.safetensors"]  # nothing half-written stays


@pytest.mark.parametrize("container", ["model", "module"])
def test_public_files_convert_without_loss(public, model, tmp_path, container):
    out = tmp_path / "out.safetensors"
    assert convert(public(container=container), out) == TINY
    assert same(load_checkpoint(out), model)
    assert len(read_metadata(out)["source_sha256"]) == 64
    assert not (tmp_path / "evaluated").exists() and not os.path.exists("evaluated")


def test_bfloat16_is_converted_while_reading(public, model, tmp_path):
    convert(public(), tmp_path / "out.safetensors")
    half = load_checkpoint(tmp_path / "out.safetensors", torch.bfloat16)
    assert half.enc_blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
    assert half.enc_norm.weight.dtype == half.downstream_head1.dpt.head[4].weight.dtype == torch.float32
    assert torch.equal(half.dec_norm.weight, model.dec_norm.weight)


def test_aliases_stand_in_for_each_other(public, model, tmp_path):
    def only_aliases(state):
        for k in range(1, 5):
            del state[f"downstream_head1.dpt.scratch.layer{k}_rn.weight"]

    def no_aliases(state):
        for k in range(4):
            del state[f"downstream_head2.clip_head.scratch.layer_rn.{k}.weight"]

    for change in (only_aliases, no_aliases):
        convert(public(change), tmp_path / "out.safetensors")
        assert same(load_checkpoint(tmp_path / "out.safetensors"), model)


def test_an_alias_that_disagrees_is_an_error(public, tmp_path):
    key = "downstream_head1.dpt.scratch.layer_rn.2.weight"

    def change(state):
        state[key] = state[key] + 1

    with pytest.raises(CheckpointError, match=r"layer_rn\.2\.weight differs from .*layer3_rn"):
        convert(public(change), tmp_path / "out.safetensors")


def test_an_absent_second_decoder_is_a_copy_of_the_first(public, tmp_path):
    def change(state):
        for key in [k for k in state if k.startswith("dec_blocks2.")]:
            del state[key]

    convert(public(change), tmp_path / "out.safetensors")
    again = load_checkpoint(tmp_path / "out.safetensors")
    assert torch.equal(again.dec_blocks2[3].mlp.fc1.weight, again.dec_blocks[3].mlp.fc1.weight)


def drop(state):
    del state["enc_norm.bias"]


def add(state):
    state["downstream_head3.weight"] = torch.zeros(1)


def reshape(state):
    state["dec_norm.weight"] = torch.zeros(65)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop, r"missing enc_norm\.bias"),
        (add, r"unexpected downstream_head3\.weight"),
        (reshape, r"dec_norm\.weight is \(65,\), not \(64,\)"),
        (lambda s: s.pop("patch_embed.proj.weight"), r"missing patch_embed\.proj\.weight"),
        (lambda s: s.pop("dec_blocks2.1.norm1.bias"), r"missing dec_blocks2\.1\.norm1\.bias"),
    ],
)
def test_keys_that_do_not_fit_are_named(public, tmp_path, change, named):
    with pytest.raises(CheckpointError, match=named):
        convert(public(change), tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_crafted_pickle_is_refused_and_not_run(tmp_path, legacy):
    target, path = tmp_path / "ran", tmp_path / "evil.pth"
    content = {"model": {"a": torch.zeros(1)}, "args": Evil(target)}
    if legacy:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match="refused"):
        read_state(path)
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken zip", b"\x80\x02}q\x00."])
def test_corrupt_files_are_explained(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError):
        read_state(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="not a readable safetensors"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_a_truncated_checkpoint_is_explained(tmp_path):
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, SAB3R(SAB3RConfig.mini()), {})
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a readable safetensors"):
        load_checkpoint(path)


def test_a_foreign_safetensors_is_pointed_to_convert(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({k: v.clone() for k, v in own_tensors(model).items()}, path)
    with pytest.raises(CheckpointError, match="weights convert"):
        load_checkpoint(path)
    assert convert(path, tmp_path / "out.safetensors") == TINY


def test_a_changed_checkpoint_is_named(model, tmp_path):
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, model, {})
    state = load_file(path)
    state.pop("enc_norm.weight")
    save_file(state, path, metadata=read_metadata(path))
    with pytest.raises(CheckpointError, match=r"missing enc_norm\.weight"):
        load_checkpoint(path)


def test_infinite_weights_are_not_saved(tmp_path):
    model = SAB3R(TINY)
    with torch.no_grad():
        model.enc_norm.weight[0] = 1e6  # beyond float16
    with pytest.raises(CheckpointError, match=r"enc_norm\.weight"):
        save_checkpoint(tmp_path / "m.safetensors", model, {})


def test_named_networks_live_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert checkpoint_path("mini") == EMBEDDED
    with pytest.raises(CheckpointError, match="sab3r weights fetch mast3r"):
        load_model("mast3r")
    with pytest.raises(CheckpointError, match="no checkpoint at nowhere"):
        load_model("nowhere.safetensors")


def test_loading_the_model_imports_no_optional_package():
    code = "import sys, sab3r_ros.model.feature_model; print([m for m in ('timm', 'open_clip', 'rclpy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
