"""The training loop on a wall whose geometry is known."""

import csv

import pytest
import torch
from test_training_data import write_wall

from sab3r_ros.config import DistillConfig
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.weights import load_checkpoint, save_checkpoint
from sab3r_ros.training.distill import CollapseError, Trainer, learning_rate_factor
from sab3r_ros.training.pairs import PairStream
from sab3r_ros.training.shards import Shard, Vocabulary

SIZE = (32, 64)
CONFIG = DistillConfig(
    batch_pairs=2,
    steps=4,
    warmup_steps=1,
    matches=16,
    language_pixels=32,
    vocabulary_sample=2,
    frozen_layers=8,
    validate_every=2,
)


@pytest.fixture
def make_trainer(tmp_path, monkeypatch):
    monkeypatch.setattr("test_training_data.H", SIZE[0])
    monkeypatch.setattr("test_training_data.W", SIZE[1])
    folder = write_wall(tmp_path / "shard", [0, 0.1, 0.2], [1, 1, 1])

    def make(config=CONFIG):
        torch.manual_seed(0)
        vocabulary = Vocabulary()
        stream = PairStream(
            [(Shard(folder, vocabulary, SIZE), 1.0)], config.batch_pairs, config.matches, (0.1, 1.0), seed=0
        )
        captions = torch.nn.functional.normalize(torch.randn(len(vocabulary.entries), 384), dim=-1)
        model = SAB3R(SAB3RConfig.mini())
        return Trainer(
            model,
            stream,
            lambda: captions,
            config,
            tmp_path / "run",
            lambda m: {"figure": 1.0},
            save_checkpoint,
        )

    return make


def test_a_run_writes_its_curve_and_a_checkpoint_that_loads(make_trainer, tmp_path):
    trainer = make_trainer()
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.run()
    after = trainer.model.state_dict()
    assert trainer.step == 4
    moved = {k for k in after if not torch.equal(before[k], after[k])}
    assert any(k.startswith("stem.") for k in before) and not any(k.startswith("stem.") for k in moved)
    assert moved
    rows = list(csv.DictReader((tmp_path / "run" / "validation.csv").open()))
    assert [r["step"] for r in rows] == ["2", "4"]
    assert load_checkpoint(tmp_path / "run" / "average.safetensors").config == SAB3RConfig.mini()


def test_a_stopped_run_goes_on_with_its_weights_and_step(make_trainer):
    first = make_trainer()
    first.run(until_s=0)
    first.run()
    second = make_trainer()
    assert second.step == first.step == 4
    for name, value in first.average.state_dict().items():
        assert torch.equal(value, second.average.state_dict()[name])
    second.run()
    assert second.step == 4


def test_a_loss_that_is_not_finite_stops_the_run(make_trainer):
    trainer = make_trainer()
    with torch.no_grad():
        trainer.model.language_linear.weight.fill_(float("nan"))
    with pytest.raises(CollapseError, match="not finite"):
        trainer.run()


def test_learning_rate_by_hand():
    config = DistillConfig(steps=100, warmup_steps=10, decay_share=0.5)
    assert learning_rate_factor(0, config) == pytest.approx(0.1)
    assert learning_rate_factor(30, config) == 1.0
    assert learning_rate_factor(75, config) == pytest.approx(0.01 + 0.99 * 0.5)
    assert learning_rate_factor(100, config) == pytest.approx(0.01)
