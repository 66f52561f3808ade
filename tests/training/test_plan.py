"""Plans of runs: what is said to fit fits, texts are shared out equally, times follow from the rate."""

from __future__ import annotations

import math

import pytest
import torch

from sunfish.config import Config
from sunfish.config.presets import preset
from sunfish.model.cost import flops_per_token
from sunfish.training.communication import assumed_link, bytes_sent, step_time
from sunfish.training.plan import Cluster, fastest, largest_micro_batch, make_plan, rate_of
from sunfish.training.rank_memory import rank_memory
from sunfish.utils import GIB, UsageError

GPU, HALF = torch.device("cuda"), torch.bfloat16


def cluster(processes: int = 8, memory: float = 80.0, rate: float = 2e14) -> Cluster:
    return Cluster(processes, memory * GIB, rate, HALF, GPU)


def needed(config: Config, processes: int) -> float:
    return rank_memory(config, dtype=HALF, device=GPU, processes=processes).total


def test_the_largest_micro_batch_fits_and_one_more_does_not() -> None:
    place = cluster(8, 40.0)
    for fields in ({}, {"parallel": "fsdp"}, {"parallel": "fsdp", "activation_checkpointing": True}):
        config = preset("base", **fields)
        rows = largest_micro_batch(config, place)
        assert rows > 1
        bytes_of = [needed(config.with_fields(batch_size=8 * count), 8) for count in (rows, rows + 1)]
        assert bytes_of[0] <= place.memory < bytes_of[1]


def test_every_option_shares_the_batch_out_in_as_few_parts_as_fit() -> None:
    config, place = preset("full", batch_size=96), cluster(8, 40.0)
    options = make_plan(config, place)
    ways = [(one.config.training.parallel, one.config.training.activation_checkpointing) for one in options]
    assert ways == [("ddp", False), ("ddp", True), ("fsdp", False), ("fsdp", True)]
    parts = [one.config.training.gradient_accumulation for one in options]
    assert parts[0] > parts[1] == 1 and all(12 % count == 0 for count in parts)
    for option, count in zip(options, parts, strict=True):
        assert option.memory.total == needed(option.config, 8) <= place.memory
        fewer = [fewer for fewer in range(1, count) if 12 % fewer == 0]
        assert all(
            needed(option.config.with_fields(gradient_accumulation=n), 8) > place.memory for n in fewer
        )


def test_the_fastest_is_the_one_that_does_most_of_those_that_fit() -> None:
    options = make_plan(preset("full", batch_size=96), cluster(8, 40.0))
    best = fastest(options)
    assert best.tokens_per_second == max(one.tokens_per_second for one in options)
    unfit = [one._replace(fits=one is not best) for one in options]
    assert fastest(unfit) is not best


def test_one_process_does_what_it_was_measured_to_do() -> None:
    """Without communication and noise."""
    config = preset("base", batch_size=16)
    rate = rate_of(config, 1, 150_000.0)
    time = step_time(config, 1, config.model.context_length, rate, assumed_link(1))
    assert 16 * config.model.context_length / time.compute == pytest.approx(150_000)
    assert rate == pytest.approx(150_000 * flops_per_token(config.model), rel=0.05)  # and Muon's share
    assert time.transfer == 0


def test_more_processes_do_more_but_less_each() -> None:
    speeds = []
    for count in (1, 8, 64):
        (plain, *_) = make_plan(preset("base", batch_size=16 * count), cluster(count))
        speeds.append(plain.tokens_per_second / count)
    assert speeds == sorted(speeds, reverse=True) and speeds[2] > 0.5 * speeds[0]


def test_checkpointing_adds_a_forward_pass_of_the_blocks() -> None:
    config = preset("full", batch_size=8)
    plain, again = (
        step_time(config.with_fields(activation_checkpointing=on), 1, 2048, 1e15, assumed_link(1)).compute
        for on in (False, True)
    )
    assert (
        1.2 < again / plain < 4 / 3
    )  # of three passes it is one more, less the output layer and the optimizer


def test_accumulation_sends_sharded_weights_for_each_part() -> None:
    config = preset("base", batch_size=64)
    once, twice = (config.with_fields(gradient_accumulation=parts) for parts in (1, 2))
    assert bytes_sent(once, 4) == bytes_sent(twice, 4)
    sharded = [bytes_sent(one.with_fields(parallel="fsdp"), 4) for one in (once, twice)]
    assert 1.7 < sharded[1] / sharded[0] < 2
    assert bytes_sent(once, 2) == pytest.approx(bytes_sent(once, 10**9) / 2)


@pytest.mark.parametrize(
    ("parallel", "fields", "counted"),
    [
        ("ddp", {"n_layer": 2, "n_embd": 120, "n_head": 5, "vocab_size": 2560}, 4_131_120),
        ("fsdp", {"n_layer": 2, "n_embd": 120, "n_head": 5, "vocab_size": 2560}, 7_466_154),
        ("fsdp", {"n_layer": 4, "vocab_size": 320, "context_length": 32}, 2_975_926),
    ],
)
def test_two_processes_over_gloo_send_what_was_counted(
    parallel: str, fields: dict[str, int], counted: int
) -> None:
    """As the system counted it on their connections, a mean over steps in which every matrix had its turn."""
    config = preset("nano", parallel=parallel, batch_size=2, **fields)
    assert bytes_sent(config, 2, 4, reduce_scatters=False) == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize(
    ("name", "place", "message"),
    [
        ("base", cluster(0), "gpus is 0; give at least 1"),
        ("base", cluster(1, 0.0), "gpu_memory is 0; give the GiB of a GPU, such as 80"),
        (
            "base",
            cluster(5),
            "batch_size is 32, which 5 processes x gradient_accumulation 1 cannot share equally",
        ),
        ("full", cluster(4, 16.0), "GPUs of this size hold it with fsdp and activation checkpointing"),
        ("full", cluster(4, 3.0), "or a smaller --config: the largest size that fits is base"),
        ("full", cluster(4, 0.5), "no size fits"),
    ],
)
def test_what_cannot_be_is_refused_with_what_could(name: str, place: Cluster, message: str) -> None:
    with pytest.raises(UsageError) as error:
        make_plan(preset(name), place)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_number_of_gpus_that_is_advised_is_the_least_doubling() -> None:
    with pytest.raises(UsageError) as error:
        make_plan(preset("full"), cluster(2, 16.0))
    advised = int(str(error.value).split("; ")[1].split()[0])
    again = preset("full", parallel="fsdp", activation_checkpointing=True)
    assert math.log2(advised / 2).is_integer()
    assert needed(again.with_fields(batch_size=advised), advised) <= 16 * GIB
    assert needed(again.with_fields(batch_size=advised // 2), advised // 2) > 16 * GIB
