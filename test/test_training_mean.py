"""The mean of networks lies between them, and takes only networks of one shape."""

from dataclasses import replace

import pytest

from sab3r_ros.errors import ConfigError
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.training.mean import mean

SMALL = replace(SAB3RConfig.mini(), encoder_width=64, encoder_depth=1, encoder_heads=1)


def filled(value, config=SMALL):
    model = SAB3R(config)
    for p in model.parameters():
        p.data.fill_(value)
    return model


def test_a_network_of_three_times_the_weight_is_three_times_as_near():
    a, b = filled(1.0), filled(5.0)
    assert all((p == 4.0).all() for p in mean([a, b], [1, 3]).parameters())
    assert all((p == 1.0).all() for p in a.parameters())


def test_other_shapes_and_weights_of_nothing_are_refused():
    with pytest.raises(ConfigError, match="different shapes"):
        mean([filled(1.0), filled(1.0, replace(SMALL, encoder_depth=2))], [1, 1])
    with pytest.raises(ConfigError, match="above 0"):
        mean([filled(1.0)], [0])
