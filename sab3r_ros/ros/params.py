"""The configuration dataclasses as ROS parameters: names, defaults, descriptions and ranges come from their one home."""

from __future__ import annotations

import difflib
from dataclasses import Field, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from sab3r_ros.config import AlignmentConfig, LocateConfig, LoopConfig, MapperConfig, NodeConfig, from_dict
from sab3r_ros.errors import ConfigError

# Parameter prefix of each dataclass: NodeConfig's stand at the top, "mapper.voxel_size_m" is MapperConfig's.
GROUPS: dict[str, type] = {
    "": NodeConfig,
    "mapper": MapperConfig,
    "alignment": AlignmentConfig,
    "loops": LoopConfig,
    "locate": LocateConfig,
}
RCLPY_OWN = ("use_sim_time", "start_type_description_service", "qos_overrides.")
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


def declare_all(node: Node) -> dict[type, Any]:
    """Declare every field as a parameter. Returns each dataclass filled with what the user gave.

    The node must have been made with automatically_declare_parameters_from_overrides, so that a name that nobody knows is
    seen. Raises ConfigError naming the parameter that is unknown, has a wrong type, or lies outside its range.
    """
    given = {
        name: p.value
        for name, p in node.get_parameters_by_prefix("").items()
        if not name.startswith(RCLPY_OWN)
    }
    known = [parameter_name(prefix, f) for prefix, kind in GROUPS.items() for f in fields(kind)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"unknown parameter '{name}'" + (f"; did you mean '{near[0]}'?" if near else "")
            )
    return {kind: declare(node, prefix, kind, given) for prefix, kind in GROUPS.items()}


def declare(node: Node, prefix: str, kind: type, given: dict[str, Any]) -> Any:
    """One dataclass's parameters. An integer is taken where a float is meant: people write `5` for 5.0."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        name = parameter_name(prefix, field)
        value = given.get(name, field.default)
        if isinstance(field.default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(field.default):
            raise ConfigError(
                f"parameter {name} = {value!r} must be of type {type(field.default).__name__}: {field.metadata['text']}"
            )
        try:
            if name in given:
                node.undeclare_parameter(name)
            node.declare_parameter(name, value, descriptor(field), ignore_override=True)
        except (ParameterException, ValueError) as error:
            low, high = field.metadata.get("low"), field.metadata.get("high")
            raise ConfigError(
                f"parameter {name} = {value!r} is out of range [{low}, {high}]: {field.metadata['text']}"
            ) from error
        values[field.name] = value
    return from_dict(kind, values)
