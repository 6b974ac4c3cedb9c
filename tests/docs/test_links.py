"""No page points to what isn't there: relative links, anchors, pictures, and the pages that messages name."""

import os
import re
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

import pytest

from tests import ROOT
from tests.pictures import IMAGES, PICTURES, SITE

DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
WITH_LINKS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *PAGES]
HUNDRED_AND_FIFTY_KB = 150_000


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return a page without its blocks of code, and without code in the line."""
    return re.sub(r"(`+)(?!`).+?\1", "", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """Return what a link to a page may have after its #, as GitHub and Sphinx make it of headings."""
    found: set[str] = set()
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(next(one for one in chain([slug], (f"{slug}-{n}" for n in count(1))) if one not in found))
    return found


def dead(page: Path) -> Iterator[str]:
    """Yield the links of a page to a file or a heading that isn't there."""
    for target in re.findall(r"\]\(([^()\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        file = Path(os.path.normpath(page.parent / path)) if path else page
        if re.match(r"[a-z]+:", target):
            continue
        if not file.is_file():
            yield f"{target}: there is no {file}"
        elif anchor and anchor not in anchors(file):
            yield f"{target}: {file.name} has no such heading"


@pytest.mark.parametrize("page", WITH_LINKS, ids=name)
def test_links(page: Path) -> None:
    """Each relative link leads to a file that is there, and to a heading that it has."""
    assert [*dead(page)] == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    """The test above fails for a missing file, for a missing heading, and for neither in code or on another site."""
    (tmp_path / "there.md").write_text("# One `heading`, with more\n\n```text\n# none\n```\n\n# Twice\n\n# Twice\n")
    page = tmp_path / "page.md"
    links = (
        "gone.md",
        "there.md#none",
        "there.md#one-heading-with-more",
        "there.md#twice-1",
        "#none",
        "https://a.b/c.md",
    )
    page.write_text("".join(f"[a\nb]({one}) `[c]({one}x)`\n" for one in links))
    assert [one.partition(":")[0] for one in dead(page)] == ["gone.md", "there.md#none", "#none"]


def test_each_page_is_reached() -> None:
    """Each page but the first is in one toctree, and each folder's index page has a link to each page of the folder."""
    listed = [
        (page.parent / entry).with_suffix(".md") if not entry.endswith(".md") else page.parent / entry
        for page in PAGES
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL)
        for entry in block.split()
        if not entry.startswith(":") and not entry.isdecimal()
    ]
    assert sorted(listed) == [page for page in PAGES if page != DOCS / "index.md"]
    for index in DOCS.glob("*/index.md"):
        linked = {(index.parent / path).name for path in re.findall(r"\]\(([\w-]+\.md)", index.read_text())}
        assert linked == {page.name for page in index.parent.glob("*.md")} - {"index.md"}, index


def test_pages_that_messages_name() -> None:
    """Each page that predlog, a test, a setting or a page names by its path in the repository is there."""
    sources = [*ROOT.glob("predlog/**/*.py"), *ROOT.glob("tests/**/*.py"), *WITH_LINKS, ROOT / "pyproject.toml"]
    named = {
        (name(source), path)
        for source in sources
        for path in re.findall(r"(?<![\w/])docs/[\w./-]+\.(?:md|py|png|svg|txt|json)\b", source.read_text())
    }
    assert len(named) > 20
    assert sorted(one for one in named if not (ROOT / one[1]).is_file()) == []


def test_pictures() -> None:
    """Each picture is made by `python -m tests.pictures`, is on a page with a text in its place, and is small."""
    drawn = sorted(IMAGES.glob("*.png"))
    assert drawn == sorted(file for file in PICTURES if file.parent == IMAGES)
    assert {file.parent for file in PICTURES} == {IMAGES, SITE}
    shown = {
        os.path.normpath(page.parent / path): text
        for page in WITH_LINKS
        for text, path in re.findall(r"!\[(.*?)\]\((.*?)\)", page.read_text())
    }
    assert {str(file) for file in drawn} == {path for path in shown if path.endswith(".png")}
    assert all(len(text) > 20 for text in shown.values())
    assert [file.name for file in drawn if file.stat().st_size > HUNDRED_AND_FIFTY_KB] == []
