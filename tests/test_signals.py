"""Signals: one line and 128 + n from every command, no debris; what nohup ignores stays ignored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sunfish import cli
from sunfish.cli import COMMANDS, main
from sunfish.data.prepare import prepare as preparation
from sunfish.data.prepare.derived_prompts import PromptDeriver
from sunfish.data.prepare.encode import DocumentEncoder
from sunfish.signals import STOPPING, Interrupted, handled, interrupt
from sunfish.tokenizers import build_tokenizer
from tests.conftest import ROOT, TINY


def send(signum: int) -> None:
    """The signal to this process, once something handles it."""
    assert callable(signal.getsignal(signum)), "it would end the tests"
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", STOPPING)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_ends_in_one_line(
    name: str, signum: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(s) for s in STOPPING]
    monkeypatch.setattr(COMMANDS[name], "run", lambda _: send(signum))
    needed = {
        "infill": ["--text", "A [MASK]."],
        "distill-guidance": ["x"],
        "export": ["x", "y"],
        "bench": ["sample", "x"],
        "push": ["x", "user/x"],
        "pull": ["user/x"],
    }
    assert main([name, *needed.get(name, [])]) == 128 + signum
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"stopped by {signum.name}\n")
    assert [signal.getsignal(s) for s in STOPPING] == before


@pytest.mark.parametrize("signum", STOPPING)
@pytest.mark.parametrize("moment", ["learn_encoder", "_write_split", "write_manifest"])
def test_a_signal_in_the_preparation_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signum: signal.Signals,
    moment: str,
) -> None:
    monkeypatch.setattr(preparation, "_write_split", lambda writer, *_: writer.finish())
    monkeypatch.setattr(preparation, moment, lambda *_: send(signum))
    monkeypatch.setattr(preparation.TextTokenizer, "save", lambda *_: None)
    if moment != "learn_encoder":
        monkeypatch.setattr(preparation, "learn_encoder", lambda *_: preparation_encoder())
    folders = ["--data_folder", str(tmp_path / "data"), "--checkpoints", str(tmp_path / "ck")]
    assert main(["train", *TINY, "--max_steps", "1", *folders]) == 128 + signum
    assert capsys.readouterr().err.endswith(f"stopped by {signum.name}\n")
    assert not any((tmp_path / "data").iterdir()) and not (tmp_path / "ck").exists()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_ends_the_workers_too(tmp_path: Path, signum: signal.Signals) -> None:
    """As a terminal that closes and ``timeout`` send it."""
    words = ["data", "--config", "nano", "--stories", "40000", "--data_folder", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "sunfish", *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )
    assert process.stderr is not None and process.stderr.readline()
    os.killpg(process.pid, signum)
    _, err = process.communicate(timeout=60)  # which waits for the workers' ends of the pipe as well
    assert process.returncode == 128 + signum and "Traceback" not in err
    assert err.endswith(f"stopped by {signum.name}\n") and not any(tmp_path.iterdir())


def preparation_encoder() -> DocumentEncoder:
    tokenizer = build_tokenizer("bytes", 400, [])
    return DocumentEncoder(tokenizer, tokenizer, PromptDeriver(0, {}), 32, 8)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handled(interrupt) as is_handled:
            assert is_handled and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_job_in_the_background_takes_sigint() -> None:
    """Shells start those with SIGINT ignored, which nobody meant for ``kill -INT``."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(Interrupted), handled(interrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_python_cannot_restore_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    real, replaced = signal.signal, []
    known = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda s: None if s == signal.SIGUSR1 else known(s))
    monkeypatch.setattr(signal, "signal", lambda s, handler: replaced.append(s) or real(s, handler))
    with handled(interrupt) as is_handled:
        assert is_handled
    assert set(replaced) == set(STOPPING) - {signal.SIGUSR1}


def test_a_thread_that_is_not_the_main_one_runs_commands(capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["train", *TINY, "--print-config"])))
    thread.start()
    thread.join()
    assert codes == [0] and capsys.readouterr().err == ""


def test_an_interrupt_from_python_is_sigint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.sizes, "run", run)
    assert main(["sizes"]) == 130 and capsys.readouterr().err == "stopped by SIGINT\n"


@pytest.mark.slow
@pytest.mark.parametrize("redirected", ["2>&1 | head -n 1", "<&- >&- 2>&-"])
def test_a_run_whose_log_nobody_reads_is_saved(tmp_path: Path, redirected: str) -> None:
    """A real shell: a reader that leaves ends the run with a checkpoint, closed streams end nothing."""
    words = [*TINY, "--name", "run", "--max_steps", "3", "--set", "training.log_every=1"]
    folders = ["--data_folder", str(tmp_path / "data"), "--checkpoints", str(tmp_path / "ck")]
    command = " ".join([sys.executable, "-m", "sunfish", "train", *words, *folders])
    done = subprocess.run(
        ["bash", "-c", f"{command} {redirected}; echo ${{PIPESTATUS[0]}} > {tmp_path}/code"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr + done.stdout
    metrics = (tmp_path / "ck/run/metrics.jsonl").read_text()
    has_left = "head" in redirected
    assert (tmp_path / "code").read_text().strip() == ("141" if has_left else "0")
    assert ("stopped by SIGPIPE (nobody reads the log)" in metrics) == has_left
    assert (tmp_path / "ck/run/last.ckpt/model.safetensors").is_file()


@pytest.mark.parametrize("signum", STOPPING)
def test_an_interruption_says_its_signal_unless_it_has_words(signum: signal.Signals) -> None:
    with pytest.raises(Interrupted) as caught:
        interrupt(signum, None)
    assert (caught.value.signum, str(caught.value)) == (signum, f"stopped by {signum.name}")
    spoken = Interrupted(signum, "saved")
    assert (spoken.signum, str(spoken)) == (signum, "saved")


def test_handlers_are_there_within_and_come_back_after(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[int] = []
    before = {signum: signal.getsignal(signum) for signum in STOPPING}
    with pytest.raises(KeyError), handled(lambda signum, _: received.append(signum)) as installed:
        assert installed is True
        for signum in STOPPING:
            send(signum)
        raise KeyError
    assert received == list(STOPPING)
    assert {signum: signal.getsignal(signum) for signum in STOPPING} == before
