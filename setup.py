"""The ament_python half of the packaging: what ROS looks for in share/. The rest stands in pyproject.toml."""

from pathlib import Path

from setuptools import setup

NAME = "moonseg3r_ros"

setup(
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/config", sorted(str(path) for path in Path("config").glob("*.yaml"))),
    ],
)
