"""Text queries in CLIP's space, for networks distilled from CLIP: 80 sentences a phrase, averaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from sab3r_ros.errors import CheckpointError
from sab3r_ros.model.catalog import cached_files
from sab3r_ros.model.clip import Clip, ClipConfig
from sab3r_ros.model.clip_templates import TEMPLATES

PHRASES_AT_ONCE = 4

Tokenize = Callable[[list[str]], Tensor]


def load_clip() -> tuple[Clip, Tokenize]:
    """CLIP ViT-B/16 with OpenAI's weights and its tokenizer, from the cache.

    Raises CheckpointError, saying how to get them, if the weights are not there or do not fit.
    """
    weights, vocabulary = cached_files("clip")
    state = load_file(weights)
    with torch.device("meta"):
        clip = Clip(ClipConfig())
    try:
        clip.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{weights} does not fit CLIP ViT-B/16: {error}") from error
    return clip.float().requires_grad_(False).eval(), tokenizer(vocabulary, clip.config.context)


def tokenizer(vocabulary: Path, context: int) -> Tokenize:
    """Sentences → (B, context) ids, from a `tokenizer.json`: start, at most context − 2 pieces, end, then zeros."""
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise ImportError("text queries need tokenizers: pip install tokenizers") from error
    pieces = Tokenizer.from_file(str(vocabulary))
    pieces.no_padding()
    pieces.enable_truncation(context)

    def tokenize(sentences: list[str]) -> Tensor:
        out = torch.zeros(len(sentences), context, dtype=torch.long)
        for row, encoding in zip(out, pieces.encode_batch(sentences), strict=True):
            row[: len(encoding.ids)] = torch.tensor(encoding.ids)
        return out

    return tokenize


class ClipText:
    """Phrase → mean of the unit vectors of its 80 sentences, unit again (CLIP's zero-shot recipe)."""

    def __init__(self, clip: Clip | None = None, tokenize: Tokenize | None = None) -> None:
        """Default: the public weights from the cache; raises CheckpointError if they are not there."""
        if clip is None or tokenize is None:
            clip, tokenize = load_clip()
        self._clip, self._tokenize, self.dim = clip, tokenize, clip.config.dim

    @torch.inference_mode()
    def embed(self, phrases: list[str]) -> np.ndarray:
        """(N, dim) float32, unit rows, one a phrase."""
        rows = [torch.zeros(0, self.dim)]
        for start in range(0, len(phrases), PHRASES_AT_ONCE):
            batch = phrases[start : start + PHRASES_AT_ONCE]
            sentences = [template.format(phrase) for phrase in batch for template in TEMPLATES]
            vectors = F.normalize(self._clip.encode_text(self._tokenize(sentences)), dim=-1)
            rows.append(vectors.unflatten(0, (len(batch), len(TEMPLATES))).mean(1))
        return F.normalize(torch.cat(rows), dim=-1).float().numpy()
