"""A picture as a query."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sab3r_ros.errors import QueryError
from sab3r_ros.querying.pictures import image_vector


def model_with(features: np.ndarray | None) -> SimpleNamespace:
    view = SimpleNamespace(features=features)
    return SimpleNamespace(
        identity="toy",
        feature_basis=np.eye(3, dtype=np.float32) * 2,
        prepare=lambda image: (image, None),
        encode=lambda image: image,
        decode=lambda a, b: (view, view),
    )


def test_the_middle_of_the_picture_counts():
    features = np.zeros((10, 10, 3), np.float16)
    features[..., 0] = 1  # the background
    features[2:8, 2:8] = (0, 3, 4)
    vector = image_vector(model_with(features), np.zeros((20, 20, 3), np.uint8))
    np.testing.assert_allclose(vector, [0, 0.6, 0.8], atol=1e-6)


def test_a_model_without_language_cannot_be_asked():
    with pytest.raises(QueryError, match="no language features"):
        image_vector(model_with(None), np.zeros((20, 20, 3), np.uint8))
