"""The ROS 2 side: wiring between topics, services and the core. Nothing outside this folder imports rclpy."""
