"""One network of several that were trained from the same weights on: the mean of their weights.

    python -m sab3r_ros.training.mean build/mean.safetensors build/a/average.safetensors:3 build/b/average.safetensors:3 mini:2

Runs from one start stay in one valley; their middle lies deeper in it than each of them, as if trained longer (Wortsman et al.,
Model Soups, ICML 2022; Gupta et al., Stochastic Weight Averaging in Parallel, ICLR 2020). So cores that share no gradients
can share a training.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence

import numpy as np

from sab3r_ros.errors import ConfigError
from sab3r_ros.model.feature_model import checkpoint_path
from sab3r_ros.model.sab3r import SAB3R
from sab3r_ros.model.weights import load_checkpoint, save_checkpoint


def mean(models: Sequence[SAB3R], weights: Sequence[float]) -> SAB3R:
    """A network with the weighted mean of the models' parameters. weights: > 0.

    Raises ConfigError if configurations differ or a weight is not positive.
    """
    if any(m.config != models[0].config for m in models):
        raise ConfigError(
            "networks of different shapes have no mean: give checkpoints with one configuration"
        )
    if min(weights) <= 0:
        raise ConfigError("each checkpoint needs a weight above 0, as FILE:2")
    shares, states = np.divide(weights, sum(weights)), [m.state_dict() for m in models]
    model = copy.deepcopy(models[0])
    model.load_state_dict(
        {
            key: sum(s[key].double() * share for s, share in zip(states, shares, strict=True))
            for key in states[0]
        }
    )
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("checkpoints", nargs="+", metavar="FILE[:WEIGHT]", help="'mini' or a path")
    args = parser.parse_args()
    files = [spec.partition(":") for spec in args.checkpoints]
    models = [load_checkpoint(checkpoint_path(name)) for name, _, _ in files]
    save_checkpoint(args.out, mean(models, [float(weight or 1) for _, _, weight in files]), {})


if __name__ == "__main__":
    main()
