"""The site of the pages: what a browser would fetch from elsewhere is found, and a broken link is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.build_site import build, outside_addresses
from docs.conf import GUIDES, LISTS, PACKAGES, REST

OUTSIDE = [
    '<script src="https://cdn.example/a.js"></script>',
    '<script src="//cdn.example/a.js"></script>',
    '<link rel="stylesheet" href="HTTPS://fonts.example/css?family=A">',
    '<link rel="preconnect" href="https://fonts.example">',
    '<img src="http://badge.example/x.svg">',
    '<img src="a.png" srcset="a.png 1x, https://images.example/b.png 2x">',
    '<video poster="https://images.example/a.png"></video>',
    '<svg><image href="https://images.example/a.png"/></svg>',
    '<iframe src="https://www.example/embed"></iframe>',
    '<style>@import "https://fonts.example/a.css";</style>',
    '<style>@font-face { src: url( "//fonts.example/a.woff2" ) }</style>',
    '<svg><use xlink:href="https://images.example/a.svg#sun"/></svg>',
    '<p style="background: url(https://images.example/a.png)">x</p>',
]
INSIDE = [
    '<script src="_static/a.js"></script><script>var a = "https://a.example";</script>',
    '<a href="https://paper.example">a link that a reader follows</a>',
    "<code>&lt;img src=https://images.example/a.png&gt; url(https://a.example)</code>",
    '<img src="data:image/svg+xml,%3Csvg xmlns=\'http://www.w3.org/2000/svg\'/%3E"><svg><use href="#sun"/></svg>',
    "<style>p { background: url(_static/a.png) }</style>",
]


@pytest.mark.parametrize("html", OUTSIDE)
def test_what_comes_from_elsewhere_is_found(tmp_path: Path, html: str) -> None:
    (tmp_path / "page.html").write_text(f"<html><body>{html}</body></html>")
    (found,) = outside_addresses(tmp_path)
    assert found.startswith("page.html: ") and ".example" in found


@pytest.mark.parametrize("html", INSIDE)
def test_what_comes_with_the_site_is_let_be(tmp_path: Path, html: str) -> None:
    (tmp_path / "page.html").write_text(html)
    assert not list(outside_addresses(tmp_path))


def test_a_style_sheet_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a{src:url(b.woff)} @import url('https://fonts.example/b.css');")
    assert list(outside_addresses(tmp_path)) == ["a.css: https://fonts.example/b.css"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("links", "code"), [(["docs/model.md"], 0), (["docs/models.md", "docs/model.md#no"], 1)]
)
def test_a_broken_link_is_an_error(
    tmp_path: Path, links: list[str], code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A project of one heading a page; the first page has the links."""
    pytest.importorskip("sphinx", reason="the site needs the extra docs")
    for name in (*LISTS, *GUIDES, *PACKAGES, *REST[2:], "docs/decisions", "docs/experiments/one"):
        path = tmp_path / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"# {name}\n" + "".join(f"\n[a link]({link})\n" for link in links if name == "README")
        )
    assert build(tmp_path, tmp_path / "site") == code
    warnings = capfd.readouterr().err.splitlines()
    assert len(warnings) == (len(links) if code else 0) and (tmp_path / "site" / "index.html").is_file()
