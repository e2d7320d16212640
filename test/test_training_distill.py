"""The training loop on a wall whose geometry is known."""

import csv
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from test_training_data import write_wall

from sab3r_ros.cli import main
from sab3r_ros.config import DistillConfig
from sab3r_ros.errors import ConfigError
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.weights import load_checkpoint, save_checkpoint
from sab3r_ros.training.curves import Curves
from sab3r_ros.training.distill import Trainer, learning_rate_factor
from sab3r_ros.training.health import CollapseError, Watch, unit_spread
from sab3r_ros.training.pairs import PairStream
from sab3r_ros.training.shards import Shard, Vocabulary
from sab3r_ros.training.validation import validation_table

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

    def make(config=CONFIG, run="run", rounds=0):
        torch.manual_seed(0)
        vocabulary = Vocabulary()
        stream = PairStream(
            [(Shard(folder, vocabulary, SIZE), 1.0)], config.batch_pairs, config.matches, (0.1, 1.0), seed=0
        )
        captions = torch.nn.functional.normalize(torch.randn(len(vocabulary.entries), 384), dim=-1)
        model = SAB3R(replace(SAB3RConfig.mini(), cross_view_rounds=rounds))
        return Trainer(
            model,
            stream,
            lambda: captions,
            config,
            tmp_path / run,
            lambda m: {"wall/abs_rel": 0.25},
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


def test_the_stage_of_pairs_learns_alone(make_trainer, tmp_path):
    pairs = replace(
        CONFIG, part="pairs", steps=100, learning_rate=3e-3, ema=0.5
    )  # two more rows of the curve
    trainer = make_trainer(pairs, rounds=1)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.run()
    moved = {k.partition(".")[0] for k, v in trainer.model.state_dict().items() if not v.equal(before[k])}
    assert moved == {"cross_view"}
    early, late = csv.DictReader((tmp_path / "run" / "losses.csv").open())
    assert float(late["match"]) < float(early["match"]) and float(late["seen"]) < float(early["seen"])
    assert float(late["gradient_pairs"]) > 0
    assert load_checkpoint(tmp_path / "run" / "average.safetensors").config.cross_view_rounds == 1


def test_what_is_not_there_cannot_learn(make_trainer):
    with pytest.raises(ConfigError, match="give it rounds"):
        make_trainer(replace(CONFIG, part="pairs"))
    with pytest.raises(ConfigError, match="'views' or 'pairs'"):
        make_trainer(replace(CONFIG, part="words"))


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


def weights(folder) -> dict[str, torch.Tensor]:
    return torch.load(folder / "state.pt", weights_only=True)["model"]


def assert_same_weights(a, b, tolerance):
    for name, value in a.items():
        assert torch.allclose(value, b[name], atol=tolerance), name


def test_a_run_that_was_interrupted_ends_where_one_in_one_piece_ends(make_trainer, tmp_path):
    whole = make_trainer(run="whole")
    whole.run()
    part = make_trainer(replace(CONFIG, save_every_s=1.0), run="parts")
    ticks = iter([False, False, True])
    part._time_is_up = lambda began, until_s: next(ticks)
    part.run()
    assert part.step == 2
    rest = make_trainer(run="parts")
    assert rest.stream.position == 2
    rest.run()
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "parts"), 1e-6)
    whole_row, parts_row = (
        list(csv.DictReader((tmp_path / run / "losses.csv").open()))[-1] for run in ("whole", "parts")
    )
    assert {k: float(v) for k, v in whole_row.items() if k != "seconds"} == pytest.approx(
        {k: float(v) for k, v in parts_row.items() if k != "seconds"}, rel=1e-4
    )


def test_a_state_of_an_older_version_goes_on_with_a_stream_begun_anew(make_trainer, tmp_path, caplog):
    make_trainer().run()
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    del state["position"]
    torch.save(state, tmp_path / "run" / "state.pt")
    again = make_trainer()
    assert again.step == 4 and again.stream.position == 0
    assert "begins anew" in caplog.text


def test_a_head_whose_outputs_are_all_alike_stops_the_run_and_is_named(make_trainer, tmp_path):
    trainer = make_trainer(replace(CONFIG, warmup_steps=2, learning_rate=0.0))
    with torch.no_grad():
        trainer.model.language_linear.weight.zero_()
    with pytest.raises(CollapseError, match="step 2: the language head has collapsed"):
        trainer.run()
    assert not (tmp_path / "run" / "state.pt").exists()  # what came before is not overwritten by it


def test_spread_by_hand():
    assert unit_spread(torch.tensor([[2.0, 0], [3, 0]])) == 0
    assert unit_spread(torch.tensor([[2.0, 0], [-3, 0]])) == 1
    Watch(0.02, warmup=0).check(5, {"points": 1.0, "spread_depth": 0.03})
    Watch(0.0, warmup=0).check(5, {"spread_depth": 0.0})
    late = Watch(0.02, warmup=10)
    late.check(9, {"spread_depth": 0.0})
    with pytest.raises(CollapseError, match="depth head"):
        late.check(10, {"spread_depth": 0.1})  # smoothed: 0.01


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_same_batches(make_trainer, tmp_path):
    make_trainer()  # writes the shard
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "start.safetensors", SAB3R(SAB3RConfig.mini()), {})
    fields = {
        name: getattr(CONFIG, name)
        for name in ("batch_pairs", "matches", "language_pixels", "vocabulary_sample")
    }
    common = ["distill", "--train", str(tmp_path / "shard"), "--init", str(tmp_path / "start.safetensors")]
    common += [
        "--size",
        *map(str, SIZE),
        "--set",
        "steps=2",
        "--set",
        "warmup_steps=1",
        "--set",
        "frozen_layers=8",
    ]
    common += [x for name, value in fields.items() for x in ("--set", f"{name}={value}")]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sab3r_ros.cli"]
    done = subprocess.run(
        [sys.executable, *torchrun, *common, "--out", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert main([*common, "--set", "accumulate=2", "--out", str(tmp_path / "one")]) == 0
    assert_same_weights(weights(tmp_path / "one"), weights(tmp_path / "two"), 1e-5)
    one, two = (next(csv.DictReader((tmp_path / run / "losses.csv").open())) for run in ("one", "two"))
    for key in ("points", "gradient", "focal", "match", "language", "gradient_norm"):
        assert float(one[key]) == pytest.approx(float(two[key]), rel=1e-3), key


def test_what_a_killed_run_recorded_beyond_its_checkpoint_is_not_in_the_curve(tmp_path):
    curves = Curves(tmp_path, 0)
    for step in (50, 100, 150):
        curves.record("losses", step, 1.0, {"points": 0.5})
    with (tmp_path / "losses.csv").open("a") as f:
        f.write("200,1,0.")  # torn
    again = Curves(tmp_path, 100)
    again.record("losses", 150, 2.0, {"points": 0.25})
    again.record("losses", 200, 3.0, {"points": 0.25, "match": 1.0})  # another column: a file of its own
    assert (tmp_path / "losses-before-200.csv").read_text().splitlines() == [
        "step,seconds,points",
        "50,1,0.5",
        "100,1,0.5",
        "150,2,0.25",
    ]
    assert (tmp_path / "losses.csv").read_text() == "step,seconds,points,match\n200,3,0.25,1\n"


def test_curves_reach_tensorboard(make_trainer, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    make_trainer().run()
    events = accumulator.EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [e.step for e in events.Scalars("validation/wall/abs_rel")] == [2, 4]
    assert {"losses/points", "losses/gradient_descriptors", "losses/spread_language"} <= set(
        events.Tags()["scalars"]
    )


def test_a_validation_is_shown_as_a_table():
    table = validation_table({"rooms/abs_rel": 0.2, "rooms/miou": 0.3, "kitchen/abs_rel": 0.08})
    assert "| depth AbsRel, median-scaled | 20.0 % | 8.0 % |" in table
    assert "| text segmentation mIoU over NYU40 classes | 30.0 % | – |" in table


def test_learning_rate_by_hand():
    config = DistillConfig(steps=100, warmup_steps=10, decay_share=0.5)
    assert learning_rate_factor(0, config) == pytest.approx(0.1)
    assert learning_rate_factor(30, config) == 1.0
    assert learning_rate_factor(75, config) == pytest.approx(0.01 + 0.99 * 0.5)
    assert learning_rate_factor(100, config) == pytest.approx(0.01)
