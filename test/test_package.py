"""The package: interfaces, both doors, launch file, what is installed."""

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
INTERFACES = sorted(str(p.relative_to(ROOT)) for folder in ("msg", "srv") for p in (ROOT / folder).iterdir())


def test_both_doors_build_the_same_interfaces():
    listed = re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', (ROOT / "CMakeLists.txt").read_text())
    assert sorted(listed) == INTERFACES
    marker = (ROOT / "resource" / "rosidl_interfaces" / "sab3r_ros").read_text().split()
    assert set(INTERFACES) <= set(marker)


def test_every_field_has_a_comment():
    for interface in INTERFACES:
        for line in (ROOT / interface).read_text().splitlines():
            plain = (
                line.startswith("#") or line == "---" or not line.strip() or re.match(r"bool success$", line)
            )
            assert plain or "#" in line or line == "string message", f"{interface}: {line}"


def test_ros_is_imported_in_its_folder_only():
    """The core runs without ROS; the demo is made of ROS programs."""
    ros = ("rclpy", "sensor_msgs", "geometry_msgs", "nav_msgs", "std_msgs", "visualization_msgs", "tf2_msgs")
    for file in (ROOT / "sab3r_ros").rglob("*.py"):
        folder = file.relative_to(ROOT / "sab3r_ros").parts[0]
        if folder in ("ros", "demo", "msg", "srv"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] in ros], file


def test_package_xml_names_what_is_imported():
    named = {e.text for e in ET.parse(ROOT / "package.xml").getroot() if e.tag.endswith("depend")}
    imported = set()
    for file in (*(ROOT / "sab3r_ros" / "ros").glob("*.py"), *(ROOT / "launch").glob("*.py")):
        imported |= set(re.findall(r"^\s*(?:from|import) (\w+)", file.read_text(), re.M))
    messages = {
        name
        for name in imported
        if name.endswith("_msgs") or name in ("rclpy", "launch", "launch_ros", "cv_bridge")
    }
    assert "builtin_interfaces" in imported  # comes with the message packages
    assert messages <= named


def test_version_is_told_once():
    from sab3r_ros import __version__

    assert ET.parse(ROOT / "package.xml").getroot().findtext("version") == __version__


def test_messages_can_be_made_and_the_tf_message_is_the_true_type():
    from geometry_msgs.msg import TransformStamped
    from sab3r_ros.msg import LocatedObject, MapStatus
    from sab3r_ros.srv import LoadMap, Locate, ResetMap, SaveMap
    from tf2_msgs.msg import TFMessage

    assert MapStatus.LOST == 2 and LocatedObject().score == 0.0
    assert Locate.Request(query="mug").max_objects == 0
    assert TFMessage(transforms=[TransformStamped()]).get_fields_and_field_types() == {
        "transforms": "sequence<geometry_msgs/TransformStamped>"
    }
    assert LoadMap and ResetMap and SaveMap


def test_launch_file_describes_the_node():
    pytest.importorskip("launch_ros", reason="launch comes with a ROS 2 installation")
    import importlib.util

    spec = importlib.util.spec_from_file_location("mapping", ROOT / "launch" / "mapping.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    description = module.generate_launch_description()
    names = {a.name for a in description.entities if hasattr(a, "default_value")}
    assert {"image", "params_file", "rviz"} <= names


def test_rviz_shows_topics_that_the_node_has():
    layout = yaml.safe_load((ROOT / "config" / "sab3r.rviz").read_text())["Visualization Manager"]
    topics = {d["Topic"]["Value"] for d in layout["Displays"] + layout["Tools"] if "Topic" in d}
    code = "".join(f.read_text() for f in (ROOT / "sab3r_ros" / "ros").glob("*.py"))
    assert {"map_cloud", "trajectory", "located_cloud", "located_markers", "image", "clicked_point"} == topics
    assert all(f'"{topic}"' in code for topic in topics)


def test_files_that_are_no_code_are_installed():
    """What lies below sab3r_ros/ and is not Python matches a pattern of setup.py's package_data."""
    patterns = re.search(r"package_data=\{NAME: (\[.*?\])\}", (ROOT / "setup.py").read_text())[1]
    package = ROOT / "sab3r_ros"
    covered = {p for pattern in ast.literal_eval(patterns) for p in package.glob(pattern)}
    generated = ("msg", "srv")
    others = {
        p
        for p in package.rglob("*")
        if p.is_file()
        and p.suffix not in (".py", ".pyc", ".so")
        and p.name != "README.md"  # for those who read the source
        and p.relative_to(package).parts[0] not in generated
    }
    assert others <= covered, sorted(others - covered)


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
