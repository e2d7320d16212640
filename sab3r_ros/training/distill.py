"""The training loop: steps, averaged weights, validation, resumable checkpoints, one process or several."""

from __future__ import annotations

import copy
import logging
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from sab3r_ros.config import DistillConfig
from sab3r_ros.errors import ConfigError
from sab3r_ros.model.precision import best_precision
from sab3r_ros.training.curves import Curves
from sab3r_ros.training.health import Watch, gradient_norms, spread
from sab3r_ros.training.objective import Losses, losses
from sab3r_ros.training.pair_objective import pair_losses
from sab3r_ros.training.pairs import Batch, PairStream
from sab3r_ros.training.validation import validation_table

log = logging.getLogger(__name__)


VIEWS, PAIRS = "views", "pairs"  # what may learn
RECORD_EVERY = 50  # steps between two rows of losses.csv


def learning_rate_factor(step: int, config: DistillConfig) -> float:
    """Linear warm-up, constant, then a cosine down to a hundredth over the last `decay_share` of the steps."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    start = config.steps * (1 - config.decay_share)
    if step < start:
        return 1.0
    done = min((step - start) / max(config.steps - start, 1), 1.0)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def parameter_groups(model: nn.Module, config: DistillConfig) -> list[dict]:
    """AdamW groups: the pretrained stem learns slower, its first layers not at all; biases and other vectors do not decay.

    The frozen layers, at high resolution, would cost most of a step's backward pass; what they see, edges and
    textures, photographs have taught them well. Of a network that has learnt what single views say, the stage that compares
    two views learns alone. Raises ConfigError if there is no such part.
    """
    if config.part not in (VIEWS, PAIRS):
        raise ConfigError(f"part = '{config.part}': '{VIEWS}' or '{PAIRS}' can learn")
    if config.part == PAIRS and not model.config.cross_view_rounds:
        raise ConfigError(f"the network has nothing that learns from '{PAIRS}': give it rounds (--rounds 2)")
    if config.part == VIEWS and model.config.cross_view_rounds:
        log.warning(
            "what compares two views was taught by other weights: train it again, with part: %s", PAIRS
        )
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith("cross_view.") == (config.part == PAIRS))
    for layer in (model.stem.first, *model.stem.stages)[: config.frozen_layers]:
        layer.requires_grad_(False)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            groups.setdefault((name.startswith("stem."), p.ndim < 2), []).append(p)
    return [
        {
            "params": params,
            "base_rate": config.learning_rate * (config.stem_rate if stem else 1.0),
            "weight_decay": 0.0 if vector else config.weight_decay,
        }
        for (stem, vector), params in groups.items()
    ]


def average_over_processes(model: nn.Module, values: dict[str, float]) -> dict[str, float]:
    """Mean of the gradients, in place, and of the values of all processes, in one message."""
    learning = [p for p in model.parameters() if p.requires_grad]
    for p in learning:
        if p.grad is None:  # a batch without labels: every process sends the same tensors all the same
            p.grad = torch.zeros_like(p)
    grads = [p.grad for p in learning]
    flat = torch.cat([*(g.flatten() for g in grads), torch.tensor(list(values.values()))])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    *parts, means = flat.split([*(g.numel() for g in grads), len(values)])
    for g, part in zip(grads, parts, strict=True):
        g.copy_(part.view_as(g))
    return dict(zip(values, means.tolist(), strict=True))


class Trainer:
    """Trains a model on a stream of batches; everything needed to resume is in `state.pt` of the run's folder."""

    def __init__(
        self,
        model: nn.Module,
        stream: PairStream,
        captions: Callable[[], Tensor],
        config: DistillConfig,
        folder: Path,
        validation: Callable[[nn.Module], dict[str, float]],
        keep: Callable[[Path, nn.Module, dict[str, str]], None],
    ) -> None:
        """captions: (V, L) unit vectors of the stream's vocabulary, called each step (it may grow).

        validation: figures of a model. keep: writes a model as a checkpoint with metadata.
        """
        self.model, self.stream, self.captions, self.config, self.folder = (
            model.train(),
            stream,
            captions,
            config,
            folder,
        )
        self.validation, self.keep = validation, keep
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.optimiser = torch.optim.AdamW(parameter_groups(model, config), betas=(0.9, 0.98), foreach=True)
        self.step, self.seconds = 0, 0.0
        self.mixed = best_precision(torch.device("cpu")) == torch.bfloat16
        self.lead = not dist.is_initialized() or dist.get_rank() == 0
        self.watch = Watch(config.least_spread, config.warmup_steps)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.pt").is_file():
            self._resume()
        self.curves = Curves(folder, self.step) if self.lead else None

    def run(self, until_s: float = math.inf) -> None:
        """Train to `config.steps` or for `until_s` seconds. Raises CollapseError when a loss is not finite or a head says
        the same everywhere; state.pt is then the last one before.
        """
        began = saved = time.monotonic()
        bar = tqdm(
            total=self.config.steps, initial=self.step, desc="distill", unit="step", disable=not self.lead
        )
        batches = iter(self.stream)
        try:
            while self.step < self.config.steps and not self._time_is_up(began, until_s):
                values = self._learn(batches)
                self.step += 1
                bar.update()
                if self.lead and (self.step % RECORD_EVERY == 0 or self.step == self.config.steps):
                    self.curves.record("losses", self.step, self._elapsed(began), values)
                    bar.set_postfix({k: f"{v:.3f}" for k, v in values.items() if "_" not in k})
                if self.lead and self.step % self.config.validate_every == 0:
                    figures = self.validation(self.average)
                    self.curves.record("validation", self.step, self._elapsed(began), figures)
                    tqdm.write(f"step {self.step}\n{validation_table(figures)}", file=sys.stderr)
                if self.lead and time.monotonic() - saved > self.config.save_every_s:
                    self._save(self._elapsed(began))
                    saved = time.monotonic()
        finally:
            batches.close()
            bar.close()
        if self.lead:
            self._save(self._elapsed(began))

    def _time_is_up(self, began: float, until_s: float) -> bool:
        """The first process decides for all: one that stopped alone would leave the others waiting for its gradients."""
        up = torch.tensor([time.monotonic() - began > until_s])
        if dist.is_initialized():
            dist.broadcast(up, 0)
        return bool(up)

    def _elapsed(self, began: float) -> float:
        return self.seconds + time.monotonic() - began

    def _learn(self, batches: Iterator[Batch]) -> dict[str, float]:
        """One step. Returns the losses, the heads' spreads and gradient norms, means over its batches and processes."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_rate"] * learning_rate_factor(self.step, self.config)
        self.optimiser.zero_grad(set_to_none=True)
        values: Counter[str] = Counter()
        for _ in range(self.config.accumulate):
            # What the losses draw at random belongs to the batch's number, as the batch does.
            torch.manual_seed(self.config.seed * 1_000_003 + self.stream.position + self.stream.rank)
            batch = next(batches)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
                parts, told = self._losses(batch)
            (sum(parts.values()) / self.config.accumulate).backward()
            for key, value in {**parts, **told}.items():
                values[key] += float(value.detach()) / self.config.accumulate
        if dist.is_initialized():
            values = average_over_processes(self.model, values)
        norms = gradient_norms(self.model)
        norms["gradient_norm"] = float(
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        )
        self.watch.check(self.step, {**values, **norms})
        self.optimiser.step()
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for a, p in zip(self.average.parameters(), self.model.parameters(), strict=True):
                a.lerp_(p, 1 - decay)
        return {**values, **norms}

    def _losses(self, batch: Batch) -> tuple[Losses, dict[str, Tensor]]:
        """Weighted losses of what learns, and what shows whether it is alive."""
        if self.config.part == PAIRS:
            with torch.no_grad():
                raw = self.model.forward_raw(batch.images)
            return pair_losses(self.model, raw, batch, self.config)
        raw = self.model.forward_raw(batch.images)
        return losses(self.model, raw, batch, self.captions(), self.config), spread(self.model, raw, batch)

    def _save(self, seconds: float) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": seconds,
            "position": self.stream.position,
        }
        temporary = self.folder / "state.pt.part"
        torch.save(state, temporary)
        os.replace(temporary, self.folder / "state.pt")
        notes = {
            "steps": str(self.step),
            "training_seconds": f"{seconds:.0f}",
            "config": str(asdict(self.config)),
        }
        self.keep(self.folder / "average.safetensors", self.average, notes)

    def _resume(self) -> None:
        state = torch.load(self.folder / "state.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.stream.position = state.get("position", 0)
        if "position" not in state:
            log.warning("state.pt does not say how far the stream of pairs was: it begins anew")
        log.info("resumed at step %d", self.step)
