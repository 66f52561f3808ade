"""``sunfish distill-guidance``: a copy learns guidance in one pass; what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sunfish.cli import main
from sunfish.config import GenerationConfig
from sunfish.sampling.guidance import ClassifierFreeGuidance, DistilledGuidance
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.distillation import divergence
from tests.conftest import Workplace


@pytest.mark.slow
def test_the_command_teaches_and_its_checkpoint_is_sampled(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The copy comes nearer to two-pass guidance than the conditional model is; its checkpoint takes one pass."""
    words = [
        "distill-guidance", str(trained.checkpoint), "--max_steps", "60", "--cpu", "--threads", "1",
        "--checkpoints", str(tmp_path), "--data_folder", str(trained.folder / "data"),
        "--learning_rate", "0.03", "--matrix_learning_rate", "0.02",
    ]  # fmt: skip
    assert main(words) == 0
    last = tmp_path / "trained-one-pass" / "last.ckpt"
    teacher, student = Pipeline.from_checkpoint(trained.checkpoint), Pipeline.from_checkpoint(last)
    prompts = ["Write a story about a robot", "Describe the ocean"]
    guided, condition = teacher.guided(prompts, GenerationConfig())
    distilled, distilled_condition = student.guided(prompts, GenerationConfig())
    assert isinstance(guided, ClassifierFreeGuidance) and isinstance(distilled, DistilledGuidance)
    end = teacher.tokenizer.end
    ids = torch.tensor([[end, *range(30, 50)], [end, *range(50, 70)]])
    with torch.no_grad():
        target = guided.prefill(ids, condition)[0].flatten(0, 1)
        learned = divergence(target, distilled.prefill(ids, distilled_condition)[0].flatten(0, 1))
        plain = divergence(
            target, teacher.model.prefill(ids, condition)[0].flatten(0, 1)[:, : target.shape[1]]
        )
    assert float(learned) < float(plain)
    capsys.readouterr()
    words = ["sample", str(last), "--prompt", "Write about dogs", "--seq_len", "8", "--guidance_scale", "5"]
    assert main(words) == 2
    assert "scales from 0 to 4" in capsys.readouterr().err
    assert main(["distill-guidance", str(last)]) == 2
    assert "already" in capsys.readouterr().err
