"""From what a thing is called to the vector that its pixels should speak."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sab3r_ros.querying.text import TextEncoder
from sab3r_ros.training.shards import Vocabulary
from sab3r_ros.training.validation import NOT_A_CLASS

# A pixel answers to its full caption, its plain name and its class; the mean of the three is its target.
CAPTION_SHARE, NAME_SHARE, CLASS_SHARE = 0.4, 0.4, 0.2


class CaptionVectors:
    """Target vectors of a growing vocabulary: (V, L) unit float32, row = caption id. Each text is embedded once."""

    def __init__(self, vocabulary: Vocabulary, text: TextEncoder) -> None:
        self.vocabulary, self.text = vocabulary, text
        self.rows = torch.zeros(0, text.dim)

    def __call__(self) -> Tensor:
        fresh = self.vocabulary.entries[len(self.rows) :]
        if fresh:
            captions, names, classes = (
                self.text.encode([entry[k] if entry[k] not in NOT_A_CLASS else entry[1] for entry in fresh])
                for k in range(3)
            )
            mean = CAPTION_SHARE * captions + NAME_SHARE * names + CLASS_SHARE * classes
            self.rows = torch.cat(
                [self.rows, F.normalize(torch.from_numpy(np.asarray(mean, np.float32)), dim=-1)]
            )
        return self.rows

    def classes(self) -> dict[str, Tensor]:
        """NYU40 class → unit vector, for the classes of the vocabulary."""
        names = sorted({entry[2] for entry in self.vocabulary.entries} - NOT_A_CLASS)
        if not names:
            return {}
        return dict(
            zip(names, torch.from_numpy(np.asarray(self.text.encode(names), np.float32)), strict=True)
        )
