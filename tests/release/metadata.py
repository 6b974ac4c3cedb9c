"""What people write before a release: the project's URLs, the date, the version, a clean tree."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.release import tree

# Where people find the source, report a mistake, and read the documentation.
_URLS = ("Source", "Issues", "Documentation")
_PLACEHOLDER = re.compile(
    r"example\.(com|org|net)|\.(example|invalid|test)\b|localhost|todo|to be filled in", re.IGNORECASE
)
_UNFINISHED = re.compile("to be (filled in|set)", re.IGNORECASE)
_RELEASED = re.compile(r"\d+\.\d+\.\d+(rc\d+)?")


def problems(root: Path) -> Iterator[str]:
    """Yield one line per thing that is missing."""
    yield from _urls(root)
    yield from _changelog(root)
    yield from _version(root)
    if changed := tree.git(root, "status", "--porcelain", "--untracked-files=no"):
        yield f"the tree has changes that are not committed: {', '.join(line[3:] for line in changed[:3])}"


def _urls(root: Path) -> Iterator[str]:
    urls = tree.project(root).get("urls", {})
    for name in _URLS:
        if name not in urls:
            yield f"pyproject.toml: [project.urls] has no {name}"
    for name, url in urls.items():
        if not url.startswith("https://") or _PLACEHOLDER.search(url):
            yield f"pyproject.toml: [project.urls] {name} is a placeholder: {url}"
    for page in ("README.md", "SECURITY.md"):
        for found in _UNFINISHED.finditer((root / page).read_text()):
            yield f"{page}: something is {found[0]}"


def _changelog(root: Path) -> Iterator[str]:
    version = tree.version(root)
    heading = re.search(rf"^## {re.escape(version)} \((.*)\)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    if heading is None:
        yield f"CHANGELOG.md: no heading `## {version} (date)`"
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", heading[1]):
        yield f"CHANGELOG.md: the date of {version} is no date: {heading[1]}"


def _version(root: Path) -> Iterator[str]:
    version = tree.version(root)
    if not _RELEASED.fullmatch(version):
        yield f"predlog/__init__.py: {version} is no version to release"
    for tag in tree.git(root, "tag", "--list", version, f"v{version}"):
        yield f"predlog/__init__.py: {version} is released already: there is a tag {tag}"
