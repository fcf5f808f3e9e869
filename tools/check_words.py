"""Find words that were replaced and may not come back: `python tools/check_words.py`; `make lint` calls it.

A rule is a pattern, the word to use, and where the pattern is searched or allowed. Exit status 1 where a word is found.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".cfg", ".xml", ".msg", ".rviz", ".cff", ""}
SKIPPED = ("CHANGELOG.md", "LICENSE", "tools/check_words.py", "test/docs/test_check_words.py")
SYNTHETIC = (
    "moonseg3r_core/synthetic/",
    "test/synthetic/",
    "moonseg3r_core/training/data/",
    "moonseg3r_core/training/depth/views.py",
    "moonseg3r_core/training/masks/pictures.py",
    "test/training/test_data.py",
    "test/training/test_depth_training.py",
    "test/training/test_things.py",
)
TRAINING = ("moonseg3r_core/training/", "test/training/")
STAGES = tuple(
    f"moonseg3r_core/{name}"
    for name in ("segmenter", "stages", "build", "resolve", "run", "settings", "map_file", "runtime/", "reconstruction/", "masks/", "features/", "refinement/", "memory/", "fusion/", "io/", "ops/")
)  # fmt: skip
CLASSES = (
    "Anchor|Ask|Budget|Chunks|Ending|EstimatedCamera|EveryNth|Facts|Feed|Flow|GivenPose|Got|Journal|Kept|LandmarkMap|"
    "Ledger|Load|Meter|ModelledPose|Pace|Placement|Reading|Reporter|Rooms|Said|Seen|Shown|SideBySide|Sight|Standing|"
    "Stopwatch|TrackedPose|Values|Voice"
)


@dataclass(frozen=True)
class Rule:
    """A pattern, what to write instead, the paths (beginnings) that are searched, and those that are not."""

    pattern: str
    instead: str
    searched: tuple[str, ...] = ("",)
    allowed: tuple[str, ...] = ()

    def applies(self, name: str) -> bool:
        return name.startswith(self.searched) and not name.startswith(self.allowed)


RULES = (
    Rule(r"(?i)tenant", "implementation, model, stage"),
    Rule(r"(?i)(?<![a-z])hall(?![a-z])", "segmenter", allowed=SYNTHETIC),
    Rule(r"(?i)(?<![a-z])porch(?![a-z])", "ROS package, ROS node"),
    Rule(r"(?i)(?<![a-z])doors?(?![a-z])", "reader, builder, entry point", allowed=SYNTHETIC),
    Rule(r"(?i)(?<![a-z])houses?(?![a-z])", "segmenter, pipeline", allowed=SYNTHETIC),
    Rule(r"(?i)\bfurnish(?!ed rooms?\b)\w*", "replace_stages, set up", allowed=SYNTHETIC),
    Rule(r"\.(?:furnish|succeed)\(", "replace_stages", allowed=SYNTHETIC),
    Rule(r"(?i)room_ms|\b(?:per|by) room\b|\b(?:every|each) room of\b", "stage_ms, per stage", allowed=TRAINING),
    Rule(r"(?i)(?<!rendered )(?<!data/)\brooms?\b", "stage", searched=(*STAGES, "moonseg3r_ros/")),
    Rule(rf"\bclass (?:{CLASSES})\b", "a standard term", searched=("moonseg3r_", "test/"), allowed=SYNTHETIC),
    Rule(r"(?i)\bfacts,? sections? \d", "docs/cut3r_facts.md, N"),
    Rule(r"(?i)\(decision \d|[,;] decision \d", "docs/decisions.md, N"),
    Rule(r"\bdesign\.md\b", "a page of docs/"),
)


def main() -> int:
    """Print every find as `file:line: word: what to write`, and return the exit status."""
    finds = [find for name in list_files() for find in check(name, (ROOT / name).read_text(encoding="utf-8"))]
    print(*finds, sep="\n", end="\n" if finds else "")
    return 1 if finds else 0


def list_files() -> list[str]:
    """The text files that git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [n for n in names if Path(n).suffix in SUFFIXES and n not in SKIPPED and (ROOT / n).is_file()]


def check(name: str, text: str) -> Iterator[str]:
    """The finds in one file."""
    for rule in RULES:
        if rule.applies(name):
            for match in re.finditer(rule.pattern, text):
                line = text.count("\n", 0, match.start()) + 1
                yield f"{name}:{line}: {match[0]!r}: write {rule.instead}"


if __name__ == "__main__":
    sys.exit(main())
