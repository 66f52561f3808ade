"""One-pass guidance: the divergence, the start at the teacher, that it learns what two passes give, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sunfish.cli import main
from sunfish.config import Config
from sunfish.config.sampling import SamplingSettings
from sunfish.model.transformer import Transformer
from sunfish.sampling.guidance import Guided, OnePass
from sunfish.sampling.pipeline import Pipeline
from sunfish.tokenizers import build_tokenizer
from sunfish.training.distillation import Distillation, divergence
from tests.conftest import Workplace
from tests.helpers import CONFIG, batch, model


def student_of(teacher: Transformer) -> Transformer:
    """A copy that takes the scale in, as distillation starts it."""
    student = Transformer(replace(CONFIG, guidance_input=True)).initialise().double()
    student.load_state_dict(teacher.state_dict(), strict=False)
    return student


def test_the_divergence_is_the_sum_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.softmax(torch.randn(5, 7, generator=generator), -1)
    p[:, :2] = 0
    p = p / p.sum(-1, keepdim=True)
    logits = torch.randn(5, 7, generator=generator)
    q = torch.softmax(logits, -1)
    expected = (
        sum(float(a * (a / b).log()) for a, b in zip(p.flatten(), q.flatten(), strict=True) if a > 0) / 5
    )
    assert float(divergence(p.log(), logits)) == pytest.approx(expected, rel=1e-5)
    assert float(divergence(p.log(), p.clamp(min=1e-30).log())) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_it_starts_as_the_conditional_teacher_at_every_scale(scale: float) -> None:
    m, b = model(), batch()
    student = student_of(m)
    t = torch.ones(b.x0.shape)
    got = OnePass(student, scale)(b.x0, t, student.encode(b.prompt, b.prompt_mask))
    torch.testing.assert_close(got, m(b.x0, t, m.encode(b.prompt, b.prompt_mask)), atol=1e-12, rtol=0)


def test_the_scale_reaches_every_row_of_a_doubled_condition() -> None:
    m, b = model(), batch()
    student = student_of(m)
    with torch.no_grad():
        student.guidance.weight.normal_()
    cond = student.encode(b.prompt, b.prompt_mask)
    both = cond.at_scale(2.0).beside(cond)  # the second rows have no scale: 1
    x, t = b.x0, torch.ones(b.x0.shape)
    got = student(torch.cat([x, x]), torch.cat([t, t]), both)
    at_two, at_one = student(x, t, cond.at_scale(2.0)), student(x, t, cond)
    torch.testing.assert_close(got, torch.cat([at_two, at_one]), atol=1e-10, rtol=0)
    torch.testing.assert_close(at_one, student(x, t, cond.at_scale(1.0)), atol=1e-10, rtol=0)
    assert (at_one - at_two).abs().max() > 1e-3


def test_a_command_teaches_resumes_and_samples(
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
    guided, cond = teacher.guided(prompts, 3.0, SamplingSettings())
    one_pass, own = student.guided(prompts, 3.0, SamplingSettings())
    assert isinstance(guided, Guided) and isinstance(one_pass, OnePass)
    end = teacher.tokenizer.end
    ids = torch.tensor([[end, *range(30, 50)], [end, *range(50, 70)]])
    with torch.no_grad():
        wanted = guided.remember(ids, cond)[1].flatten(0, 1)
        learned = divergence(wanted, one_pass.remember(ids, own)[1].flatten(0, 1))
        plain = divergence(wanted, teacher.model.remember(ids, cond)[1].flatten(0, 1)[:, : wanted.shape[1]])
    assert float(learned) < float(plain)
    capsys.readouterr()
    assert (
        main(["sample", str(last), "--prompt", "Write about dogs", "--seq_len", "8", "--guidance_scale", "5"])
        == 1
    )
    assert "scales from 0 to 4" in capsys.readouterr().err
    assert main(["distill-guidance", str(last)]) == 2
    assert "already" in capsys.readouterr().err


def test_a_teacher_with_another_tokenizer_is_refused(trained: Workplace) -> None:
    other = build_tokenizer("bytes", 400, [])
    with pytest.raises(ValueError, match="tokenizer of the teacher"):
        Distillation.start(trained.checkpoint, model(), other)


def test_guidance_input_without_a_teacher_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "nano", "--guidance_input", "--print-config"]) == 2
    assert "distill-guidance" in capsys.readouterr().err
    saved = Config.from_dict({"model": {"guidance_input": True}, "training": {"teacher": "x"}})
    assert saved.model.guidance_input
