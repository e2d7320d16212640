"""Open-vocabulary 3D mapping from one camera: SAB3R as a library, a command line and a ROS 2 node."""

from pkgutil import extend_path

# The generated message modules (sab3r_ros.msg, sab3r_ros.srv) may be installed elsewhere than this source tree.
__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"
