"""Unmasking policies: what each does with a StepInfo, how they are found, which process has which."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

import sunfish
from sunfish.config import ProcessConfig
from sunfish.processes import build_process, process_builders
from sunfish.processes.schedules import time_grid
from sunfish.rng import RowGenerators, make_generator
from sunfish.sampling.unmasking import get_policy, policies_for, policy_families
from sunfish.sampling.unmasking.base import plain, scheduled_count, top_k_by
from sunfish.types import StepInfo, UnmaskingPolicy
from sunfish.utils import UsageError

V = 4
PROCESSES = {name: build_process(ProcessConfig(process=name), V) for name in process_builders()}


def step_info(masked: Tensor, alpha_t: float, alpha_s: float, confidence: Tensor | None = None) -> StepInfo:
    """A step that sees uniform logits, or binary ones with the given confidence in the drawn token."""
    if confidence is None:
        logits = torch.zeros(*masked.shape, V, dtype=torch.float64)
        confidence = torch.full(masked.shape, 1 / V, dtype=torch.float64)
    else:
        logits = torch.stack([confidence, 1 - confidence], -1).log()
    rng = RowGenerators([make_generator("policy", row) for row in range(len(masked))])
    return StepInfo(logits, confidence, masked, alpha_t, alpha_s, rng)


def share(chosen: Tensor) -> float:
    return float(chosen.double().mean())


def tolerance(rate: float, count: int) -> float:
    """4.5 standard deviations of the share of ``count`` independent draws."""
    return 4.5 * math.sqrt(max(rate * (1 - rate), 1e-12) / count)


MANY = torch.ones(2, 20_000, dtype=torch.bool)
TIMES = [(0.0, 0.1), (0.2, 0.5), (0.6, 0.7), (0.5, 1.0)]


@pytest.mark.parametrize("alpha_t,alpha_s", TIMES)
def test_ancestral_unmasks_at_the_rate_of_the_posterior(alpha_t: float, alpha_s: float) -> None:
    rate = (alpha_s - alpha_t) / (1 - alpha_t)
    info = step_info(MANY, alpha_t, alpha_s)
    assert info.unmask_rate == pytest.approx(rate)
    for sampler in ("ancestral", "ddpm", "ddim"):
        policy = get_policy(sampler)
        assert policy.remask is None
        chosen = policy.unmask(step_info(MANY, alpha_t, alpha_s))
        assert share(chosen) == pytest.approx(rate, abs=tolerance(rate, MANY.numel()))


@pytest.mark.parametrize("cap", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("alpha_t,alpha_s", TIMES)
def test_remask_keeps_the_marginals(alpha_t: float, alpha_s: float, cap: float) -> None:
    """The masked share after a step is 1 - alpha_s: what is unmasked makes up for what is remasked."""
    policy = get_policy(f"remask:{cap}")
    assert policy.remask is not None
    sigma = min(cap, (1 - alpha_s) / alpha_t) if alpha_t else 0.0
    rate = (alpha_s - (1 - sigma) * alpha_t) / (1 - alpha_t)
    unmasked = share(policy.unmask(step_info(MANY, alpha_t, alpha_s)))
    remasked = share(policy.remask(step_info(~MANY, alpha_t, alpha_s)))
    assert unmasked == pytest.approx(rate, abs=tolerance(rate, MANY.numel()))
    assert remasked == pytest.approx(sigma, abs=tolerance(sigma, MANY.numel()))
    assert (1 - alpha_t) * (1 - rate) + alpha_t * sigma == pytest.approx(1 - alpha_s)


@pytest.mark.parametrize("sampler", ["first-hitting", "confidence", "leftmost"])
@pytest.mark.parametrize("alpha_t,alpha_s", TIMES)
def test_the_schedule_says_how_many(sampler: str, alpha_t: float, alpha_s: float) -> None:
    """ceil(masked * rate) of each row, whatever the number that is masked; never one that is not."""
    masked = torch.arange(20).expand(21, 20) < torch.arange(21)[:, None]
    confidence = torch.rand(21, 20, generator=make_generator("confidence"), dtype=torch.float64)
    chosen = get_policy(sampler).unmask(step_info(masked, alpha_t, alpha_s, confidence)) & masked
    rate = (alpha_s - alpha_t) / (1 - alpha_t)
    assert chosen.sum(1).tolist() == [math.ceil(count * rate - 1e-9) for count in range(21)]


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 13, 31])
def test_even_steps_unmask_even_shares(steps: int) -> None:
    """At step i of n, ceil(masked / (n - i)) positions: no rounding of the times adds one."""
    masked, grid = torch.arange(90).expand(91, 90) < torch.arange(91)[:, None], time_grid(steps)
    for i, (t, s) in enumerate(pairwise(grid)):
        chosen = get_policy("leftmost").unmask(step_info(masked, 1 - t, 1 - s)) & masked
        assert chosen.sum(1).tolist() == [-(-count // (steps - i)) for count in range(91)]


def test_first_hitting_has_no_favorite_position() -> None:
    masked = torch.ones(2000, 5, dtype=torch.bool)
    masked[:, 2] = False
    chosen = get_policy("first-hitting").unmask(step_info(masked, 0.0, 0.25)) & masked
    assert chosen.sum(1).eq(1).all() and not chosen[:, 2].any()
    for position in (0, 1, 3, 4):
        assert share(chosen[:, position]) == pytest.approx(0.25, abs=tolerance(0.25, 2000))


def policy_choice(sampler: str, confidence: list[float]) -> list[int]:
    """Which of six positions, the third of them known, a step from alpha 0.4 to 0.6 unmasks."""
    masked = torch.tensor([[True, True, False, True, True, True]])
    info = step_info(masked, 0.4, 0.6, torch.tensor([confidence], dtype=torch.float64))
    return (get_policy(sampler).unmask(info) & masked)[0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize("level,expected", [(0.95, [4]), (0.8, [1, 4]), (0.0, [0, 1, 3, 4, 5]), (1.0, [4])])
def test_threshold_takes_what_is_sure_and_the_surest(level: float, expected: list[int]) -> None:
    assert policy_choice(f"threshold:{level}", [0.3, 0.8, 1.0, 0.5, 0.99, 0.2]) == expected


@pytest.mark.parametrize(
    "level,expected", [(1.0, [0]), (0.72, [0, 1]), (0.35, [0, 1, 3]), (0.3, [0, 1, 3, 4])]
)
def test_prefix_unmasks_while_the_joint_probability_lasts(level: float, expected: list[int]) -> None:
    """0.9, 0.72, then past the known position 0.36, 0.324, 0.0324."""
    assert policy_choice(f"prefix:{level}", [0.9, 0.8, 0.001, 0.5, 0.9, 0.1]) == expected


@pytest.mark.parametrize(
    ("sampler", "default", "other"),
    [("threshold", 0.9, 0.5), ("prefix", 0.5, 0.0), ("entropy", 0.1, 1.0)],
)
def test_a_policy_without_its_number_has_the_default(sampler: str, default: float, other: float) -> None:
    confidence = [0.95, 0.9, 0.001, 0.7, 0.999, 0.8]
    expected = policy_choice(f"{sampler}:{default}", confidence)
    assert policy_choice(sampler, confidence) == expected != policy_choice(f"{sampler}:{other}", confidence)
    assert policy_choice(f"{sampler}:0", confidence) != expected


def test_remask_without_its_number_remasks_a_twentieth() -> None:
    policy, info = get_policy("remask"), step_info(~MANY, 0.5, 0.6)
    assert policy.remask is not None
    assert share(policy.remask(info)) == pytest.approx(0.05, abs=tolerance(0.05, MANY.numel()))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_entropy_spends_its_bound(count: int) -> None:
    """The cost of k positions is the sum of their entropies less the largest, with the surest ones first."""
    confidence = [0.7, 0.99, 0.5, 0.9, 0.6, 0.95]
    ascending = sorted(
        (-p * math.log(p) - (1 - p) * math.log(1 - p), i) for i, p in enumerate(confidence) if i != 2
    )
    cost = sum(entropy for entropy, _ in ascending[: count - 1])
    expected = sorted(i for _, i in ascending[:count])
    assert policy_choice(f"entropy:{cost + 1e-9}", confidence) == expected


def test_ddim_draws_less_noise_and_ancestral_draws_tokens() -> None:
    ancestral, ddpm, ddim = (get_policy(name) for name in ("ancestral", "ddpm", "ddim:0.3"))
    assert get_policy("ddim").eta == 0.0 and (ancestral.eta, ddpm.eta, ddim.eta) == (1.0, 1.0, 0.3)
    assert ancestral.draws_tokens and not ddpm.draws_tokens and not ddim.draws_tokens


def test_every_policy_belongs_to_a_process_and_every_process_has_a_default() -> None:
    usable = {name for process in PROCESSES.values() for name in policies_for(process)}
    assert usable == set(policy_families())
    for process in PROCESSES.values():
        assert isinstance(get_policy(process.default_sampler, process), UnmaskingPolicy)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_refuses_what_its_steps_do_not_understand(name: str) -> None:
    process, families = PROCESSES[name], policy_families()
    usable = policies_for(process)
    for sampler, family in families.items():
        if process.state_kind in family.state_kinds:
            assert isinstance(get_policy(sampler, process), UnmaskingPolicy)
            continue
        with pytest.raises(
            UsageError, match=f"the samplers of this model's process are: {', '.join(usable)}, verified"
        ):
            get_policy(sampler, process)


def test_which_process_has_which_policies() -> None:
    of_masks = "ancestral confidence entropy first-hitting leftmost prefix remask threshold"
    assert {name: " ".join(policies_for(process)) for name, process in PROCESSES.items()} == {
        "gaussian": "ancestral ddim ddpm",
        "masked": of_masks,
        "mixed": "ancestral",
        "uniform": "ancestral",
    }


@pytest.mark.parametrize(
    "sampler,message",
    [
        ("sure", r"sampler is 'sure'; the samplers are: ancestral, .*, threshold, verified"),
        ("", r"sampler is ''"),
        ("base", r"sampler is 'base'; the samplers are"),
        ("first_hitting", r"sampler is 'first_hitting'; the samplers are"),
        ("leftmost:2", r"sampler is 'leftmost:2', but leftmost takes no number"),
        ("leftmost:", r"leftmost takes no number"),
        ("threshold:1.5", r"give threshold a number from 0 to 1, such as threshold:0.9"),
        ("threshold:-0.1", r"give threshold a number from 0 to 1"),
        ("threshold:nan", r"give threshold a number from 0 to 1"),
        ("threshold:", r"give threshold a number from 0 to 1"),
        ("entropy:x", r"give entropy a number from 0 to inf, such as entropy:0.1"),
    ],
)
def test_a_wrong_sampler_is_named(sampler: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        get_policy(sampler)


NEW_POLICY = '''"""Rightmost: against the reading order."""

from sunfish.sampling.unmasking.base import plain, scheduled_count


def rightmost(info):
    """From right to left, ceil(masked * unmask_rate) positions of each row."""
    return info.masked.flip(1).cumsum(1).flip(1) <= scheduled_count(info)


POLICY = plain(rightmost)
'''

WRITE_WITH_IT = """
import torch
from sunfish.config import GenerationConfig, ModelConfig
from sunfish.model.transformer import Transformer
from sunfish.processes.masked import MaskedProcess
from sunfish.rng import RowGenerators, make_generator
from sunfish.sampling.block_diffusion import block_diffusion
from sunfish.sampling.unmasking import policies_for

size = ModelConfig(vocab_size=7, n_layer=1, n_head=1, n_embd=8, context_length=8, prompt_length=0)
model, process = Transformer(size).init_weights(make_generator("m")).eval(), MaskedProcess(7)
assert "right-most" in policies_for(process), policies_for(process)
nothing = torch.zeros(1, 1, dtype=torch.long)
condition = model.encode(nothing, nothing.bool())
ids, free = torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool)
config = GenerationConfig(sampler="right-most", num_steps=4, block_length=0)
states = block_diffusion(model, process, condition, ids, free, RowGenerators([make_generator("r")]), config)
print([(state.x == 7).sum().item() for state in states], end=" ")
states = block_diffusion(model, process, condition, ids, free, RowGenerators([make_generator("r")]), config)
print([(state.x[0] == 7).int().tolist() for state in states][1:3])
"""


@pytest.mark.slow
def test_a_file_is_all_that_a_new_policy_needs(tmp_path: Path) -> None:
    """Dropped into a copy of the package, it is found by its name and runs in the loop."""
    package = Path(sunfish.__file__).parent
    copied = tmp_path / "sunfish"
    shutil.copytree(package, copied, ignore=shutil.ignore_patterns("__pycache__"))
    (copied / "sampling" / "unmasking" / "right_most.py").write_text(NEW_POLICY)
    result = subprocess.run(
        [sys.executable, "-c", WRITE_WITH_IT],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[4, 3, 2, 1, 0, 0] [[1, 1, 1, 0], [1, 1, 0, 0]]\n"


def test_a_plain_policy_is_its_function_for_masks() -> None:
    def everything(info: StepInfo) -> Tensor:
        return info.masked

    family = plain(everything)
    assert family.build(0.5) == UnmaskingPolicy(everything)
    assert family.state_kinds == ("masks",) and family.default is None


def test_the_best_masked_positions_of_each_row_are_chosen() -> None:
    """Half of 4 and of 2; of equal scores the first, and no position that is known, whatever its score."""
    masked = torch.tensor([[1, 1, 0, 1, 1], [0, 1, 0, 0, 1]], dtype=torch.bool)
    score = torch.tensor([[0.0, 0.3, 0.9, 0.3, 0.3], [0.5, 0.0, 0.5, 0.5, 0.0]])
    info = step_info(masked, 0.0, 0.5)
    assert scheduled_count(info).tolist() == [[2.0], [1.0]]
    assert top_k_by(score, info).int().tolist() == [[0, 1, 0, 1, 0], [0, 1, 0, 0, 0]]
