"""sunfish serve: each flag arrives, wrong use is refused before the model is loaded, a signal lets answers finish."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import sunfish.serving.server as server_module
import sunfish.serving.service as service_module
from sunfish.cli import main
from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.limits import Limits
from tests.settings.words import flags
from tests.tiny_checkpoint import write_checkpoint

Patch = pytest.MonkeyPatch
Record = dict[str, Any]
TOKEN = "abcdefghij0123456789"
FLAGS: dict[str, tuple[list[str], Record]] = {
    "host": (["--host", "localhost"], {"host": "localhost"}),
    "port": (["--port", "9"], {"port": 9}),
    "token_file": (["--token-file", "token"], {"token": TOKEN}),
    "max_running": (["--max-running", "3"], {"max_running": 3}),
    "max_waiting": (["--max-waiting", "0"], {"max_waiting": 0}),
    "timeout": (["--timeout", "2.5"], {"limits": Limits(seconds=2.5)}),
    "run_folder": (["--run", "other/run"], {"run": Path("other/run")}),
    "device": (["--device", "cuda:1"], {"device": "cuda:1"}),
    "precision": (["--precision", "int8"], {"precision": "int8"}),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("serve") / "step-0000000")


@pytest.fixture
def asked(monkeypatch: Patch, tmp_path: Path) -> Record:
    """What a server is made of, in place of one."""
    record: Record = {}

    def load(path: Path, device: str, precision: str, compile: bool) -> str:
        record.update(path=path, device=device, precision=precision, compile=compile)
        return "pipeline"

    def open_socket(host: str, port: int) -> Any:
        record.update(host=host, port=port)
        return open(os.devnull)

    monkeypatch.setattr(Pipeline, "from_checkpoint", load)
    monkeypatch.setattr("sunfish.hardware.device.choose_device", lambda name: name)
    monkeypatch.setattr(server_module, "open_socket", open_socket)
    monkeypatch.setattr(server_module, "run_server", lambda service, _: record.update(served=service))
    monkeypatch.setattr(
        service_module, "Service", lambda *args, **options: record.update(args=args, **options) or "service"
    )
    monkeypatch.delenv("SUNFISH_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    return record


def base(checkpoint: Path) -> Record:
    """Without flags."""
    load = {"path": checkpoint, "device": "auto", "precision": "float32", "compile": False}
    listen = {"host": "127.0.0.1", "port": 8000, "served": "service"}
    limits = {"limits": Limits(), "max_running": 16, "max_waiting": 64, "token": None}
    limits["run"] = checkpoint.parent
    return {**load, **listen, **limits, "args": ("pipeline", "nano")}


def test_no_flag_is_left_out() -> None:
    assert set(FLAGS) | {"checkpoint"} == flags("serve")


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag(name: str, asked: Record, checkpoint: Path) -> None:
    words, change = FLAGS[name]
    assert main(["serve", str(checkpoint), *words]) == 0
    assert asked == base(checkpoint) | change


def test_a_token_from_the_environment(asked: Record, checkpoint: Path, monkeypatch: Patch) -> None:
    """Which a file takes precedence over; with one, other machines are answered."""
    monkeypatch.setenv("SUNFISH_TOKEN", "from-the-environment")
    assert main(["serve", str(checkpoint), "--host", "0.0.0.0"]) == 0
    assert asked == base(checkpoint) | {"token": "from-the-environment", "host": "0.0.0.0"}
    assert main(["serve", str(checkpoint), "--token-file", "token"]) == 0
    assert asked["token"] == TOKEN


@pytest.mark.parametrize(
    "words,message",
    [
        (["--host", "0.0.0.0"], "host is '0.0.0.0', which other machines reach; give a token"),
        (["--port", "65536"], "port is 65536, but it must be at most 65,535"),
        (["--port", "-1"], "port is -1"),
        (["--max-running", "0"], "max_running is 0"),
        (["--max-waiting", "-1"], "max_waiting is -1"),
        (["--timeout", "0.5"], "timeout is 0.5, but it must be at least 1"),
        (["--token-file", "absent"], "--token-file 'absent': there is no such file"),
        (["--token-file", ""], "--token-file is empty: give a path"),
    ],
)
def test_wrong_use(
    words: list[str], message: str, asked: Record, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(checkpoint), *words]) in (1, 2)
    assert message in capsys.readouterr().err and "path" not in asked


def test_a_missing_package_names_its_extra(
    monkeypatch: Patch, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("sunfish.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve", str(checkpoint)]) == 1
    line = capsys.readouterr().err
    assert "serve needs fastapi; install it with: ./run.sh -m pip install -e '.[serve]'" in line


class Ask(threading.Thread):
    """A request, and its answer."""

    def __init__(self, url: str, body: Record) -> None:
        super().__init__()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        self.request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        self.answer: Record | None = None

    def run(self) -> None:
        """Wait for the answer."""
        with urllib.request.urlopen(self.request, timeout=60) as response:
            self.answer = json.load(response)


@pytest.mark.slow
def test_a_signal_lets_answers_finish(checkpoint: Path) -> None:
    """The program says where it listens, and ends with the signal's code once all texts are written."""
    words = [sys.executable, "-m", "sunfish", "serve", str(checkpoint), "--port", "0", "--max-running", "2"]
    environment = {**os.environ, "SUNFISH_TOKEN": TOKEN}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(r"serving nano at (http://127\.0\.0\.1:\d+/v1); stop with Ctrl\+C\n", line)
        assert found is not None, line
        ask = Ask(f"{found[1]}/completions", {"prompt": "Write about dogs", "n": 40, "seed": 1})
        ask.start()
        deadline = time.monotonic() + 30
        while 'sunfish_jobs{state="running"} 0.0' in _metrics(found[1]) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        ask.join(60)
        assert ask.answer is not None and len(ask.answer["choices"]) == 40
        assert process.wait(30) == 128 + signal.SIGTERM
        assert process.stderr.read() == "stopped by SIGTERM\n"


def _metrics(url: str) -> str:
    request = urllib.request.Request(
        url.replace("/v1", "/metrics"), headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return str(response.read().decode())
