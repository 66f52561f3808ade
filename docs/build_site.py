"""Builds the site of these pages, and refuses it where a link is broken or a page fetches from elsewhere.

SUNFISH_EXTRAS=docs ./run.sh docs/build_site.py          writes build/site; open build/site/index.html
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "build" / "site"
# What a browser fetches without being asked; links that a reader follows are not among it.
FETCHED = {
    **dict.fromkeys(
        ("script", "img", "iframe", "source", "video", "audio", "embed", "track", "input"), "src"
    ),
    "link": "href",
    "image": "href",
    "use": "href",
    "object": "data",
}
OUTSIDE = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", re.I)
IN_STYLES = re.compile(r"(?:url\(|@import(?!\s*url))\s*[\"']?([^\"')\s;]+)", re.I)


class Page(HTMLParser):
    """What one page has a browser fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self._in_style = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses of one element."""
        values = {name.removeprefix("xlink:"): value or "" for name, value in attrs}
        names = [FETCHED[tag]] if tag in FETCHED else []
        self.addresses += [values[name] for name in (*names, "poster") if name in values]
        self.addresses += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]
        self.addresses += IN_STYLES.findall(values.get("style", ""))
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        """A style sheet ends with its element."""
        self._in_style = False

    def handle_data(self, data: str) -> None:
        """Note the addresses in a style sheet of the page."""
        if self._in_style:
            self.addresses += IN_STYLES.findall(data)


def outside_addresses(site: Path) -> Iterator[str]:
    """Each script, font, style and image that a page or a style sheet of ``site`` fetches from elsewhere."""
    for path in sorted(site.rglob("*")):
        if path.suffix not in (".html", ".css", ".svg"):
            continue
        text = path.read_text(encoding="utf-8")
        addresses = IN_STYLES.findall(text) if path.suffix == ".css" else Page(text).addresses
        yield from (f"{path.relative_to(site)}: {a}" for a in addresses if OUTSIDE.match(a))


def build(root: Path, site: Path) -> int:
    """Build the pages below ``root`` into ``site``; returns an exit code, 1 for any warning of Sphinx."""
    words = ["-b", "html", "-c", str(ROOT / "docs"), "--fail-on-warning", "--keep-going", "--quiet"]
    if code := subprocess.run([sys.executable, "-m", "sphinx", *words, str(root), str(site)]).returncode:
        return code
    outside = list(outside_addresses(site))
    for line in outside:
        print(f"error: a reader would fetch from elsewhere: {line}", file=sys.stderr)
    return int(bool(outside))


def main() -> int:
    """Build the site of this project, and say where it is."""
    code = build(ROOT, SITE)
    if code == 0:
        print(f"written to {SITE.relative_to(ROOT)}: {len(list(SITE.rglob('*.html')))} pages")
    return code


if __name__ == "__main__":
    sys.exit(main())
