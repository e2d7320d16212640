"""The network equals the reference: golden outputs, public key names, parameter counts."""

import ast
from pathlib import Path

import pytest
import torch
from rule import fill, transposed
from safetensors.torch import load_file

from sab3r_ros.errors import ConfigError
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.transformer import grid_positions, rotary_table, rotate
from sab3r_ros.model.weights import meta_model

GOLDEN = Path(__file__).parent / "data" / "golden"
NARROW = SAB3RConfig(
    encoder_width=128,
    encoder_depth=3,
    encoder_heads=2,
    decoder_width=192,
    decoder_depth=12,
    decoder_heads=3,
    features=(("clip", 512), ("dino", 384)),
)


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN / "tiny_landscape.safetensors")


@pytest.fixture(scope="module")
def narrow():
    return fill(meta_model(NARROW).to_empty(device="cpu"))


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


def check_against_golden(results, golden):
    for view, maps in enumerate(results, start=1):
        for key, value in maps.items():
            value = value[:, ::2, ::2]
            value = value[..., :32] if key in ("clip", "dino") else value
            assert relative(value, golden[f"res{view}.{key}"]) < 1e-4, (view, key)


@torch.inference_mode()
def test_outputs_equal_the_reference_in_landscape(narrow, golden):
    assert relative(narrow.encode(golden["img1"]), golden["enc1"]) < 1e-4
    hooks1, hooks2 = narrow.decode(*(narrow.encode(golden[k]) for k in ("img1", "img2")), (4, 6), (4, 6))
    assert relative(hooks1[1], golden["dec1_hook6"]) < 1e-4
    assert relative(hooks1[-1], golden["dec1_last"]) < 1e-4
    assert relative(hooks2[-1], golden["dec2_last"]) < 1e-4
    results = narrow(golden["img1"], golden["img2"])
    assert set(results[0]) == {"pts3d", "conf", "desc", "desc_conf", "clip", "dino"}
    check_against_golden(results, golden)


@torch.inference_mode()
def test_outputs_equal_the_reference_in_portrait(narrow, golden):
    """The golden scene on its side, through a network whose weights lie on their side too."""
    model = meta_model(NARROW).eval()
    model.load_state_dict(transposed(narrow.state_dict()), assign=True)
    results = model(golden["img1"].transpose(2, 3), golden["img2"].transpose(2, 3))
    assert results[0]["pts3d"].shape == (1, 96, 64, 3)
    check_against_golden([{k: v.transpose(1, 2) for k, v in maps.items()} for maps in results], golden)


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (SAB3RConfig.mast3r(), 688_638_856),
        (SAB3RConfig.sab3r_c(), 729_173_256),
        (SAB3RConfig.sab3r_cd(), 769_674_632),
        (SAB3RConfig.mini(), 10_061_612),
    ],
)
def test_parameter_counts(config, count):
    with torch.device("meta"):
        assert SAB3R(config).parameter_count == count


def test_state_dict_has_the_public_keys_and_shapes():
    listed = {}
    for name in ("mast3r_keys.tsv", "sab3r_head_keys.tsv"):
        for line in (GOLDEN / name).read_text().splitlines():
            key, shape = line.split("\t")
            listed[key] = ast.literal_eval(shape)
    with torch.device("meta"):
        state = SAB3R(SAB3RConfig.sab3r_cd()).state_dict()
        plain = SAB3R(SAB3RConfig.mast3r()).state_dict()
    assert {k: tuple(v.shape) for k, v in state.items()} == listed
    assert len(plain) == 1017


@torch.inference_mode()
def test_views_may_differ_in_shape_and_rows_may_be_odd(narrow):
    first, second = narrow(torch.zeros(1, 3, 48, 32), torch.zeros(1, 3, 32, 80))
    assert first["pts3d"].shape == (1, 48, 32, 3)
    assert second["clip"].shape == (1, 32, 80, 512)


@torch.inference_mode()
def test_mini_has_the_same_interface():
    model = SAB3R(SAB3RConfig.mini()).eval()
    first, _ = model(torch.zeros(2, 3, 64, 96), torch.zeros(2, 3, 64, 96))
    shapes = {k: tuple(v.shape) for k, v in first.items()}
    assert shapes == {
        "pts3d": (2, 64, 96, 3),
        "conf": (2, 64, 96),
        "desc": (2, 64, 96, 24),
        "desc_conf": (2, 64, 96),
        "language": (2, 64, 96, 384),
        "focal": (2,),
    }
    assert torch.allclose(first["desc"].norm(dim=-1), torch.ones(2, 64, 96), atol=1e-5)
    # A pinhole's point projects back to its own pixel, the principal point being the centre.
    X, f = first["pts3d"][0, 10, 70], first["focal"][0]
    assert torch.allclose(X[:2] / X[2] * f, torch.tensor([70 - 47.5, 10 - 31.5]), atol=1e-3)


def test_mini_learns_from_every_output():
    model = SAB3R(SAB3RConfig.mini())
    raw = model.forward_raw(torch.rand(1, 3, 64, 64) * 2 - 1)
    sum(v.square().mean() for v in raw.values()).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None and "language_linear" not in n]
    assert silent == []


@pytest.mark.parametrize("shape", [(1, 3, 60, 64), (3, 64, 64), (1, 4, 64, 64), (1, 3, 0, 64)])
def test_unfit_images_are_refused(narrow, shape):
    with pytest.raises(ConfigError, match="multiples of 16"):
        narrow.encode(torch.zeros(shape))


@pytest.mark.parametrize(
    "fields",
    [
        {"encoder_heads": 7},
        {"decoder_depth": 6},
        {"decoder_depth": 0},
        {"stem": "lite0"},
        {"encoder_heads": 0},
    ],
)
def test_sizes_that_do_not_fit_are_refused(fields):
    with pytest.raises(ConfigError):
        SAB3RConfig(**fields)


def test_rotation_is_a_rotation_by_hand():
    """Head of 4 channels, frequency 1: (a, b) turns by the row, (c, d) by the column."""
    table = rotary_table(torch.tensor([[1, 2]]), 4, base=100.0)
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).view(1, 1, 1, 4)
    row, column = torch.tensor(1.0), torch.tensor(2.0)
    expected = torch.stack([row.cos(), row.sin(), -column.sin(), column.cos()])
    assert torch.allclose(rotate(x, table).flatten(), expected)


def test_positions_are_row_major():
    assert grid_positions(2, 3).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
