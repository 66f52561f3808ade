"""The sampler and the process of docs/contributing.md: each is one file, and they do what the page says."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from sunfish import processes
from sunfish.processes import process_builders
from sunfish.sampling import unmasking
from sunfish.sampling.unmasking import policy_families
from tests.conftest import ROOT
from tests.packages import run_in_copy

PROGRAM = """
import torch
from sunfish.config import Config, GenerationConfig, ModelConfig, ProcessConfig, TrainingConfig
from sunfish.model.transformer import build_model
from sunfish.processes import build_process
from sunfish.rng import RowGenerators, make_generator
from sunfish.sampling.block_diffusion import block_diffusion
from sunfish.training.loss import training_loss
from sunfish.types import Batch

V = 7
model = ModelConfig(vocab_size=V, n_layer=1, n_head=1, n_embd=8, context_length=8, prompt_length=0)
config = Config(model=model, process=ProcessConfig(process="early"))
process = build_process(config.process, V)
network = build_model(config, process).init_weights(make_generator("model"))
nothing = torch.zeros(1, 0, dtype=torch.long)
ids, condition = torch.zeros(1, 6, dtype=torch.long), network.encode(nothing, nothing.bool())
texts = Batch(ids, torch.tensor([6]), nothing, nothing.bool())
training_loss(network, process, texts, make_generator("step"), 4, TrainingConfig()).total.backward()

# Half of the time at t = 0.25, all of it from t = 0.5 on.
x0 = torch.zeros(1, 4000, dtype=torch.long)
rates = [(process.corrupt(x0, torch.full_like(x0, t, dtype=torch.float64), RowGenerators([make_generator(str(t))])) == V)
         .double().mean().item() for t in (0.25, 0.6)]
assert abs(rates[0] - 0.5) < 0.04 and rates[1] == 1.0, rates

# From right to left, two positions a step.
generation = GenerationConfig(sampler="rightmost", block_length=0, num_steps=8)
rng, free = RowGenerators([make_generator("sample")]), torch.ones_like(ids, dtype=torch.bool)
orders = [snapshot.x[0] != V for snapshot in block_diffusion(network, process, condition, ids, free, rng, generation)]
for revealed in orders:
    count = int(revealed.sum())
    assert bool(revealed[6 - count:].all()), revealed
print(int(orders[-1].sum()))
"""


def block_with(word: str) -> str:
    page = (ROOT / "docs/contributing.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.S) if word in block]
    return block


@pytest.mark.slow
def test_the_examples_of_the_page_work(tmp_path: Path) -> None:
    files = {
        "sampling/unmasking/rightmost.py": block_with("def rightmost"),
        "processes/early.py": block_with("class EarlyProcess"),
    }
    assert run_in_copy(tmp_path, files, PROGRAM) == "6"


@pytest.mark.parametrize(
    ("package", "find", "name", "content", "message"),
    [
        (processes, process_builders, "nothing", "", "has no PROCESSES; see docs/contributing.md"),
        (
            processes,
            process_builders,
            "twin",
            'PROCESSES = {"masked": None}\n',
            "names the process 'masked', which exists; choose another name",
        ),
        (unmasking, policy_families, "nothing", "", "has no POLICY; see docs/contributing.md"),
    ],
)
def test_a_file_that_registers_nothing_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: ModuleType,
    find: Callable[[], object],
    name: str,
    content: str,
    message: str,
) -> None:
    file = tmp_path / f"{name}.py"
    file.write_text(content)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    find.cache_clear()
    try:
        with pytest.raises(ImportError) as error:
            find()
    finally:
        del sys.modules[f"{package.__name__}.{name}"]
    assert str(error.value) == f"{file} {message}"
