"""The pages at / and /train: plain files of the package, and the headers that they go out with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "page"
PAGES = {"/": "index.html", "/train": "train.html"}
FILES = "/page"  # where all other files of the pages are
# Nothing is loaded from elsewhere, no other site shows a page in a frame, and a new version is seen at once.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class PageFiles(StaticFiles):
    """Scripts, styles and pictures."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """The file, or that it has not changed."""
        response = super().file_response(*args, **options)
        response.headers.update(HEADERS)
        return response


def is_page(path: str) -> bool:
    """Whether ``path`` is a file of a page, which says nothing of what is served."""
    return path in PAGES or path.startswith(f"{FILES}/")


def add_pages(app: FastAPI) -> None:
    """Let ``app`` answer with the pages."""
    router = APIRouter(include_in_schema=False)
    for path, name in PAGES.items():
        router.add_api_route(path, _sender(FOLDER / name), methods=["GET", "HEAD"])
    app.include_router(router)
    app.mount(FILES, PageFiles(directory=FOLDER))


def _sender(file: Path) -> Any:
    async def send() -> FileResponse:
        return FileResponse(file, headers=HEADERS)

    return send
