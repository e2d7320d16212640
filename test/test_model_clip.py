"""CLIP's towers against torch's own attention, its templates, and phrases through a random tower."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from sab3r_ros.errors import CheckpointError
from sab3r_ros.model.clip import Clip, ClipConfig, SelfAttention
from sab3r_ros.model.clip_templates import TEMPLATES
from sab3r_ros.model.clip_text import ClipText, tokenizer
from sab3r_ros.querying.text import load_text_encoder

SMALL = ClipConfig(
    image_size=64,
    patch=16,
    vision_width=64,
    vision_layers=2,
    text_width=64,
    text_layers=2,
    context=12,
    vocabulary=40,
    dim=32,
    head_dim=16,
)


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return Clip(SMALL).eval()


def letters(sentences):
    """A tokenizer for tests: start 38, letters, end 39, zeros."""
    out = torch.zeros(len(sentences), SMALL.context, dtype=torch.long)
    for row, sentence in zip(out, sentences, strict=True):
        ids = [38, *(1 + ord(c) % 37 for c in sentence[::-1]), 39][: SMALL.context]
        ids[-1] = 39
        row[: len(ids)] = torch.tensor(ids)
    return out


def test_there_are_80_different_templates():
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 80
    assert all(t.count("{}") == 1 for t in TEMPLATES)
    for known in (
        "a photo of a {}.",
        "itap of my {}.",
        "the {} in a video game.",
        "a jpeg corrupted photo of the {}.",
    ):
        assert known in TEMPLATES


@pytest.mark.parametrize("causal", [False, True])
@torch.inference_mode()
def test_attention_equals_torchs(causal):
    torch.manual_seed(0)
    ours, theirs = SelfAttention(32, 2), nn.MultiheadAttention(32, 2, batch_first=True)
    theirs.load_state_dict(ours.state_dict())  # the same names
    x = torch.randn(2, 5, 32)
    mask = torch.full((5, 5), -torch.inf).triu(1) if causal else None
    assert torch.allclose(ours(x, causal), theirs.eval()(x, x, x, attn_mask=mask)[0], atol=1e-5)


def test_keys_are_open_clips():
    with torch.device("meta"):
        state = Clip(ClipConfig()).state_dict()
    shapes = {k: tuple(v.shape) for k, v in state.items()}
    assert shapes["visual.transformer.resblocks.11.attn.in_proj_weight"] == (2304, 768)
    assert shapes["visual.positional_embedding"] == (197, 768)
    assert shapes["visual.proj"] == (768, 512)
    assert shapes["transformer.resblocks.0.mlp.c_fc.weight"] == (2048, 512)
    assert shapes["token_embedding.weight"] == (49408, 512)
    assert sum(v.numel() for v in state.values()) == 149_620_737  # the published size of CLIP ViT-B/16


@torch.inference_mode()
def test_words_after_the_end_do_not_count(clip):
    tokens = letters(["chair"])
    changed = tokens.clone()
    changed[0, 8:] = 5
    assert torch.allclose(clip.encode_text(tokens), clip.encode_text(changed), atol=1e-6)


def test_a_phrase_is_the_mean_of_its_sentences(clip):
    encoder = ClipText(clip, letters)
    phrases = ["mug", "lamp", "bed", "sofa", "door"]
    vectors = encoder.embed(phrases)
    assert vectors.shape == (5, 32) and vectors.dtype == np.float32
    with torch.inference_mode():
        one = nn.functional.normalize(
            clip.encode_text(letters([t.format("door") for t in TEMPLATES])), dim=-1
        )
    mean = one.mean(0).numpy()
    assert np.allclose(vectors[4], mean / np.linalg.norm(mean), atol=1e-5)
    assert encoder.embed([]).shape == (0, 32)


def test_tokens_of_a_tokenizer_file(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers import models, pre_tokenizers, processors

    words = tokenizers.Tokenizer(
        models.WordLevel({"<s>": 1, "a": 2, "mug": 3, "<e>": 9, "?": 0}, unk_token="?")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        "<s> $A <e>", special_tokens=[("<s>", 1), ("<e>", 9)]
    )
    words.save(str(tmp_path / "tokenizer.json"))
    assert json.loads((tmp_path / "tokenizer.json").read_text())["model"]["type"] == "WordLevel"
    tokens = tokenizer(tmp_path / "tokenizer.json", 6)(["a mug", "a a a a a a a a"])
    assert tokens.tolist() == [[1, 2, 3, 9, 0, 0], [1, 2, 2, 2, 2, 9]]


def test_without_weights_the_encoder_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match="sab3r weights fetch clip"):
        load_text_encoder("openclip-vit-b-16-openai")


@pytest.mark.slow
def test_the_real_tower_knows_what_a_chair_is():
    """Only where its weights are cached."""
    try:
        encoder = load_text_encoder("openclip-vit-b-16-openai")
    except CheckpointError as error:
        pytest.skip(str(error))
    chair, armchair, cloud = encoder.encode(["chair", "armchair", "cloud"])
    assert chair @ armchair > chair @ cloud
