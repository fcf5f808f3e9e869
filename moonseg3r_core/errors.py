"""What can go wrong, as types. Every message says: expected, got, what to do."""


class MoonSeg3RError(Exception):
    """Root of all errors raised on purpose by this package; they read as one line, whatever stands in a file's names."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())


class InputError(MoonSeg3RError):
    """Bad usage or input. The command line prints the message alone and exits with status 2."""


class ConfigError(InputError):
    """A configuration key or value that cannot be used."""


class SourceError(InputError):
    """A recording that is missing, empty, or of another layout than expected."""


class OutputError(InputError):
    """An output folder that cannot be written or read."""


class MissingDependency(InputError):
    """An optional package is needed and absent; the message holds the command that installs it."""


class WeightsError(InputError):
    """Weights that are not installed, not whole or of another model; the message holds the command that mends it."""


class FrameRejected(MoonSeg3RError):
    """One frame cannot be used, and the stream goes on without it.

    `reason` is a short text by which frames are counted; `detail` is what differs from frame to frame and what to do.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail
