#!/usr/bin/env python3
"""Whether a built book is whole: every link and every file that its pages load is in it, and so is every heading.

usage: .ci/check-book.py FOLDER
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page has and where it leads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.update(given[name] for name in ("id", "name") if name in given)
        self.targets.extend(given[name] for name in ("href", "src") if name in given)


def faults(folder: Path) -> list[str]:
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        # It is shown for addresses of any depth.
        if path.name == "404.html":
            continue
        for target in page.targets:
            link = urlsplit(target)
            if link.scheme or link.netloc:
                continue
            to = (path.parent / unquote(link.path)).resolve() if link.path else path
            at = f"{path.relative_to(folder)}: {target}"
            if not to.is_relative_to(folder) or not to.is_file():
                found.append(f"{at}: no such file")
            elif link.fragment and to in pages and unquote(link.fragment) not in pages[to].ids:
                found.append(f"{at}: no such heading")
    if not any(path.name == "index.html" for path in pages):
        found.append(f"{folder}: no book")
    return found


if __name__ == "__main__":
    said = faults(Path(sys.argv[1]).resolve())
    print("\n".join(said) or "every link of the book leads somewhere")
    sys.exit(1 if said else 0)
