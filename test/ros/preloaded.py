"""Starts programs as forks of itself, with ROS and torch imported already: that saves each of them seconds.

`python preloaded.py FD`: the socket FD brings requests in JSON with the file descriptors LOG, KEPT and STATUS. The
process id and then the exit status go to STATUS, as C ints.
"""

import atexit
import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import traceback

MODULES = ("moonseg3r_ros.node", "moonseg3r_ros.composition.manager", "moonseg3r_ros.replay.run")
INT = struct.Struct("i")


class Starter:
    """The process that forks, as long as this object lives."""

    def __init__(self):
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-W", "ignore::DeprecationWarning", __file__, str(theirs.fileno())]  # of fork
            subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def start(self, words, log, kept):
        """Start `-m MODULE ...` or `FILE ...` in this environment; it prints to `log` and keeps the descriptor `kept`."""
        status, theirs = os.pipe()
        request = json.dumps({"words": words, "environment": dict(os.environ), "folder": os.getcwd()}).encode()
        with log.open("w") as file:
            socket.send_fds(self._socket, [request], [file.fileno(), kept, theirs])
        os.close(theirs)
        return Process(status)


class Process:
    """What `subprocess.Popen` has, of a process whose id and exit status come through a pipe."""

    def __init__(self, status):
        self._status, self.returncode = status, None
        self.pid = self._read()

    def poll(self):
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = self._read()
            os.close(self._status)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return self.poll()

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def _read(self):
        return INT.unpack(os.read(self._status, INT.size))[0]


def serve(channel):
    """Fork for every request until the other side is closed; return in the program's own process, with its words."""
    while True:
        request, descriptors, *_ = socket.recv_fds(channel, 1 << 18, 3)
        if not request:
            os._exit(0)
        log, _, status = descriptors
        if os.fork() == 0:
            if (program := os.fork()) == 0:
                os.close(status)
                channel.close()
                return enter(log, **json.loads(request))
            os.write(status, INT.pack(program))
            os.write(status, INT.pack(os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def enter(log, words, environment, folder):
    """Take on a program's output, environment and folder, as if Python had been started with them."""
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    here = folder if words[0] == "-m" else os.path.dirname(words[0])
    sys.path[:] = dict.fromkeys([here, *paths, *sys.path[1:]])
    return words


def main():
    channel = socket.socket(fileno=int(sys.argv[1]))
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    sys.argv = serve(channel)
    status = 1
    try:
        run(sys.argv)
        status = 0
    except SystemExit as end:
        status = end.code or 0
        if not isinstance(status, int):  # Python prints a text and ends with 1
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)  # torch takes a second to be taken apart


def run(words):
    if words[0] == "-m":
        del words[0]
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
