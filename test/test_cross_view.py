"""Two views of the embedded network compare each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sab3r_ros.errors import ConfigError
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.cross_view import CrossView, compared
from sab3r_ros.model.network_model import MonocularModel
from sab3r_ros.training.deepen import with_cross_view

SMALL = replace(SAB3RConfig.mini(), encoder_width=64, encoder_depth=1, encoder_heads=1)


def taught(cross_view: CrossView) -> CrossView:
    """As if it had learnt something: it begins as nothing."""
    torch.nn.init.normal_(cross_view.out.weight, std=0.1)
    return cross_view.eval()


def model(rounds: int) -> MonocularModel:
    torch.manual_seed(0)
    network = SAB3R(SMALL)
    if rounds:
        network = with_cross_view(network, rounds)
        taught(network.cross_view)
    return MonocularModel(network, "small", torch.device("cpu"))


def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(2)]


def test_four_cells_that_have_changed_places_are_found_where_they_went():
    first = torch.eye(4)
    second = first[[1, 0, 3, 2]]  # the columns of two rows have changed places
    chances, numbers = compared(torch.stack([first, second]), (2, 2))
    assert torch.allclose(chances[0].argmax(1), torch.tensor([1, 0, 3, 2]))
    off, spread, cycle, mutual, chance, like = numbers.split([2, 1, 1, 1, 1, 1], -1)
    to_the_right, to_the_left = [0.0, 0.5], [0.0, -0.5]  # rows, columns; of two
    expected = torch.tensor([to_the_right, to_the_left] * 2)
    assert torch.allclose(off, expected.expand(2, 4, 2), atol=1e-5)
    assert spread.max() < 1e-3 and cycle.max() < 1e-5
    assert torch.allclose(torch.cat([mutual, chance, like]), torch.ones(()), atol=1e-5)


def test_cells_that_are_all_alike_may_be_anywhere():
    chances, numbers = compared(torch.ones(2, 4, 1), (2, 2))
    assert torch.allclose(chances, torch.tensor(0.25))
    at = torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.5, 0.0], [0.5, 0.5]])
    assert torch.allclose(numbers[0, :, :2], 0.25 - at)
    spread, cycle, mutual, chance, like = numbers[0, :, 2:].T
    assert torch.allclose(spread, torch.tensor(0.125).sqrt())  # of 0 and ½ with equal chances, both ways
    assert torch.allclose(cycle, (0.25 - at).norm(dim=1))
    assert torch.allclose(mutual, torch.tensor(0.25)) and torch.allclose(chance, mutual) and (like == 1).all()


@pytest.mark.parametrize("rounds", [1, 2])
def test_views_that_change_places_change_their_answers_places(rounds):
    torch.manual_seed(0)
    stage = taught(CrossView(64, 24, rounds))
    tokens, descriptors = torch.randn(2, 24, 64), torch.randn(2, 24, 32, 48)
    with torch.no_grad():
        (*_, (there, seen)), (*_, (back, seen_back)) = (
            stage(tokens, descriptors),
            stage(tokens.flip(0), descriptors.flip(0)),
        )
    assert there.shape == (2, 24, 32, 48) and seen.shape == (2, 1, 32, 48)
    assert torch.allclose(there, back.flip(0), atol=1e-5) and torch.allclose(
        seen, seen_back.flip(0), atol=1e-5
    )
    assert not torch.allclose(there[0] - descriptors[0], there[1] - descriptors[1], atol=1e-3)


def test_what_a_view_says_depends_on_the_other():
    torch.manual_seed(0)
    stage = taught(CrossView(64, 24, 1))
    tokens, descriptors = torch.randn(3, 24, 64), torch.randn(3, 24, 32, 48)
    with torch.no_grad():
        ((one, _),), ((other, _),) = (stage(tokens[k], descriptors[k]) for k in ([0, 1], [0, 2]))
    assert (one[0] - other[0]).abs().max() > 1e-3


def test_a_stage_that_begins_changes_no_descriptor():
    torch.manual_seed(0)
    network = SAB3R(SMALL).eval()
    twin = with_cross_view(network, 2).eval()
    raw = twin.forward_raw(torch.randn(2, 3, 64, 96))
    desc, confidence = twin.pair_descriptors(raw["tokens"], raw["desc"], raw["desc_conf"])
    assert torch.allclose(desc, raw["desc"], atol=1e-6)
    assert torch.allclose(confidence, raw["desc_conf"] / 2)  # seen or not: it cannot tell yet
    same = network.pair_descriptors(raw["tokens"], raw["desc"], raw["desc_conf"])
    assert same[0] is raw["desc"] and same[1] is raw["desc_conf"]


def test_a_pair_has_its_own_descriptors_and_everything_else_of_its_views():
    network = model(2)
    a, b = (network.encode(image) for image in images())
    first, second = network.decode(a, b)
    for view, alone in ((first, a.view), (second, b.view)):
        assert view.points is alone.points and view.confidence is alone.confidence
        assert view.features is alone.features
        assert view.descriptors.shape == alone.descriptors.shape and view.descriptors.flags.c_contiguous
        assert np.allclose(np.linalg.norm(view.descriptors, axis=-1), 1, atol=1e-5)
        assert np.abs(view.descriptors - alone.descriptors).max() > 1e-3
        assert (view.descriptor_confidence > 0).all()
        assert (view.descriptor_confidence < alone.descriptor_confidence).all()
    back = network.decode(b, a)
    assert np.allclose(back[1].descriptors, first.descriptors, atol=1e-5)
    assert network.decode(a, a) == (a.view, a.view)


def test_a_network_without_the_stage_says_the_same_of_every_pair():
    network = model(0)
    a, b = (network.encode(image) for image in images())
    assert network.decode(a, b) == (a.view, b.view)


def test_the_stage_is_for_networks_without_a_decoder():
    with pytest.raises(ConfigError, match="cross_view_rounds"):
        replace(SAB3RConfig.mast3r(), cross_view_rounds=2)
