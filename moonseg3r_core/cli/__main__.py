"""`python -m moonseg3r_core.cli`: the command without its entry point."""

import sys

from moonseg3r_core.cli import command

sys.exit(command())
