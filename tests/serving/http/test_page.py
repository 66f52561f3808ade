"""The requests and the program of docs/serving.md, against a server of a tiny model."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.limits import Limits
from sunfish.serving.schemas import TextRequest
from sunfish.serving.server import check_token, open_socket, server_of
from sunfish.serving.service import Service
from tests.conftest import ROOT
from tests.tiny_checkpoint import write_checkpoint

PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
BLOCKS = dict.fromkeys(
    line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines()
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pipeline = Pipeline.from_checkpoint(write_checkpoint(tmp_path_factory.mktemp("page") / "step-0000000"))
    with open_socket("127.0.0.1", 0) as listener:
        server = server_of(Service(pipeline, "small"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("command", [line for line in BLOCKS if line.startswith("curl")])
def test_a_request_of_the_page(address: str, command: str) -> None:
    words = shlex.split(command)
    body = words[words.index("-d") + 1]
    headers = dict([words[words.index("-H") + 1].split(": ")])
    request = urllib.request.Request(words[1].replace(ADDRESS, address), body.encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        choices = json.load(response)["choices"]
    assert len(choices) == json.loads(body).get("n", 1) and all(choice["text"] for choice in choices)


def test_the_program_of_the_page(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert ADDRESS in program
    exec(compile(program.replace(ADDRESS, address), "docs/serving.md", "exec"), {})
    assert len(capsys.readouterr().out.split()) > 3


def test_the_error_of_the_page(address: str) -> None:
    (expected,) = re.findall(r"```json\n(.*?)\n```", PAGE, re.S)
    request = urllib.request.Request(
        f"{address}/v1/completions", b'{"top_p": 2}', {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=30)
    assert json.load(error.value) == json.loads(expected)


def test_the_token_of_the_page(tmp_path: Path) -> None:
    (command,) = (line for line in BLOCKS if line.startswith("python3"))
    program = shlex.split(command.partition(" > ")[0])[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert check_token(done.stdout, "it") == done.stdout.strip()


def test_the_page_names_every_field_of_a_text_and_every_limit() -> None:
    named = set(re.findall(r"[a-z_]+", PAGE))
    assert set(TextRequest.model_fields) <= named
    limits = Limits()
    shown = [
        limits.texts,
        limits.tokens,
        limits.gaps,
        limits.particles,
        limits.steps,
        limits.stops,
        limits.prompts,
    ]
    assert all(f"{number:,} " in PAGE for number in shown)
    assert f"within {limits.body_seconds:g} seconds" in PAGE and limits.body_bytes == 2**20
    assert f"arrive within {limits.head_seconds:g} seconds" in PAGE
    assert f"nothing for {limits.unread_seconds:g} seconds" in PAGE
    assert {field.name for field in fields(Limits)} == {
        *("seconds", "head_seconds", "unread_seconds", "body_bytes", "body_seconds"),
        *("texts", "tokens", "gaps", "particles", "steps", "prompts", "stops"),
    }
