"""Where a process stands among those of its run, by what its launcher says; what several processes cannot do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sunfish.cli import main
from sunfish.config import TrainingConfig
from sunfish.signals import Interrupted
from sunfish.training import ranks
from sunfish.training.parallel import rows_of_a_part
from sunfish.training.ranks import LOST, RankLost, Ranks, _meet, meeting_place
from sunfish.utils import Stderr, UsageError

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "16", "SLURM_LOCALID": "2"}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, Ranks(0, 1, 0)),
        (TORCHRUN, Ranks(5, 8, 1)),
        (SLURM, Ranks(3, 16, 2)),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "4"}, Ranks(3, 4, 2)),  # a step of a larger allocation
        (SLURM | TORCHRUN, Ranks(5, 8, 1)),  # torchrun in a SLURM job
        ({"SLURM_NTASKS": "16"}, Ranks(0, 1, 0)),
    ],
)
def test_the_launcher_gives_the_place(environment: dict[str, str], place: Ranks) -> None:
    assert Ranks.launched(environment) == place
    assert place.is_main == (place.rank == 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"RANK": "first"}, "RANK is 'first', but it is the number of a process"),
        ({"RANK": "8"}, "RANK is 8, but WORLD_SIZE is 8; ranks count from 0"),
    ],
)
def test_a_place_that_cannot_be_is_refused(changed: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Ranks.launched(TORCHRUN | changed)


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"MASTER_ADDR": "head", "MASTER_PORT": "29500"}, ("head", "29500")),
        ({"SLURM_JOB_NODELIST": "gpu[07-09,12]", "SLURM_JOB_ID": "15003"}, ("gpu07", "15003")),
        ({"SLURM_JOB_NODELIST": "alone,other", "SLURM_JOB_ID": "7"}, ("alone", "15007")),
    ],
)
def test_processes_meet_at_one_address(environment: dict[str, str], place: tuple[str, str]) -> None:
    assert meeting_place(environment) == place


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "7"},
        {"SLURM_JOB_NODELIST": "alone"},
        {"SLURM_JOB_NODELIST": "alone", "SLURM_JOB_ID": "x"},
        {"MASTER_ADDR": "head"},
        {"MASTER_PORT": "1"},
    ],
)
def test_without_an_address_nobody_meets(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="MASTER_ADDR and MASTER_PORT are not set"):
        meeting_place(environment)


def test_more_processes_than_gpus_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError) as error:
        _meet(Ranks(5, 8, 2))
    assert str(error.value) == (
        "rank 5 is number 2 on its machine, which has 2 GPUs; start one process for each GPU"
    )


def test_alone_there_is_nobody_to_ask() -> None:
    ranks = Ranks.current()
    assert ranks == Ranks() and ranks.maximum(2.0, -1.0) == [2.0, -1.0] and ranks.of_main(3.5) == 3.5
    with ranks.main_first():
        ranks.wait()


def test_texts_are_shared_equally_or_not_at_all() -> None:
    training = replace(TrainingConfig(), batch_size=24, gradient_accumulation=2)
    assert rows_of_a_part(training, 4) == 3
    with pytest.raises(
        UsageError,
        match=r"^batch_size is 24, which 5 processes x gradient_accumulation 2 .* a multiple of 10$",
    ):
        rows_of_a_part(training, 5)
    with pytest.raises(UsageError, match="a copy of a teacher is trained whole"):
        rows_of_a_part(replace(training, teacher="some.ckpt"), 1)


def test_distillation_is_refused_to_several_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert main(["distill-guidance", "any.ckpt"]) == 2
    assert "trains in one process, but 8 were started" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "is_lost"),
    [
        ("[/pytorch/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:7317", True),
        ("Timed out waiting 1800000ms for recv operation to complete", True),
        ("NCCL communicator was aborted on rank 1.", True),
        ("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)", False),
    ],
)
def test_errors_of_a_lost_process_are_told_from_others(message: str, is_lost: bool) -> None:
    assert bool(LOST.search(message)) == is_lost


@pytest.mark.parametrize(
    ("first", "second"),
    [(RuntimeError("Connection closed by peer [127.0.0.1]:7317"), Interrupted(15)), (Interrupted(15), None)],
)
def test_a_signal_does_not_hide_that_a_process_is_lost(
    monkeypatch: pytest.MonkeyPatch, first: BaseException, second: BaseException | None
) -> None:
    """torchrun sends SIGTERM to those that have lost one, while their error is on its way."""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    parted = []
    monkeypatch.setattr(ranks, "_meet", lambda ranks: None)
    monkeypatch.setattr(ranks, "_part", lambda: parted.append(True))
    monkeypatch.setattr(Stderr, "silent", False)
    monkeypatch.setattr(Stderr, "speaker", "")
    with pytest.raises(RankLost if second else Interrupted), ranks.joined():
        try:
            raise first
        finally:
            if second is not None:
                raise second
    assert bool(parted) == (second is None)
    assert Stderr.speaker == ("rank 5: " if second else "")
