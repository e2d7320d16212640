"""Public heads a hundred times smaller, for tests that write or run networks whose sizes do not matter."""

import pytest

from sab3r_ros.model import heads


@pytest.fixture(scope="module", autouse=True)
def small_heads():
    """Imported by a test module, it holds for all its tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "LAYER_DIMS", (8, 8, 16, 16))
        patch.setattr(heads, "FEATURE_DIM", 16)
        patch.setattr(heads, "LAST_DIM", 16)
        yield
