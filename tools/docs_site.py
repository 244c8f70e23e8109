#!/usr/bin/env python3
"""Builds the documents as a site, below build/site: `make docs`.

The site is README, CONTRIBUTING, CHANGELOG and all of docs/. Documents are written to be read in the repository, so
their links are relative to it. build/docs has copies of them, in which links to documents are links of the site, and
links to other files lead to copies of those files. Zensical makes HTML of it, with the settings in zensical.toml, and
fails if a link or an anchor does not exist. Mermaid, which draws in the browser, is part of the site: argument 1 is its
package of npm.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "build" / "docs"
# Documents outside of docs/, and what they are on the site.
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")


def main(mermaid: str) -> int:
    """Writes build/docs and build/site. Returns the exit status of Zensical."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    for document in [*PAGES, *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]:
        text = (ROOT / document).read_text()
        (SOURCE / _place(document)).write_text(_LINK.sub(_link_on_site(document), text))
    with tarfile.open(mermaid) as package, (SOURCE / "mermaid.min.js").open("wb") as script:
        shutil.copyfileobj(package.extractfile("package/dist/mermaid.min.js"), script)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(ROOT / "zensical.toml")]
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603 (our own arguments)


def _place(document: str) -> str:
    return PAGES.get(document, document.removeprefix("docs/"))


def _link_on_site(document: str) -> Callable[[re.Match[str]], str]:
    def on_site(found: re.Match[str]) -> str:
        is_picture, text, link = found.groups()
        path, fragment = urlsplit(link).path, urlsplit(link).fragment
        target = posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
        if not (ROOT / target).exists():
            sys.exit(f"{document}: there is no {target}, to which it links")
        if (ROOT / target).is_dir():  # the site has no listings
            return text
        is_page = target in PAGES or (target.startswith("docs/") and target.endswith(".md"))
        place = _place(target) if is_page else _copied(target, as_text=not is_picture)
        return f"{is_picture}[{text}]({place}#{fragment})" if fragment else f"{is_picture}[{text}]({place})"

    return on_site


def _copied(target: str, *, as_text: bool) -> str:
    """A copy of a file. As text, since a browser saves what it does not know, and Markdown would become a page."""
    place = f"files/{target}{'.txt' if as_text else ''}"
    copy = SOURCE / place
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / target, copy)
    return place


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
