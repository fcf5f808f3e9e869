"""Published networks of depth from one image. Visual odometry or the robot gives the poses and the scale."""
