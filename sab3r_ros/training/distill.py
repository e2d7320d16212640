"""The training loop: steps, averaged weights, validation, resumable checkpoints, one process or several."""

from __future__ import annotations

import copy
import csv
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from sab3r_ros.config import DistillConfig
from sab3r_ros.errors import Sab3rError
from sab3r_ros.model.precision import best_precision
from sab3r_ros.training.objective import losses
from sab3r_ros.training.pairs import PairStream

log = logging.getLogger(__name__)


class CollapseError(Sab3rError, RuntimeError):
    """The loss is not finite; the run stops so that no compute is wasted."""


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
    textures, photographs have taught them well.
    """
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


def average_gradients(model: nn.Module) -> None:
    """Mean of the gradients of all processes, in one message."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for g, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        g.copy_(part.view_as(g))


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
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.pt").is_file():
            self._resume()

    def run(self, until_s: float = math.inf) -> None:
        """Train to `config.steps` or for `until_s` seconds. Raises CollapseError when a loss is not finite."""
        began = saved = time.monotonic()
        bar = tqdm(
            total=self.config.steps, initial=self.step, desc="distill", unit="step", disable=not self.lead
        )
        for batch in self.stream:
            if self.step >= self.config.steps or time.monotonic() - began > until_s:
                break
            parts = self._learn(batch)
            self.step += 1
            bar.update()
            if self.lead and self.step % 50 == 0:
                self._record("losses.csv", {"step": self.step, "seconds": self._elapsed(began), **parts})
                bar.set_postfix({k: f"{v:.3f}" for k, v in parts.items()})
            if self.lead and self.step % self.config.validate_every == 0:
                figures = self.validation(self.average)
                self._record(
                    "validation.csv", {"step": self.step, "seconds": self._elapsed(began), **figures}
                )
                log.info("step %d: %s", self.step, ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
            if self.lead and time.monotonic() - saved > self.config.save_every_s:
                self._save(self._elapsed(began))
                saved = time.monotonic()
        if self.lead:
            self._save(self._elapsed(began))

    def _elapsed(self, began: float) -> float:
        return self.seconds + time.monotonic() - began

    def _learn(self, batch) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_rate"] * learning_rate_factor(self.step, self.config)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
            parts = losses(self.model, batch, self.captions(), self.config)
        total = sum(parts.values())
        total.backward()
        if dist.is_initialized():
            average_gradients(self.model)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        values = {k: float(v.detach()) for k, v in parts.items()} | {"gradient_norm": float(norm)}
        if not math.isfinite(sum(values.values())):
            raise CollapseError(
                f"step {self.step}: a loss is not finite: {values}. Resume with a smaller learning rate."
            )
        self.optimiser.step()
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for a, p in zip(self.average.parameters(), self.model.parameters(), strict=True):
                a.lerp_(p, 1 - decay)
        return values

    def _record(self, name: str, row: dict[str, float]) -> None:
        path = self.folder / name
        fresh = not path.exists()
        with path.open("a", newline="") as f:
            writer = csv.DictWriter(f, row)
            if fresh:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" for k, v in row.items()})

    def _save(self, seconds: float) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": seconds,
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
        log.info("resumed at step %d", self.step)
