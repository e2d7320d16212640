"""Map what a camera sees, and locate things in it.

ros2 launch sab3r_ros mapping.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info rviz:=true
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

CONFIG = PathJoinSubstitution([FindPackageShare("sab3r_ros"), "config"])
ARGUMENTS = {
    "image": ("image", "topic of the camera's images (sensor_msgs/Image)"),
    "camera_info": ("camera_info", "topic of its intrinsics; without any the network estimates them"),
    "namespace": ("", "namespace of the node"),
    "model": (
        "",
        "'mini' (embedded), 'sab3r', 'mast3r' or the path of a checkpoint; '' = what params_file says",
    ),
    "map_path": (
        "",
        "map file, loaded at start if it exists and written at exit; '' = what params_file says",
    ),
    "params_file": (PathJoinSubstitution([CONFIG, "mapper.yaml"]), "YAML with parameters"),
    "rviz": ("false", "start RViz with map, trajectory, located objects and camera image"),
    "large_data_profile": (
        PathJoinSubstitution([CONFIG, "fastdds_large_data.xml"]),
        "Fast DDS profile for large messages on one machine; '' = the defaults, for cameras on other machines",
    ),
}


def mapper(context: LaunchContext) -> list[Node]:
    """The node; an argument that was given wins over the parameter file."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ("model", "map_path")}
    return [
        Node(
            package="sab3r_ros",
            executable="mapper_node",
            name="mapper",
            namespace=LaunchConfiguration("namespace"),
            output="screen",
            parameters=[
                LaunchConfiguration("params_file"),
                {name: value for name, value in given.items() if value},
            ],
            remappings=[(name, LaunchConfiguration(name)) for name in ("image", "camera_info")],
            sigterm_timeout="30",  # after Ctrl-C: time to save the map
        )
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=v, description=text)
                for name, (v, text) in ARGUMENTS.items()
            ),
            SetEnvironmentVariable(
                "FASTDDS_DEFAULT_PROFILES_FILE",  # one that the user has set already wins; the camera needs the same
                EnvironmentVariable(
                    "FASTDDS_DEFAULT_PROFILES_FILE", default_value=LaunchConfiguration("large_data_profile")
                ),
            ),
            OpaqueFunction(function=mapper),
            Node(
                package="rviz2",
                executable="rviz2",
                namespace=LaunchConfiguration("namespace"),
                arguments=["-d", PathJoinSubstitution([CONFIG, "sab3r.rviz"])],
                remappings=[("image", LaunchConfiguration("image"))],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
