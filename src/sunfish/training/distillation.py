"""One-pass guidance: a network that takes the scale in learns what guidance makes of a frozen teacher."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.checkpoint.folder import load_checkpoint
from sunfish.config import GenerationConfig, TrainingConfig
from sunfish.model.kernels.cross_entropy import pad_rows
from sunfish.model.transformer import Transformer
from sunfish.rng import RowGenerators
from sunfish.sampling.guidance import MAX_DISTILLED_SCALE, classifier_free_guidance
from sunfish.tokenizers.base import TextTokenizer
from sunfish.training.loss import Losses, draft_loss
from sunfish.training.time_sampling import sample_training_times
from sunfish.types import Batch, Process


class Distillation:
    """The objective of ``sunfish distill-guidance``, called as :func:`sunfish.training.loss.training_loss` is."""

    def __init__(self, teacher: Transformer) -> None:
        self.teacher = teacher

    @classmethod
    def start(cls, path: Path, model: Transformer, tokenizer: TextTokenizer) -> Distillation:
        """Load the teacher and give its weights to ``model``; the input of the scale starts at zero.

        Raises:
            ValueError: the teacher was distilled itself, cannot guide, or has another shape or tokenizer.
        """
        loaded = load_checkpoint(path, model.token_embedding.device)
        if loaded.config.training.distills:
            raise ValueError(f"the teacher {path} has learned one-pass guidance already; sample it as it is")
        if not loaded.config.model.prompt_length:
            raise ValueError(
                f"the teacher {path} was trained without prompts, so there is nothing to guide by"
            )
        if loaded.process.self_conditioned:
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
            raise ValueError(
                f"the teacher {path} has another shape than the model: {_first_mismatch(why)}"
            ) from why
        assert left.missing_keys == ["guidance_embedding.weight"] and not left.unexpected_keys, left
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

        The scale is uniform in [0, MAX_DISTILLED_SCALE], one a step (Meng et al. 2023, arXiv:2210.03142, algorithm 1;
        here the divergence of categorical distributions takes the place of the squared error).
        """
        scale = MAX_DISTILLED_SCALE * float(torch.rand((), generator=generator))
        t = sample_training_times(batch, block_length, process, training, generator)
        dropped = (torch.rand(batch.x0.shape[0], generator=generator) < training.prompt_dropout).to(t.device)
        x_t = process.corrupt(batch.x0, t, RowGenerators([generator]))
        scored = process.loss_mask(x_t, t)
        real = torch.arange(batch.x0.shape[1], device=t.device) < (batch.lengths - 1)[:, None]
        teacher_next, teacher_canvas = self._teacher_logits(batch, x_t, t, dropped, block_length, scale)
        condition = model.encode(batch.prompt, batch.prompt_mask).drop(dropped).at_scale(scale)
        text_hidden, canvas_hidden = model.joint_pass(batch.x0, x_t, t, condition, block_length)
        next_token = divergence(teacher_next[real], _logits(model, text_hidden[real]))
        canvas = divergence(teacher_canvas[scored], _logits(model, canvas_hidden[scored]))
        weight = training.next_token_weight
        draft, _ = draft_loss(model, canvas_hidden, batch.x0, scored, block_length)
        total = (1 - weight) * canvas + weight * next_token + draft
        return Losses(total, canvas.detach(), canvas.detach(), next_token.detach(), draft.detach())

    @torch.no_grad()
    def _teacher_logits(
        self, batch: Batch, x_t: Tensor, t: Tensor, dropped: Tensor, block_length: int, scale: float
    ) -> tuple[Tensor, Tensor]:
        """The teacher's guided logits of next tokens and of the canvas, ``[B, N, V]`` each."""
        condition = self.teacher.encode(batch.prompt, batch.prompt_mask).drop(dropped).with_null()
        x0, x_t, t = (torch.cat([part, part]) for part in (batch.x0, x_t, t))

        def guided(hidden: Tensor) -> Tensor:
            conditional, unconditional = self.teacher.head(hidden).float().chunk(2)
            return classifier_free_guidance(conditional, unconditional, scale, GenerationConfig.plausibility)

        text_hidden, canvas_hidden = self.teacher.joint_pass(x0, x_t, t, condition, block_length)
        return guided(text_hidden), guided(canvas_hidden)


def _logits(model: Transformer, hidden: Tensor) -> Tensor:
    """Logits ``[M, V]`` of ``hidden [M, D]``, by a product of few different sizes."""
    return model.head(pad_rows(hidden))[: len(hidden)]


def _first_mismatch(error: RuntimeError) -> str:
    """The first weight that ``load_state_dict`` could not place; PyTorch lists them all, a line each."""
    return str(error).splitlines()[1].strip().rstrip(".")


def divergence(teacher: Tensor, logits: Tensor) -> Tensor:
    """Mean KL in nats of ``softmax(logits [M, V])`` from ``softmax(teacher [M, V])``, whose logits may be -inf."""
    if not len(teacher):
        return logits.sum()
    predicted = torch.log_softmax(logits.float(), dim=-1)
    target = torch.log_softmax(teacher.float(), dim=-1).clamp(min=-1e4)
    return F.kl_div(predicted, target, reduction="batchmean", log_target=True)
