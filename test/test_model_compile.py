"""torch.compile changes speed, not answers."""

import copy
import shutil

import numpy as np
import pytest
import torch
from small_heads import small_heads  # noqa: F401

from sab3r_ros.config import NodeConfig
from sab3r_ros.errors import ConfigError
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.compilation import check_compiler, compile_blocks
from sab3r_ros.model.feature_model import load_model
from sab3r_ros.model.network_model import TwoViewModel
from sab3r_ros.model.weights import save_checkpoint

TINY = SAB3RConfig(
    encoder_width=64,
    encoder_depth=2,
    encoder_heads=1,
    decoder_width=64,
    decoder_depth=4,
    decoder_heads=1,
    features=(("clip", 16),),
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SAB3R(TINY).eval()


@pytest.mark.skipif(
    not shutil.which("g++") and not shutil.which("clang++"), reason="torch.compile needs a C++ compiler"
)
def test_compiled_blocks_say_the_same(network):
    plain, compiled = (TwoViewModel(copy.deepcopy(network), "tiny", CPU, torch.float32, 64) for _ in range(2))
    keys = list(compiled.network.state_dict())
    compile_blocks(compiled.network)
    assert list(compiled.network.state_dict()) == keys
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(2)]
    views = []
    for model in (plain, compiled):
        views.append(model.decode(*(model.encode(model.prepare(image)[0]) for image in images)))
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert 0 < graphs < 5  # it did compile, and ten blocks share what was compiled
    for a, b in zip(*views, strict=True):
        for name in ("points", "confidence", "descriptors", "descriptor_confidence"):
            x, y = getattr(a, name), getattr(b, name)
            assert np.abs(x - y).max() < 1e-4 * np.abs(x).max(), name
    assert np.allclose(views[0][0].features, views[1][0].features, atol=2e-3)


def test_without_a_compiler_the_option_is_refused(network, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"install g\+\+"):
        compile_blocks(copy.deepcopy(network))
    monkeypatch.setattr("sab3r_ros.model.compilation.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pip install triton"):
        check_compiler("cuda")


def test_nothing_is_compiled_unless_asked_for(network, tmp_path):
    save_checkpoint(tmp_path / "tiny.safetensors", network, {})
    model = load_model(tmp_path / "tiny.safetensors", "cpu")
    assert all(block._compiled_call_impl is None for block in model.network.modules())
    assert NodeConfig().compile is False
    asked = load_model(tmp_path / "tiny.safetensors", "cpu", compile_blocks=True)
    compiled = [n for n, m in asked.network.named_modules() if m._compiled_call_impl is not None]
    assert len(compiled) == 2 + 4 + 4 and all("blocks" in name for name in compiled)
