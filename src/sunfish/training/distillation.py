"""One-pass guidance: a network that takes the scale in learns what guidance makes of a frozen teacher."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.checkpoint.folder import load_checkpoint
from sunfish.config import TrainingConfig
from sunfish.config.sampling import SamplingSettings
from sunfish.model.transformer import Transformer
from sunfish.rng import Streams
from sunfish.sampling.guidance import LARGEST_LEARNED, Guided
from sunfish.tokenizers.base import TextTokenizer
from sunfish.training.loss import Losses, draft_loss, places, training_times
from sunfish.types import Batch, Process


class Distillation:
    """The objective of ``sunfish distill-guidance``, called as :func:`sunfish.training.loss.objective` is."""

    def __init__(self, teacher: Transformer) -> None:
        self.teacher = teacher

    @classmethod
    def start(cls, path: Path, model: Transformer, tokenizer: TextTokenizer) -> Distillation:
        """Load the teacher and give its weights to ``model``; the input of the scale starts at zero.

        ``ValueError`` where the teacher takes a scale in itself, has another shape or another tokenizer.
        """
        loaded = load_checkpoint(path, model.table.device)
        if loaded.config.model.guidance_input:
            raise ValueError(f"the teacher {path} has learned one-pass guidance already; sample it as it is")
        if not loaded.config.model.prompt_length:
            raise ValueError(
                f"the teacher {path} was trained without prompts, so there is nothing to guide by"
            )
        if loaded.config.model.vector_input:
            raise ValueError(
                f"the teacher {path} is a gaussian model; guidance in one pass is for the other processes only"
            )
        if loaded.tokenizer.engine.to_str() != tokenizer.engine.to_str():
            raise ValueError(
                f"the tokenizer of the teacher {path} is not that of the prepared corpus; give the corpus it was "
                "trained on (--data)"
            )
        try:
            left = model.load_state_dict(loaded.model.state_dict(), strict=False)
        except RuntimeError as why:
            raise ValueError(f"the teacher {path} has another shape than the model: {why}") from why
        assert left.missing_keys == ["guidance.weight"] and not left.unexpected_keys, left
        return cls(loaded.model.requires_grad_(False))

    def __call__(
        self,
        model: Transformer,
        process: Process,
        batch: Batch,
        generator: torch.Generator,
        block_length: int,
        training: TrainingConfig,
    ) -> Losses:
        """KL(teacher || model) in nats: the mean over unknown positions of the canvas, and over next tokens.

        The scale is uniform in [0, LARGEST_LEARNED], one a step (Meng et al. 2023, arXiv:2210.03142, algorithm 1;
        here the divergence of categorical distributions takes the place of the squared error).
        """
        scale = LARGEST_LEARNED * float(torch.rand((), generator=generator))
        t = training_times(batch, block_length, process, training, generator)
        dropped = (torch.rand(batch.x0.shape[0], generator=generator) < training.prompt_dropout).to(t.device)
        x_t = process.corrupt(batch.x0, t, model.table, Streams([generator]))
        scored = process.scored(x_t, t, model.table)
        real = torch.arange(batch.x0.shape[1], device=t.device) < (batch.lengths - 1)[:, None]
        with torch.no_grad():
            guided = Guided(self.teacher, scale, SamplingSettings.plausibility)
            cond = self.teacher.encode(batch.prompt, batch.prompt_mask).drop(dropped)
            past, next_wanted = guided.remember(batch.x0, cond)
            wanted = guided(x_t, t, cond, past, 0, block_length)
        cond = model.encode(batch.prompt, batch.prompt_mask).drop(dropped).at_scale(scale)
        past, next_logits = model.remember(batch.x0, cond)
        hidden = model.canvas(x_t, t, cond, past, 0, block_length)
        logits = model.head(hidden)
        next_token = divergence(next_wanted[real], next_logits[real])
        canvas = divergence(wanted[scored], logits[scored])
        weight = training.next_token_weight
        draft = draft_loss(model, hidden, batch.x0, places(scored))
        total = (1 - weight) * canvas + weight * next_token + draft
        return Losses(total, canvas.detach(), canvas.detach(), next_token.detach(), draft.detach())


def divergence(wanted: Tensor, logits: Tensor) -> Tensor:
    """Mean KL in nats of ``softmax(logits [M, V])`` from ``softmax(wanted [M, V])``, whose logits may be -inf."""
    if not len(wanted):
        return logits.sum()
    predicted = torch.log_softmax(logits.float(), dim=-1)
    target = torch.log_softmax(wanted.float(), dim=-1).clamp(min=-1e4)
    return F.kl_div(predicted, target, reduction="batchmean", log_target=True)
