"""Whether a GPU computes what the CPU computes: losses, gradients, texts.

    ./run.sh benchmarks/gpu_agrees.py

One training step of each process at several block lengths. The truth is float64 on the CPU; beside it stand float32 and
bfloat16 on the GPU, and both through compiled layers with tiled attention (``--compile``). Printed is the difference of
the loss and of the whole gradient as a ratio to the truth; float32 must stay under 1e-3, bfloat16 under 5e-2. Then
guided texts of one model, written on both: the share of their tokens that are the same, in float32 (random numbers are
drawn on the CPU for every device). Exits with 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import torch
from torch import Tensor

from sunfish.config import Config
from sunfish.config.presets import preset
from sunfish.config.sampling import SamplingSettings
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources.open import open_source
from sunfish.hardware.device import choose_device
from sunfish.model.transformer import Transformer
from sunfish.processes import build_process
from sunfish.rng import generator_of
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.loss import objective
from sunfish.types import Batch

SHAPE = dict(vocab_size=500, n_layer=2, n_head=4, n_embd=256, context_length=256, prompt_length=16)
ROWS, LENGTH = 4, 200  # no whole number of tiles
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
ROW = "{:<10} {:>6} {:<10} {:<9} {:>10} {:>10}  {}"


def model_of(config: Config) -> Transformer:
    """A network in which nothing is 0 that would hide a mistake."""
    model = Transformer(config.model).initialise(generator_of("agrees"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.any():
                parameter.normal_(0, 0.5 * parameter.shape[-1] ** -0.5, generator=generator_of(name))
        model.output_gain.fill_(0.2)
    return model


def batch_of(config: Config) -> Batch:
    """Full rows of random ids, with prompts."""
    generator, vocabulary = generator_of("batch"), config.model.vocab_size
    x0 = torch.randint(1, vocabulary, (ROWS, LENGTH), generator=generator)
    prompt = torch.randint(1, vocabulary, (ROWS, 8), generator=generator)
    return Batch(x0, torch.full((ROWS,), LENGTH), prompt, torch.ones_like(prompt, dtype=torch.bool))


def step(
    config: Config, block_length: int, device: torch.device, dtype: torch.dtype, compiled: bool
) -> tuple[float, Tensor]:
    """The loss and the whole gradient, in float64."""
    model = model_of(config).to(device)
    if dtype == torch.float64:
        model.double()
    if compiled:
        model.compile_layers()
    batch = batch_of(config).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        losses = objective(
            model, build_process(config.process), batch, generator_of("noise"), block_length, config.training
        )
    losses.total.backward()
    gradient = [p.grad.flatten().double().cpu() for p in model.parameters() if p.grad is not None]
    return losses.total.item(), torch.cat(gradient)


def training(device: torch.device) -> bool:
    """Print a row for each way; whether all agree."""
    print(ROW.format("process", "block", "format", "layers", "loss", "gradient", ""))
    fine = True
    for process, blocks in {"masked": (0, 4, 16), "uniform": (0, 4), "mixed": (4,), "gaussian": (0,)}.items():
        config = Config().with_fields(process=process, **SHAPE)
        for block_length in blocks:
            loss, gradient = step(config, block_length, torch.device("cpu"), torch.float64, False)
            for dtype, limit in LIMITS.items():
                for compiled in (False, True):
                    found, other = step(config, block_length, device, dtype, compiled)
                    off = abs(found / loss - 1), float((other - gradient).norm() / gradient.norm())
                    good = max(off) < limit
                    fine &= good
                    print(
                        ROW.format(
                            process, block_length, str(dtype).removeprefix("torch."),
                            "compiled" if compiled else "eager", f"{off[0]:.1e}", f"{off[1]:.1e}",
                            "" if good else f"MORE THAN {limit:g}",
                        ),
                        flush=True,
                    )  # fmt: skip
    return fine


def writing(device: torch.device) -> bool:
    """Print how many tokens are the same; whether nearly all are."""
    with tempfile.TemporaryDirectory() as folder:
        config = preset("nano", stories=500, data_folder=folder, **SHAPE)
        prepared = prepare(open_source(config.corpus, 0), config)
        texts, prompts = [], ["a robot", "the sea"]
        settings = SamplingSettings(sampler="first-hitting")
        for where in (torch.device("cpu"), device):
            model = model_of(config).to(where).eval()
            pipeline = Pipeline(model, build_process(config.process), prepared.tokenizer)
            texts.append(
                pipeline.generate(prompts, guidance_scale=2.0, seq_len=64, settings=settings, seed=1)
            )
    pairs = [(a, b) for one, two in zip(*texts, strict=True) for a, b in zip(one.ids, two.ids, strict=False)]
    same = sum(a == b for a, b in pairs) / len(pairs)
    print(f"writing: {100 * same:.1f} % of {len(pairs)} tokens are the same on both")
    return same > 0.95


def main() -> None:
    """Compare, print, exit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="what is compared with the CPU (%(default)s)")
    device = choose_device(parser.parse_args().device)
    good = training(device)
    sys.exit(0 if writing(device) and good else 1)


if __name__ == "__main__":
    main()
