"""Whether a GPU computes what the CPU computes: losses, gradients, texts."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sunfish.config import Config, GenerationConfig
from sunfish.config.presets import preset
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.hardware.device import autocast
from sunfish.model.transformer import Transformer, build_model
from sunfish.processes import build_process
from sunfish.rng import make_generator
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.loss import training_loss
from sunfish.types import Batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA GPU"),
]
CPU = torch.device("cpu")
SHAPE = dict(vocab_size=500, n_layer=2, n_head=4, n_embd=256, context_length=256, prompt_length=16)
ROWS, LENGTH = 4, 200  # no whole number of tiles
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 5e-2}  # of the difference, as a share of the truth
SAME_TOKENS = 0.95  # share: one rounding that flips a draw changes what comes after it
BLOCKS = {"masked": (LENGTH, 4, 16), "uniform": (LENGTH, 4), "mixed": (4,), "gaussian": (LENGTH,)}


def model_of(config: Config) -> Transformer:
    """A network in which nothing is 0 that would hide a mistake."""
    process = build_process(config.process, config.model.vocab_size)
    model = build_model(config, process).init_weights(make_generator("agrees"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.any():
                parameter.normal_(0, 0.5 * parameter.shape[-1] ** -0.5, generator=make_generator(name))
        model.output_scale.fill_(0.2)
    return model


def batch_of(config: Config) -> Batch:
    """Full rows of random ids, with prompts."""
    generator, vocabulary = make_generator("batch"), config.model.vocab_size
    x0 = torch.randint(1, vocabulary, (ROWS, LENGTH), generator=generator)
    prompt = torch.randint(1, vocabulary, (ROWS, 8), generator=generator)
    return Batch(x0, torch.full((ROWS,), LENGTH), prompt, torch.ones_like(prompt, dtype=torch.bool))


def loss_and_gradient(
    process_name: str, block_length: int, device: torch.device, dtype: torch.dtype, compiled: bool
) -> tuple[float, Tensor]:
    """The loss of one training step, and its whole gradient in float64 on the CPU."""
    config = Config().with_fields(process=process_name, **SHAPE)
    model = model_of(config).to(device)
    if dtype == torch.float64:
        model.double()
    if compiled:
        model.compile_blocks()
    process = build_process(config.process, config.model.vocab_size).with_embeddings(model.token_embedding)
    batch, generator = batch_of(config).to(device), make_generator("noise")
    with autocast(device, torch.bfloat16 if dtype == torch.bfloat16 else torch.float32):
        losses = training_loss(model, process, batch, generator, block_length, config.training)
    losses.total.backward()
    gradient = [p.grad.flatten().double().cpu() for p in model.parameters() if p.grad is not None]
    return losses.total.item(), torch.cat(gradient)


@functools.cache
def truth(process_name: str, block_length: int) -> tuple[float, Tensor]:
    """What the CPU computes in float64."""
    return loss_and_gradient(process_name, block_length, CPU, torch.float64, False)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("dtype", LIMITS, ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("process", "block_length"), [(p, b) for p, blocks in BLOCKS.items() for b in blocks]
)
def test_a_training_step_agrees(process: str, block_length: int, dtype: torch.dtype, compiled: bool) -> None:
    loss, gradient = truth(process, block_length)
    gpu_loss, gpu_gradient = loss_and_gradient(process, block_length, torch.device("cuda"), dtype, compiled)
    assert abs(gpu_loss / loss - 1) < LIMITS[dtype]
    assert float((gpu_gradient - gradient).norm() / gradient.norm()) < LIMITS[dtype]


def test_guided_texts_agree(tmp_path: Path) -> None:
    """Random numbers are drawn on the CPU for every device, so the texts are the same."""
    config = preset("nano", stories=500, data_folder=str(tmp_path), **SHAPE)
    prepared = prepare(open_source(config.corpus, 0), config)
    settings = GenerationConfig(sampler="first-hitting", guidance_scale=2.0)
    rows = []
    for device in (CPU, torch.device("cuda")):
        model = model_of(config).to(device).eval()
        process = build_process(config.process, config.model.vocab_size)
        pipeline = Pipeline(model, process, prepared.tokenizer)
        rows.append(
            [text.ids for text in pipeline.generate(["a robot", "the sea"], settings, seq_len=64, seed=1)]
        )
    pairs = [(a, b) for one, two in zip(*rows, strict=True) for a, b in zip(one, two, strict=False)]
    assert sum(a == b for a, b in pairs) / len(pairs) > SAME_TOKENS
