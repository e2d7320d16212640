"""torch.compile, for who runs a network long enough that a minute of compiling pays."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

from sab3r_ros.errors import ConfigError
from sab3r_ros.model.sab3r import SAB3R


def check_compiler(device: str) -> None:
    """Raises ConfigError, saying what to install, if torch.compile has no compiler for this kind of device."""
    if device == "cuda":
        if not find_spec("triton"):
            raise ConfigError("compile = true needs Triton on CUDA: pip install triton, or turn compile off")
    elif not any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "clang++")):
        raise ConfigError("compile = true needs a C++ compiler on the CPU: install g++, or turn compile off")


def compile_blocks(network: SAB3R) -> SAB3R:
    """Compiles the transformer blocks, in place and when they first run; state-dict keys stay as they are.

    Blocks hold most of the arithmetic, and those of one stack and precision share one compiled function: a handful is
    compiled instead of sixty. Raises ConfigError if there is no compiler.
    """
    check_compiler(next(network.parameters()).device.type)
    stacks = [network.enc_blocks]
    if not network.config.monocular:
        stacks += [network.dec_blocks, network.dec_blocks2]
    for block in (block for stack in stacks for block in stack):
        block.compile()
    return network
