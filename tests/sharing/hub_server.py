"""A small hub on this machine: repositories in memory, the protocol of the Hugging Face hub, and faults on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants

TOKEN = "hf_token_of_user"
LFS = (".safetensors", ".bin", ".pt", ".parquet")  # what the hub keeps beside git
MODEL = r"/api/(?:models/)?(?P<name>(?:datasets/)?[^/]+/[^/]+)"  # a data set is datasets/USER/NAME everywhere

Files = dict[str, bytes]


@dataclass
class Repository:
    """Every commit of one repository, and the branches that name some."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files, branch: str = "main") -> str:
        """Let ``files`` be the content of a branch; returns the commit."""
        hashes = sorted((path, _sha256(content)) for path, content in files.items())
        sha = hashlib.sha1(f"{len(self.commits)}{hashes}".encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        """The commit of a branch, or of its own name."""
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> Files:
        """The content at a revision."""
        return self.commits[self.branches.get(revision, revision)]


class Fault(NamedTuple):
    """What happens instead of an answer."""

    pattern: str  # of "METHOD /path"
    status: int  # 0: the body is changed
    headers: dict[str, str]
    body: Callable[[bytes], bytes]  # what is sent after the headers of the right body
    left: list[None]  # one for each time


class Hub:
    """The state of the server. ``requests`` are the lines "METHOD /path" that it got."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: Files = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self.url = ""

    def fail(
        self,
        pattern: str,
        status: int = 0,
        headers: dict[str, str] | None = None,
        body: Callable[[bytes], bytes] = bytes,
        times: int = 1000,
    ) -> None:
        """Let the next requests whose line matches ``pattern`` go wrong."""
        self.faults.append(Fault(pattern, status, headers or {}, body, [None] * times))

    def add(self, name: str, files: Files, **options: Any) -> str:
        """A repository with one more commit."""
        repository = self.repositories.setdefault(name, Repository(**options))
        self.objects.update({_sha256(content): content for content in files.values()})
        return repository.commit(files)

    def fault(self, line: str) -> Fault | None:
        """The fault that a request meets, if any."""
        with self.lock:
            self.requests.append(line)
            for fault in self.faults:
                if fault.left and re.search(fault.pattern, line):
                    fault.left.pop()
                    return fault
        return None


class Handler(BaseHTTPRequestHandler):
    """One connection. Routes are methods by the pattern of the request's line."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits until the client has confirmed the headers, 40 ms
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def handle_any(self) -> None:
        """Answer one request."""
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        line = f"{self.command} {unquote(parts.path)}"
        self.change = self.hub.fault(line)
        if self.change is not None and self.change.status:
            return self.answer(self.change.status, {"error": "a fault"}, self.change.headers)
        for pattern, route in ROUTES:
            if match := re.fullmatch(pattern, line):
                return route(self, **match.groupdict())
        return self.answer(404, {"error": "no such page"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def answer(self, status: int, content: Any = b"", headers: dict[str, str] | None = None) -> None:
        """Send bytes, or JSON; a fault of the body is what arrives after the headers of the right one."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        sent = self.change.body(body) if self.change is not None else body
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)
        if len(sent) < len(body):
            self.close_connection = True

    def refuse(self, status: int, code: str) -> None:
        """An error as the hub words it."""
        self.answer(status, {"error": code}, {"X-Error-Code": code})

    @property
    def is_user(self) -> bool:
        """Whether the request has the token of the user."""
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def opened(self, name: str) -> Repository | None:
        """The repository if this request may read it; answers with the error where it may not."""
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self.is_user):
            self.refuse(404 if self.is_user else 401, "RepoNotFound")
            return None
        return repository

    def create(self) -> None:
        """POST /api/repos/create"""
        wanted = json.loads(self.content)
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self.is_user:
            return self.refuse(401, "Unauthorized")
        if name in self.hub.repositories:
            return self.answer(409, {"error": "exists", "url": f"{self.hub.url}/{name}"})
        private = wanted.get("private") or wanted.get("visibility") == "private"
        self.hub.repositories[name] = Repository(private=bool(private))
        self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"})
        return self.answer(200, {"url": f"{self.hub.url}/{name}"})

    def info(self, name: str, revision: str | None = None) -> None:
        """GET /api/models/USER/NAME[/revision/REVISION]"""
        repository = self.opened(name)
        if repository is None:
            return None
        commit = repository.resolve(revision or "main")
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        files = repository.files(commit)
        siblings = [{"rfilename": path, "size": len(content)} for path, content in files.items()]
        return self.answer(
            200,
            {
                "id": name.removeprefix("datasets/"),
                "sha": commit,
                "private": repository.private,
                "siblings": siblings,
            },
        )

    def tree(self, name: str, revision: str, folder: str | None = None) -> None:
        """GET /api/models/USER/NAME/tree/REVISION[/FOLDER]"""
        repository = self.opened(name)
        if repository is None:
            return None
        prefix = f"{folder}/" if folder else ""
        inside = {p: c for p, c in repository.files(revision).items() if p.startswith(prefix)}
        if not inside:
            return self.refuse(404, "EntryNotFound")
        if self.query.get("recursive", ["false"])[0].lower() == "true":
            return self.answer(200, [_entry(p, c) for p, c in inside.items()])
        deeper = {
            prefix + p.removeprefix(prefix).partition("/")[0] for p in inside if "/" in p.removeprefix(prefix)
        }
        files = [_entry(p, c) for p, c in inside.items() if "/" not in p.removeprefix(prefix)]
        return self.answer(
            200, [*files, *({"type": "directory", "path": p, "oid": _oid(b"")} for p in deeper)]
        )

    def paths_info(self, name: str, revision: str) -> None:
        """POST /api/datasets/USER/NAME/paths-info/REVISION"""
        repository = self.opened(name)
        if repository is not None:
            files = repository.files(revision)
            paths = parse_qs(self.content.decode())["paths"]
            self.answer(200, [_entry(path, files[path]) for path in paths if path in files])

    def branch(self, name: str, revision: str) -> None:
        """POST /api/models/USER/NAME/branch/NAME"""
        repository = self.opened(name)
        if repository is not None:
            known = revision in repository.branches
            repository.branches.setdefault(revision, repository.branches["main"])
            self.answer(409 if known else 200, {})

    def validate(self) -> None:
        """POST /api/validate-yaml"""
        self.answer(200, {"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        """POST /api/models/USER/NAME/preupload/REVISION: which files go beside git."""
        del revision
        if self.opened(name) is None:
            return
        paths = [file["path"] for file in json.loads(self.content)["files"]]
        modes = [
            {"path": p, "uploadMode": "lfs" if p.endswith(LFS) else "regular", "shouldIgnore": False}
            for p in paths
        ]
        self.answer(200, {"files": modes})

    def batch(self, name: str) -> None:
        """POST /USER/NAME.git/info/lfs/objects/batch: where the large files go."""
        objects = json.loads(self.content)["objects"]
        for entry in objects:
            if entry["oid"] not in self.hub.objects:
                entry["actions"] = {
                    "upload": {"href": f"{self.hub.url}/lfs/{entry['oid']}"},
                    "verify": {"href": f"{self.hub.url}/{name}/verify"},
                }
        self.answer(200, {"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> None:
        """PUT /lfs/OID"""
        if _sha256(self.content) != oid:
            return self.answer(400, {"error": "the hash differs"})
        self.hub.objects[oid] = self.content
        return self.answer(200)

    def verify(self, name: str) -> None:
        """POST /USER/NAME/verify"""
        del name
        entry = json.loads(self.content)
        right = len(self.hub.objects.get(entry["oid"], b"")) == entry["size"]
        self.answer(200 if right else 404, {})

    def commit(self, name: str, revision: str) -> None:
        """POST /api/models/USER/NAME/commit/REVISION"""
        repository = self.opened(name)
        if repository is None:
            return None
        if not self.is_user:
            return self.refuse(403, "Forbidden")
        files = dict(repository.files(revision))
        for line in self.content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        sha = repository.commit(files, revision)
        return self.answer(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha})

    def resolve(self, name: str, revision: str, path: str) -> None:
        """GET and HEAD /USER/NAME/resolve/REVISION/PATH"""
        repository = self.opened(name)
        if repository is None:
            return None
        if repository.gated and not self.is_user:
            return self.refuse(403, "GatedRepo")
        commit = repository.resolve(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        content = repository.files(commit).get(path)
        if content is None:
            return self.refuse(404, "EntryNotFound")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_oid(content)}"', "Accept-Ranges": "bytes"}
        if path.endswith(LFS):
            headers["X-Linked-Etag"] = f'"{_sha256(content)}"'
            headers["X-Linked-Size"] = str(len(content))
            elsewhere = self.hub.url.replace("127.0.0.1", "localhost")  # another host, as the real one
            headers["Location"] = f"{elsewhere}/cdn/{_sha256(content)}"
            return self.answer(302, b"", headers)
        return self.ranged(content, headers)

    def cdn(self, oid: str) -> None:
        """GET /cdn/OID; whoever shows the token to another host is turned away."""
        if "Authorization" in self.headers:
            return self.answer(400, {"error": "two ways to sign"})
        return self.ranged(self.hub.objects[oid], {"Accept-Ranges": "bytes"})

    def ranged(self, content: bytes, headers: dict[str, str]) -> None:
        """The content, or the range of it that is asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            return self.answer(200, content, headers)
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if first > last:
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self.answer(206, content[first : last + 1], headers)


ROUTES: list[tuple[str, Callable[..., None]]] = [
    ("POST /api/repos/create", Handler.create),
    ("POST /api/validate-yaml", Handler.validate),
    (f"GET {MODEL}", Handler.info),
    (f"GET {MODEL}/revision/(?P<revision>.+)", Handler.info),
    (f"GET {MODEL}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", Handler.tree),
    (f"POST {MODEL}/paths-info/(?P<revision>[^/]+)", Handler.paths_info),
    (f"POST {MODEL}/branch/(?P<revision>.+)", Handler.branch),
    (f"POST {MODEL}/preupload/(?P<revision>.+)", Handler.preupload),
    (f"POST {MODEL}/commit/(?P<revision>.+)", Handler.commit),
    (r"POST /(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", Handler.batch),
    (r"POST /(?P<name>[^/]+/[^/]+)/verify", Handler.verify),
    (r"PUT /lfs/(?P<oid>\w+)", Handler.put),
    (r"GET /cdn/(?P<oid>\w+)", Handler.cdn),
    (
        r"(?:GET|HEAD) /(?P<name>(?:datasets/)?[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
        Handler.resolve,
    ),
]


class Server(ThreadingHTTPServer):
    """Says nothing of a client that has left."""

    def handle_error(self, *request: Any) -> None:
        """See :meth:`socketserver.BaseServer.handle_error`."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*request)


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub at a free port of this machine, until the end of the block."""
    hub = Hub()
    server = Server(("127.0.0.1", 0), type("HandlerOfHub", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def connected(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[Hub]:
    """A hub that the client asks with the token of its user, a cache in ``folder``, and no pauses between tries."""
    with serving() as server:
        patch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_URL_HOSTS", frozenset({"127.0.0.1"}))
        patch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setenv("HF_TOKEN", TOKEN)
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(folder))  # reading the certificates takes longer than most requests
        patch.setattr(time, "sleep", lambda seconds: None)
        patch.chdir(folder)
        yield server


def _entry(path: str, content: bytes) -> dict[str, Any]:
    """A file as a listing has it."""
    entry = {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
    if path.endswith(LFS):
        entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 130}
    return entry


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _oid(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
