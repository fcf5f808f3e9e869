"""For all tests."""

import signal

# What a shell starts in the background ignores SIGINT, and so do all programs that it starts; tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)
