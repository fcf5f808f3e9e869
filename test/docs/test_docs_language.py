"""The documents are plain: no sentence has over 30 words, no line of a paragraph over 120 characters.

A sentence ends at `.`, `!` or `?` before a space, and where its paragraph, list item, heading or table cell ends; a colon
or a semicolon ends none. A code span counts as one word, a link as its text. Blocks of code and generated tables are left
out of both rules; tables and the targets of links are left out of the rule for lines.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("moonseg3r_core/weights/*.md")]
MAX_WORDS, MAX_CHARACTERS = 30, 120
LEFT_OUT = re.compile(r"^```.*?^```$|^<!-- tables.*?end of tables -->$|^ {4}.*?$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?\[[^\]]*\])\([^)\s]+\)")
BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) |#|\|)|(?<=\|)\n")


def read_prose(text):
    """The text without blocks of code, generated tables and the targets of links."""
    return LINK.sub(r"\1", LEFT_OUT.sub("", text))


def find_long_lines(text):
    lines = read_prose(text).splitlines()
    return [line for line in lines if len(line) > MAX_CHARACTERS and not line.startswith("|")]


def split_sentences(text):
    for block in BLOCK.split(read_prose(text)):
        cells = block.split("|") if block.startswith("|") else [block]
        for cell in cells:
            yield from re.split(r"(?<=[.!?])[)*_\"]*\s+", " ".join(cell.split()))


def count_words(sentence):
    return len(re.findall(r"\S*\w\S*", re.sub(r"`[^`]*`", "code", sentence)))


def find_long_sentences(text):
    return [sentence for sentence in split_sentences(text) if count_words(sentence) > MAX_WORDS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_and_sentences_are_short(page):
    text = page.read_text()
    assert find_long_lines(text) == []
    assert find_long_sentences(text) == []


def test_long_ones_are_found():
    sentence = "word " * 30 + "word."
    text = f"# Title\n\nShort. {sentence}\n\n| a | {sentence} |\n\n- `a b`\n- {sentence}\n\n    {sentence}\n```\n{sentence}\n```\n"
    assert [found.removeprefix("- ") for found in find_long_sentences(text)] == [sentence] * 3
    assert len(find_long_lines(text)) == 2
    assert find_long_lines("x" * 110 + " [link](" + "y" * 50 + ")") == []
