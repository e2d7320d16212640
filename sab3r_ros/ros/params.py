"""The configuration dataclasses as ROS parameters: names, defaults, descriptions and ranges come from their one home."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from sab3r_ros.config import AlignmentConfig, LocateConfig, MapperConfig, NodeConfig, from_dict
from sab3r_ros.errors import ConfigError

T = TypeVar("T")
# Parameter prefix of each dataclass: NodeConfig's stand at the top, "mapper.voxel_size_m" is MapperConfig's.
GROUPS: dict[str, type] = {"": NodeConfig, "mapper": MapperConfig, "alignment": AlignmentConfig, "locate": LocateConfig}
UNBOUNDED = 1e15


def parameter_name(prefix: str, field: Field) -> str:
    return f"{prefix}.{field.name}" if prefix else field.name


def descriptor(field: Field) -> ParameterDescriptor:
    """Description and range of a field. Parameters are read once, at start."""
    out = ParameterDescriptor(description=field.metadata["text"], read_only=True)
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if low is None and high is None:
        return out
    low, high = (-UNBOUNDED if low is None else low), (UNBOUNDED if high is None else high)
    if isinstance(field.default, float):
        out.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    else:
        out.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return out


def declare(node: Node, prefix: str, kind: type[T]) -> T:
    """Declare a dataclass's fields as parameters and return it filled with what the user gave.

    Raises ConfigError naming the parameter that has a wrong type or lies outside its range.
    """
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        name = parameter_name(prefix, field)
        try:
            values[field.name] = node.declare_parameter(name, field.default, descriptor(field)).value
        except (ParameterException, ValueError) as error:
            raise ConfigError(f"parameter {name}: {error} ({field.metadata['text']})") from error
    return from_dict(kind, values)
