"""Check guidance on a tiny model: ./run.sh test_cfg.py prints each check, and fails if one fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch

from sunfish.config import ProcessConfig, TrainingConfig
from sunfish.config.presets import preset
from sunfish.model.transformer import Transformer
from sunfish.processes import build_process
from sunfish.sampling.guidance import ClassifierFreeGuidance
from sunfish.training.loss import losses_at, training_loss
from sunfish.types import Batch, Condition

ROWS, LENGTH, PROMPT, VOCABULARY = 6, 24, 5, 40
Check = tuple[str, str, bool]


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference of two tensors."""
    return float((a.double() - b.double()).abs().max())


class Setting:
    """A small network whose every part matters, a half-masked batch, and its prompts."""

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(0)
        self.config = preset(
            "nano",
            vocab_size=VOCABULARY,
            n_layer=2,
            n_head=2,
            n_embd=32,
            context_length=LENGTH,
            prompt_length=8,
        )
        self.model = Transformer(self.config.model).init_weights(rng).eval().double()
        self.process = build_process(ProcessConfig(), VOCABULARY)
        with torch.no_grad():  # with its first weights, a block returns what it gets; a trained one does not
            for parameter in self.model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
        self.x0 = torch.randint(VOCABULARY, (ROWS, LENGTH), generator=rng)
        hidden = torch.rand(ROWS, LENGTH, generator=rng) < 0.5
        self.x = torch.where(hidden, VOCABULARY, self.x0)
        self.t = hidden.double() * 0.5
        self.prompt = torch.randint(VOCABULARY, (ROWS, PROMPT), generator=rng)
        self.mask = torch.ones(ROWS, PROMPT, dtype=torch.bool)
        self.condition = self.model.encode(self.prompt, self.mask)
        self.null = self.condition.without_prompts()

    def plain(self, condition: Condition) -> torch.Tensor:
        """Log-probabilities without guidance."""
        return torch.log_softmax(self.model.denoise(self.x, self.t, condition), -1)

    def guided(self, scale: float, condition: Condition | None = None) -> torch.Tensor:
        """Logits guided by ``scale``; normalized but for scales 0 and 1, where nothing is combined."""
        guided = ClassifierFreeGuidance(self.model, scale)
        return guided.denoise(self.x, self.t, self.condition if condition is None else condition)


def checks() -> Iterator[Check]:
    """Every check: what, its figure, whether it holds."""
    setting = Setting()
    yield from limits(setting)
    yield from linearity(setting)
    yield from null_prompt(setting)
    yield from shapes_and_numbers(setting)


def limits(on: Setting) -> Iterator[Check]:
    """Scales 0 and 1, and which of the two the prompt moves."""
    conditional, unconditional = on.plain(on.condition), on.plain(on.null)
    difference = largest(torch.log_softmax(on.guided(0.0), -1), unconditional)
    yield "scale 0 is the unconditional model", f"difference {difference:.1e}", difference == 0
    difference = largest(torch.log_softmax(on.guided(1.0), -1), conditional)
    yield "scale 1 is the conditional model", f"difference {difference:.1e}", difference == 0
    difference = largest(on.guided(1 + 1e-9), conditional)
    yield "the limit from above agrees", f"difference {difference:.1e}", difference < 1e-6

    difference = largest(conditional, unconditional)
    yield "the prompt changes the conditional model", f"difference {difference:.2f}", difference > 1e-3
    swapped = on.model.encode(on.prompt.roll(1, 0), on.mask)
    moved = largest(torch.log_softmax(on.guided(1.0, swapped), -1), conditional)
    yield "another prompt, other conditional logits", f"difference {moved:.2f}", moved > 1e-3
    moved = largest(torch.log_softmax(on.guided(0.0, swapped), -1), unconditional)
    yield "another prompt, the same unconditional ones", f"difference {moved:.1e}", moved == 0


def linearity(on: Setting) -> Iterator[Check]:
    """log p_s = u + s (c - u) - log Z_s: differences between two tokens are linear in the scale."""

    def gaps(scale: float) -> torch.Tensor:
        value = on.guided(scale)
        return value[..., 1:] - value[..., :1]

    difference = largest(gaps(7.0), gaps(0.0) + 7 * (gaps(1.0) - gaps(0.0)))
    yield "log-probabilities are linear in the scale", f"difference {difference:.1e} at 7", difference < 1e-9
    error = float((on.guided(7.0).exp().sum(-1) - 1).abs().max())
    yield "guided probabilities add up to 1", f"error {error:.1e}", error < 1e-9


def null_prompt(on: Setting) -> Iterator[Check]:
    """What training shows a text whose prompt was dropped, and what sampling shows one without a prompt."""
    nothing = torch.zeros(ROWS, 1, dtype=torch.long)
    empty = on.model.encode(nothing, torch.zeros(ROWS, 1, dtype=torch.bool))
    difference = largest(on.plain(on.null), on.plain(empty))
    yield (
        "dropped prompt (training) = no prompt (sampling)",
        f"difference {difference:.1e}",
        difference < 1e-12,
    )
    batch = Batch(on.x0, torch.full((ROWS,), LENGTH), on.prompt, on.mask)
    trained, sampled = (
        losses_at(on.model, on.process, batch, condition, on.x, on.t, LENGTH, 0.5).total
        for condition in (on.null, empty)
    )
    difference = largest(trained, sampled)
    yield "the loss sees the same null prompt", f"difference {difference:.1e}", difference < 1e-12

    wanted = on.config.training.prompt_dropout
    share = dropped_share(wanted)
    yield "share of prompts dropped in training", f"{share:.3f} of {wanted}", abs(share - wanted) < 0.02


def shapes_and_numbers(on: Setting) -> Iterator[Check]:
    """The shapes of guided logits, condition and cache, and that all is finite."""
    doubled = on.condition.with_null()
    shapes = (tuple(on.guided(2.0).shape), tuple(doubled.mask.shape))
    expected = ((ROWS, LENGTH, VOCABULARY), (2 * ROWS, 1 + PROMPT))
    yield "shapes: logits [B, N, V], condition [2B, 1+P]", f"{shapes[0]}, {shapes[1]}", shapes == expected
    guided = ClassifierFreeGuidance(on.model, 2.0)
    logits, cache = guided.prefill(on.x0[:, :8], on.condition)
    after = guided.denoise(on.x[:, 8:], on.t[:, 8:], on.condition, cache, 8)
    shapes = (tuple(cache.keys_values.shape), tuple(after.shape))
    expected = ((3, 2, 2 * ROWS, 2, 8, 16), (ROWS, LENGTH - 8, VOCABULARY))
    yield (
        "shapes: cache [L+1, 2, 2B, H, C, D/H], a later block",
        f"{shapes[0]}, {shapes[1]}",
        shapes == expected,
    )
    finite = bool(after.isfinite().all() and logits.isfinite().all())
    yield "all guided logits are finite", str(finite).lower(), finite


def dropped_share(dropout: float, rows: int = 4000) -> float:
    """The share of rows whose prompt the training loss itself drops, as the network sees them."""
    seen: list[Condition] = []

    class Watched(Transformer):
        """Keeps the condition of each pass."""

        def joint_pass(
            self, ids: torch.Tensor, x: torch.Tensor, t: torch.Tensor, condition: Condition, block_length: int
        ) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append(condition)
            return super().joint_pass(ids, x, t, condition, block_length)

    config = preset(
        "nano", vocab_size=8, n_layer=1, n_head=1, n_embd=4, context_length=4, prompt_length=1
    ).model
    model = Watched(config).init_weights(torch.Generator().manual_seed(0))
    ids = torch.ones(rows, 4, dtype=torch.long)
    batch = Batch(ids, torch.full((rows,), 4), ids[:, :1], torch.ones(rows, 1, dtype=torch.bool))
    training, generator = TrainingConfig(prompt_dropout=dropout), torch.Generator().manual_seed(1)
    with torch.no_grad():
        training_loss(model, build_process(ProcessConfig(), 8), batch, generator, 4, training)
    return 1 - float(seen[0].mask[:, 1].float().mean())


def main() -> int:
    """Print every check; 1 when one fails."""
    torch.set_num_threads(1)  # more only wait for each other on so small a model
    failed = 0
    with torch.no_grad():
        for what, figure, holds in checks():
            print(f"{'ok' if holds else 'FAILED':<7} {what}: {figure}", flush=True)
            failed += not holds
    print(f"{failed} checks failed" if failed else "guidance does what it says")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
