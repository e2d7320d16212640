"""Functions of src/*.cpp, called by ctypes: their arguments are checked, and other threads run while they do."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np

REALS, FLOATS, NUMBERS, ROWS, STEPS, SHORTS, CODES, BYTES, FLAGS, TABLE = (
    np.ctypeslib.ndpointer(kind, flags="C_CONTIGUOUS")
    for kind in (
        *(np.float64, np.float32, np.int64, np.int32, np.int16, np.uint16, np.int8, np.uint8, np.bool_),
        np.uintp,
    )
)
COUNT, REAL, FLOAT, SEED = ctypes.c_int64, ctypes.c_double, ctypes.c_float, ctypes.c_uint64


def load(name: str, arguments: Mapping[str, tuple], holding: tuple[str, ...] = ()) -> SimpleNamespace:
    """The functions of a library of this package, by their names; all return a count.

    arguments: their types. holding: functions that do not let go of the interpreter, because getting it back from a busy
    thread would take longer than they do. Raises ImportError if it was not built.
    """
    found = find_spec(f"sab3r_ros.{name}")
    if found is None or found.origin is None:
        raise ImportError(f"sab3r_ros.{name} is not built: run `make`, `pip install .` or `colcon build`")
    free, held = ctypes.CDLL(found.origin), ctypes.PyDLL(found.origin)
    functions = {key: getattr(held if key in holding else free, key) for key in arguments}
    for key, kinds in arguments.items():
        functions[key].argtypes, functions[key].restype = kinds, COUNT
    return SimpleNamespace(**functions)
