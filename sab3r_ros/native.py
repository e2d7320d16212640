"""Functions of src/*.cpp, called by ctypes: their arguments are checked, and other threads run while they do."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np

BUFFER = ctypes.c_char * 0  # of an array of any size


class Array:
    """An argument that is a contiguous array of one kind. A third of the time of NumPy's `ndpointer`."""

    def __init__(self, kind: type) -> None:
        self.dtype = np.dtype(kind)

    def from_param(self, values: np.ndarray) -> ctypes.Array | ctypes.c_void_p:
        """What ctypes hands over. Raises TypeError for anything else."""
        if not (isinstance(values, np.ndarray) and values.dtype == self.dtype and values.flags.c_contiguous):
            raise TypeError(f"a contiguous array of {self.dtype} is needed, not {values!r:.80}")
        return BUFFER.from_buffer(values) if values.flags.writeable else ctypes.c_void_p(address(values))


def address(values: np.ndarray) -> int:
    """Of a contiguous array's first value. A quarter of the time of NumPy's `ctypes.data`."""
    if values.flags.writeable:
        return ctypes.addressof(BUFFER.from_buffer(values))
    return values.ctypes.data


REALS, FLOATS, NUMBERS, ROWS, STEPS, SHORTS, CODES, BYTES, FLAGS, TABLE = (
    Array(kind)
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
