"""The files of the pages: what they load, the headers that they go out with, and who gets them."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.app import build_app
from sunfish.serving.pages import FOLDER
from sunfish.serving.service import Service

LOCAL = "http://localhost"
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.iterdir())}
SCRIPTS = {name: text for name, text in SOURCES.items() if name.endswith(".js")}
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


@pytest.fixture(scope="module")
def client(pipeline: Pipeline) -> TestClient:
    """Of a server with a token, which the client does not have."""
    return TestClient(build_app(Service(pipeline, "tiny", token="abcdefghij0123456789")), LOCAL)


@pytest.mark.parametrize("path", ["", "train", *(f"page/{name}" for name in SOURCES)])
def test_a_file_goes_out_to_whoever_asks_and_loads_nothing_from_elsewhere(
    client: TestClient, path: str
) -> None:
    response = client.get(f"/{path}")
    assert response.status_code == 200
    name = {"": "index.html", "train": "train.html"}.get(path, path.removeprefix("page/"))
    assert response.text == SOURCES[name]
    kind = KINDS[f".{name.rpartition('.')[2]}"]
    assert response.headers["content-type"].partition(";")[0].replace("application/", "text/") == kind
    policy = response.headers["content-security-policy"].split("; ")
    assert policy == ["default-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-cache"


def test_a_file_that_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/page/style.css")
    again = client.get("/page/style.css", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    assert "content-security-policy" in again.headers


@pytest.mark.parametrize(
    "path", ["/page/nothing.js", "/page/", "/page/../pages.py", "/page/..%2fpages.py", "/page/%2e%2e/app.py"]
)
def test_there_is_nothing_else(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code in (401, 404) and "error" in response.json()


@pytest.mark.parametrize("path", ["/v1/models", "/v1/run", "/metrics", "/openapi.json", "/pages", "/train/x"])
def test_what_a_page_shows_needs_the_token(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 401


def test_a_page_is_shown_to_this_machine_alone(pipeline: Pipeline) -> None:
    client = TestClient(build_app(Service(pipeline, "tiny")), LOCAL)
    assert client.get("/").status_code == 200
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403


def test_no_file_names_another_host() -> None:
    for name, text in SOURCES.items():
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name


def test_every_file_that_is_named_is_there_and_every_file_is_named() -> None:
    named = {"index.html", "train.html"}
    for text in SOURCES.values():
        named |= set(re.findall(r'(?:href|src)="page/([^"]+)"', text)) | set(
            re.findall(r'from "\./([^"]+)"', text)
        )
    assert named == set(SOURCES)


def test_text_is_never_html_and_the_policy_needs_no_exception() -> None:
    for name, text in SCRIPTS.items():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        ), name
    for name in ("index.html", "train.html"):
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style|<script(?![^>]*\ssrc=)", SOURCES[name]), name


def test_every_name_that_a_script_imports_is_exported() -> None:
    for name, text in SCRIPTS.items():
        for names, source in re.findall(r'import \{([^}]+)\} from "\./([^"]+)"', text):
            exported = set(
                re.findall(r"export (?:async )?(?:function\*?|class|const) (\w+)", SOURCES[source])
            )
            assert {part.strip() for part in names.split(",") if part.strip()} <= exported, (name, source)


def test_every_element_that_a_script_asks_for_is_on_its_page() -> None:
    for script, page in (("write.js", "index.html"), ("player.js", "index.html"), ("train.js", "train.html")):
        wanted = set(re.findall(r'byId\("([\w-]+)"\)', SOURCES[script]))
        assert wanted and wanted <= set(re.findall(r'id="([\w-]+)"', SOURCES[page])), script
