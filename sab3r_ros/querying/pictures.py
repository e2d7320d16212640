"""A picture as a query: "where is something that looks like this?" """

from __future__ import annotations

import numpy as np

from sab3r_ros.errors import QueryError
from sab3r_ros.model.feature_model import FeatureModel

MIDDLE = 0.6  # share of each side that counts: a crop's border shows what is around the thing


def image_vector(model: FeatureModel, image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB of one thing → (L,) unit language vector of its middle, for `Locator.like`.

    Raises ImageError if the image cannot be used, QueryError if the model has no language head.
    """
    prepared, _ = model.prepare(image)
    encoding = model.encode(prepared)
    features = model.decode(encoding, encoding)[0].features
    if features is None:
        raise QueryError(f"model {model.identity} has no language features: ask with another model's map")
    h, w, d = features.shape
    top, left = int(h * (1 - MIDDLE) / 2), int(w * (1 - MIDDLE) / 2)
    middle = features[top : h - top, left : w - left].reshape(-1, d).astype(np.float32).mean(0)
    vector = model.feature_basis @ middle
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
