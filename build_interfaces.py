"""Generates and compiles ROS 2 interfaces against the ROS 2 wheels of PyPI, without CMake.

For `pip install .` only; colcon uses CMakeLists.txt. An extension named `PKG.PKG_s__rosidl_typesupport_c` becomes the
Python package PKG of the interfaces in `INTERFACES[PKG]`. All of a package's code is in that one library; rosidl looks
for each typesupport in a library of its own, so that copies of it go to lib/ under those names.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
# Package → the folder that holds its msg/ and srv/.
INTERFACES = {"sab3r_ros": HERE, "tf2_msgs": HERE / "interfaces" / "tf2_msgs"}
DEPENDENCIES = ["sensor_msgs", "geometry_msgs", "std_msgs", "builtin_interfaces", "service_msgs"]
KINDS = (
    "generator_py",
    "generator_c",
    "typesupport_c",
    "typesupport_fastrtps_c",
    "typesupport_introspection_c",
)
TYPESUPPORTS = ["rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c"]
LIBRARIES = Path("build") / "typesupport"  # relative to setup.py, as data_files must be
RUNTIME = [
    "rosidl_runtime_c",
    "rosidl_typesupport_c",
    "rosidl_typesupport_fastrtps_c",
    "rosidl_typesupport_fastrtps_cpp",
    "rosidl_typesupport_introspection_c",
    "fastcdr",
    "rmw",
    "rcutils",
]


def interface_extension(package: str) -> Extension:
    """The extension that stands for a package's interfaces; its sources are generated when it is built."""
    return Extension(f"{package}.{package}_s__rosidl_typesupport_c", sources=[], language="c++")


def typesupport_libraries(package: str) -> list[str]:
    """Files for lib/, made when the extension is built."""
    return [str(LIBRARIES / f"lib{package}__{typesupport}.so") for typesupport in TYPESUPPORTS]


def ros_prefix() -> Path:
    """The prefix that holds lib/, include/ and share/ of the wheels: a virtual environment, or pip's build overlay."""
    import rosidl_cli

    return Path(rosidl_cli.__file__).resolve().parents[4]


def generate(package: str, out: Path) -> Path:
    """Write the C, typesupport and Python code of a package's interfaces under `out`. Returns the wheels' prefix."""
    prefix = ros_prefix()
    os.environ["AMENT_PREFIX_PATH"] = str(prefix)
    sys.path.insert(0, sysconfig.get_path("platlib", vars={"platbase": str(prefix)}))
    from rosidl_cli.command.translate.api import translate
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_typesupport_c.cli import GenerateCTypesupport
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
    from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

    source = INTERFACES[package]
    files = [
        p.relative_to(source) for kind in ("msg", "srv") for p in sorted((source / kind).glob(f"*.{kind}"))
    ]
    include = [str(prefix / "share")]
    shutil.rmtree(out, ignore_errors=True)
    idl = translate(
        package_name=package,
        interface_files=[f"{source}:{f}" for f in files],
        include_paths=include,
        output_format="idl",
        output_path=out / "idl",
    )
    GenerateC("c").generate(package, idl, include, out / "c" / package)
    GenerateCTypesupport("c", typesupport_implementations=TYPESUPPORTS).generate(
        package, idl, include, out / "ts_c" / package
    )
    GenerateFastRTPSCTypesupport("fastrtps").generate(package, idl, include, out / "ts_fastrtps_c" / package)
    GenerateIntrospectionCTypesupport("introspection").generate(
        package, idl, include, out / "ts_introspection_c" / package
    )
    GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"]).generate(
        package, idl, include, out / "py" / package
    )
    return prefix


class BuildInterfaces(build_ext):
    """Builds extensions; those of interfaces from generated code, and with the generated Python modules beside them."""

    def build_extension(self, ext: Extension) -> None:
        if ext.sources:
            super().build_extension(ext)
            return
        import numpy

        package = ext.name.partition(".")[0]
        out = Path(self.build_temp).resolve() / "rosidl" / package
        prefix = generate(package, out)
        includes = [out / folder for folder in ("c", "ts_fastrtps_c", "ts_introspection_c", "py")]
        includes += [numpy.get_include(), prefix / "include"]
        includes += sorted(
            p for p in (prefix / "include").iterdir() if p.is_dir() and not p.name.startswith("python")
        )
        ext.include_dirs = [str(p) for p in includes]
        ext.sources = [str(p) for pattern in ("*.c", "*.cpp") for p in sorted(out.rglob(pattern))]
        ext.library_dirs = [str(prefix / "lib")]
        ext.libraries = [f"{d}__rosidl_{kind}" for d in DEPENDENCIES for kind in KINDS] + RUNTIME
        ext.extra_link_args = ["-Wl,--as-needed", "-Wl,-rpath,$ORIGIN/../../.."]
        super().build_extension(ext)
        (HERE / LIBRARIES).mkdir(parents=True, exist_ok=True)
        for library in typesupport_libraries(package):
            shutil.copyfile(self.get_ext_fullpath(ext.name), HERE / library)
        places = [Path(self.get_ext_fullpath(ext.name)).parent]
        if self.inplace or getattr(self, "editable_mode", False):
            places.append(HERE / package)
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
            if package not in self.distribution.packages:
                (place / "__init__.py").touch()
            for module in (out / "py" / package).rglob("*.py"):
                if module.parent != out / "py" / package:
                    target = place / module.relative_to(out / "py" / package)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(module, target)
