"""Numbers at their limits: temperatures, scales, probabilities, random numbers, and networks that return NaN."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.model.denoiser import Denoiser, DenoiserWrapper
from sunfish.processes import process_builders
from sunfish.rng import RowGenerators, make_generator, sample_categorical, softmax
from sunfish.sampling.block_diffusion import block_diffusion
from sunfish.sampling.decoding import decode
from sunfish.sampling.guidance import ClassifierFreeGuidance, classifier_free_guidance
from sunfish.sampling.infilling import infill
from sunfish.sampling.logits import warp_logits
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.speculative import speculative_accept
from sunfish.sampling.unmasking import policies_for
from tests.helpers import CONFIG, END, batch, model, normal, process_of

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
COLD = [1e-4, 1e-8, 1e-30, 1e-45, 1e-300, 5e-324]
HOT = [1e4, 1e8, 1e30, 1e39, 1e300, 1.7e308]
MAX_SCALES = [1e6, 1e30, 1e39, 1e300, 1.7e308]


def distinct_logits(dtype: torch.dtype, rows: int = 20, size: int = 12) -> Tensor:
    """Logits whose largest is at least 0.5 above the others; the last token cannot be written."""
    logits = torch.stack([normal(size, name=f"row {row}").argsort().double() / 2 - 3 for row in range(rows)])
    return logits.index_fill(-1, torch.tensor([size - 1]), -torch.inf).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", COLD)
def test_as_the_temperature_falls_the_draw_is_the_likeliest_token(
    temperature: float, dtype: torch.dtype
) -> None:
    logits = distinct_logits(dtype)
    for top_p in (1e-12, 5e-324, 0.5, 1.0):
        cold, greedy = (softmax(warp_logits(logits, t, top_p)) for t in (temperature, 0.0))
        assert torch.equal(cold.argmax(-1), logits.argmax(-1)) and torch.equal(cold.double(), greedy.double())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", HOT)
def test_as_the_temperature_rises_all_that_can_be_written_is_alike(
    temperature: float, dtype: torch.dtype
) -> None:
    probabilities = softmax(warp_logits(distinct_logits(dtype), temperature))
    torch.testing.assert_close(
        probabilities[:, :-1], torch.full_like(probabilities[:, :-1], 1 / 11), rtol=1e-3, atol=0
    )
    assert not probabilities[:, -1].any()


@pytest.mark.parametrize("temperature", [1e-5, 9.99e-4, 1e-3, 0.1, 1e3, 1.01e3, 1e5])
def test_a_temperature_is_a_division(temperature: float) -> None:
    """On both sides of the limits at which the arithmetic changes, against float64."""
    logits = normal(50, 30, name="division").float()
    logits[:, 1] = logits[:, 0] - 1e-4 * min(temperature, 1.0)  # near the largest where it is cold
    expected = (logits.double() / temperature).softmax(-1)
    torch.testing.assert_close(
        softmax(warp_logits(logits, temperature)).double(), expected, rtol=1e-3, atol=1e-4
    )


def test_equal_tokens_share_where_it_is_cold_and_the_first_one_is_greedy() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0, -torch.inf]])
    assert softmax(warp_logits(logits, 5e-324)).tolist() == [[0.0, 0.5, 0.5, 0.0]]
    assert softmax(warp_logits(logits, 0.0)).tolist() == [[0.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1.0, 1.7e308])
@pytest.mark.parametrize("top_p", [5e-324, 1.0])
def test_the_only_token_that_can_be_written_is_written(temperature: float, top_p: float) -> None:
    logits = torch.full((7, 9), -torch.inf)
    logits[:, 4] = -3e38
    probabilities = softmax(warp_logits(logits, temperature, top_p))
    assert sample_categorical(probabilities, torch.linspace(0, 1, 7)).eq(4).all()


@pytest.mark.parametrize("plausibility", [0.0, 5e-324, 0.3, 1.0])
@pytest.mark.parametrize("scale", MAX_SCALES)
def test_as_the_scale_grows_the_prompt_decides_alone(scale: float, plausibility: float) -> None:
    """All is on the plausible token that the prompt favors most."""
    conditional, unconditional = normal(40, 11, name="c").float(), normal(40, 11, name="u").float()
    conditional[:, 3] = unconditional[:, 3] = -torch.inf
    guided = classifier_free_guidance(conditional, unconditional, scale, plausibility)
    favored = (conditional - unconditional).nan_to_num(nan=-torch.inf)
    likely = conditional.softmax(-1)
    favored[likely < plausibility * likely.amax(-1, keepdim=True)] = -torch.inf
    assert torch.equal(guided.argmax(-1), favored.argmax(-1))
    probabilities = softmax(warp_logits(guided, 1.0))
    assert not probabilities.isnan().any() and not probabilities[:, 3].any()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones_like(probabilities[:, 0]))


@pytest.mark.parametrize("scale", [0.5, 3.0, 9_999.0, 10_001.0, 1e5])
def test_guidance_is_its_formula_at_any_scale(scale: float) -> None:
    conditional, unconditional = normal(40, 11, name="c").float(), normal(40, 11, name="u").float()
    unconditional = conditional + unconditional / scale
    expected = (unconditional.double() + scale * (conditional.double() - unconditional.double())).log_softmax(
        -1
    )
    guided = classifier_free_guidance(conditional, unconditional, scale).double()
    torch.testing.assert_close(guided, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("scale", [0.5, 1.5, 7.0, 1e6, 1e300])
def test_guidance_of_what_one_side_cannot_write(scale: float) -> None:
    """What the prompt rules out stays out; what only the prompt allows is all there is above 1, nothing below."""
    conditional = torch.tensor([[0.0, 1.0, -torch.inf, 0.5]])
    unconditional = torch.tensor([[-torch.inf, 1.0, 2.0, 0.4]])
    probabilities = classifier_free_guidance(conditional, unconditional, scale).exp()
    assert not probabilities.isnan().any() and probabilities[0, 2] == 0
    assert probabilities[0, 0] == (1 if scale > 1 else 0)


@pytest.mark.parametrize("uniform", [0.0, 5e-324, 1e-17, 0.5, 1 - 2**-24, 1 - 2**-53, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_has_no_probability_is_not_drawn(uniform: float, dtype: torch.dtype) -> None:
    """Of every four weights, in every order."""
    weights = (0.0, 1e-45, 1e-38, 1e-9, 0.3, 7.0)
    probabilities = torch.tensor(
        [row for row in itertools.product(weights, repeat=4) if any(row)], dtype=dtype
    )
    tokens = sample_categorical(probabilities, torch.full((len(probabilities),), uniform, dtype=dtype))
    assert bool((probabilities.gather(-1, tokens[:, None]) > 0).all())


class LargestNumbers(RowGenerators):
    """Draws the largest number below 1, always."""

    def uniform(self, rows: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        return torch.full((rows, *shape), 1 - 2**-53, dtype=torch.float64)


def test_a_rejected_token_whose_remainder_is_lost_to_rounding_is_replaced_by_a_possible_one() -> None:
    draft = torch.tensor([[0.5, 0.5, 0.0]])
    target = torch.tensor([[0.49999997, 0.5, 0.0]])
    both = target.repeat(2, 1)[None]
    tokens, counts = speculative_accept(torch.tensor([[0]]), draft[None], both, LargestNumbers([]))
    assert counts.tolist() == [1] and tokens[0, 0] in (0, 1)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", [0.0, 1e-30, 1.0, 1e30])
def test_nan_goes_through_all_that_is_done_to_logits(temperature: float, wrong: float) -> None:
    """Wherever it stands: the probabilities of that position are NaN, which no draw accepts."""
    for place in range(4):
        logits = torch.zeros(2, 3, 4)
        logits[1, 2, place] = wrong
        other = torch.zeros(2, 3, 4)
        for scale, plausibility in ((1.0, 0.0), (3.0, 0.3), (1e9, 0.0), (1e9, 0.3)):
            guided = logits if scale == 1 else classifier_free_guidance(logits, other, scale, plausibility)
            probabilities = softmax(warp_logits(guided, temperature, 0.9))
            with pytest.raises(ValueError, match="network returned NaN for text 1 of its batch, position 2"):
                sample_categorical(probabilities, torch.zeros(2, 3))


class Poisoned(DenoiserWrapper):
    """A network whose logits of one token hold ``wrong``, from the pass ``first`` on."""

    def __init__(self, denoiser: Denoiser, wrong: float, first: int) -> None:
        super().__init__(denoiser)
        self.wrong, self.first, self.passes = wrong, first, 0

    def finish(self, logits: Tensor, ids: Tensor | None = None) -> Tensor:
        self.passes += 1
        if self.passes > self.first:
            logits = logits.clone()
            logits[..., 5] = self.wrong
        return logits


SAMPLERS = [
    (name, sampler)
    for name in process_builders()
    for sampler in [*policies_for(process_of(name, model())), "verified", "verified:1", "corrected"]
]


@pytest.mark.parametrize(("name", "sampler"), SAMPLERS)
@pytest.mark.parametrize("scale", [pytest.param(1.0, marks=pytest.mark.slow), 3.0])
def test_no_sampler_draws_from_nan(name: str, sampler: str, scale: float) -> None:
    """From the first pass or a later one, greedy or not."""
    network, b = model(process=name), batch()
    process = process_of(name, network)
    condition = network.encode(b.prompt, b.prompt_mask)
    for wrong, first, temperature in ((torch.nan, 0, 1.0), (torch.inf, 3, 0.0), (torch.nan, 3, 1e-30)):
        guided = ClassifierFreeGuidance(Poisoned(network, wrong, first), scale, plausibility=0.3)
        config = GenerationConfig(sampler=sampler, num_steps=4, block_length=4, temperature=temperature)
        rng = RowGenerators([make_generator("poison", row) for row in range(3)])
        start = torch.full((3, 1), END)
        states = decode(guided, process, condition, start, 16 if config.has_policy else 24, rng, config, END)
        with pytest.raises(
            ValueError, match=r"the network returned NaN for text .*; use an earlier checkpoint"
        ):
            list(states)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_a_network_with_a_damaged_weight_is_refused_by_its_name(pipeline: Pipeline, wrong: float) -> None:
    weights = pipeline.model.state_dict()
    for name in (next(iter(weights)), "output_scale", "draft_head.up_proj.weight"):
        damaged = type(pipeline.model)(pipeline.model.config)
        damaged.load_state_dict(weights)
        with torch.no_grad():
            damaged.get_parameter(name).view(-1)[-1] = wrong
        with pytest.raises(ValueError, match=f"the weights {name} hold NaN or infinity: .*; use an earlier"):
            Pipeline(damaged, pipeline.process, pipeline.tokenizer)


def test_a_network_that_overflows_writes_nothing(pipeline: Pipeline) -> None:
    """Finite weights whose products are not: texts, gaps and likelihoods are refused alike."""
    damaged = type(pipeline.model)(pipeline.model.config)
    damaged.load_state_dict(pipeline.model.state_dict())
    with torch.no_grad():
        damaged.output_scale.fill_(3e38)
    overflowing = Pipeline(damaged.eval(), pipeline.process, pipeline.tokenizer)
    for sampler in ("verified", "verified:1", "leftmost", "entropy:1"):
        for temperature in (0.0, 0.5):
            config = GenerationConfig(sampler=sampler, temperature=temperature, guidance_scale=2.0)
            with pytest.raises(ValueError, match="the network returned NaN"):
                overflowing.generate(["Write about dogs"], config, seq_len=12)
    with pytest.raises(ValueError, match="the network returned NaN"):
        infill(overflowing, "The dog [MASK:2] home.")
    with pytest.raises(ValueError, match="the network returned NaN"):
        overflowing.prompt_pmi(pipeline.generate(["Write about dogs"], seq_len=12)[0])


@pytest.mark.parametrize(
    "sampler", ["verified", "verified:1", "leftmost", "ancestral", "remask:0.5", "entropy:0"]
)
def test_texts_at_the_limits(pipeline: Pipeline, sampler: str) -> None:
    """Cold texts are the greedy ones; at any temperature and scale there is a text of real tokens."""

    def ids(**values: float) -> list[list[int]]:
        config = replace(GenerationConfig(sampler=sampler, num_steps=5, block_length=4), **values)
        return [text.ids for text in pipeline.generate(["Write about dogs", ""], config, seq_len=10, seed=2)]

    greedy = ids(temperature=0.0, guidance_scale=3.0)
    for values in ({"temperature": 1e-30}, {"temperature": 5e-324}, {"temperature": 1.0, "top_p": 1e-12}):
        assert ids(**values, guidance_scale=3.0) == greedy
    for scale, temperature in ((1e6, 5e-324), (1.7e308, 0.0), (1.7e308, 5e-324), (1.7e308, 1.7e308)):
        texts = ids(temperature=temperature, guidance_scale=scale)
        assert all(0 <= token < pipeline.tokenizer.size for text in texts for token in text)


def test_gaussian_states_stay_finite_at_the_limits() -> None:
    network = model(process="gaussian")
    process, b = process_of("gaussian", network), batch()
    condition = network.encode(b.prompt, b.prompt_mask)
    ids, free = torch.full((3, 8), END), torch.ones(3, 8, dtype=torch.bool)
    for sampler in ("ancestral", "ddpm", "ddim:0"):
        for temperature in (0.0, 5e-324, 1e30, 1.7e308):
            config = GenerationConfig(sampler=sampler, num_steps=3, block_length=0, temperature=temperature)
            rng = RowGenerators([make_generator("limits", row) for row in range(3)])
            states = list(block_diffusion(network, process, condition, ids, free, rng, config))
            assert all(cast(Tensor, state.x).isfinite().all() for state in states)
            assert bool((states[-1].x < CONFIG.vocab_size).all())
