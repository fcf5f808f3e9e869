"""Every relative link of the documents leads to a file, and to a heading of it where it names one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("moonseg3r_*/**/*.md")]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def prose(page):
    """A page's text without blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """What a heading is called by links, as GitHub makes it: lower case, no punctuation, spaces as dashes."""
    titles = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page):
    """The links of a page that lead nowhere."""
    for link in LINK.findall(prose(page)):
        if not re.match(r"\w+:", link):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert list(broken(page)) == []


def test_every_page_of_docs_is_reached_from_the_readme():
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(prose(ROOT / "README.md"))}
    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= linked


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# The title, again\n[a](nowhere.md) [b](#the-title-again) [c](#gone) [d](https://example.org/x)\n")
    assert list(broken(page)) == ["nowhere.md", "#gone"]
