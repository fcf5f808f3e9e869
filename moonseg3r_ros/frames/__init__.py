"""The frames of TF: those of the robot, and those that the node itself publishes."""
