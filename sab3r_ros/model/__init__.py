"""The network, its checkpoints and the seam through which the rest of the package uses it."""

from sab3r_ros.model.sab3r import SAB3R
from sab3r_ros.model.sizes import SAB3RConfig

__all__ = ["SAB3R", "SAB3RConfig"]
