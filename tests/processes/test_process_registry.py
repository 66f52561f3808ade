"""A process is found by its name, and a new one needs nothing but its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sunfish.config import ProcessConfig
from sunfish.processes import build_process, process_builders
from sunfish.processes.gaussian import GaussianProcess
from sunfish.processes.masked import MaskedProcess
from sunfish.processes.mixed import MixedProcess
from tests.packages import run_in_copy

NEW_PROCESS = '''"""Masks of which every second token is spared."""

from sunfish.processes.masked import MaskedProcess


class SparingProcess(MaskedProcess):
    """Only odd positions are masked."""

    def corrupt(self, x0, t, rng):
        x_t = super().corrupt(x0, t, rng)
        x_t[:, ::2] = x0[:, ::2]
        return x_t


PROCESSES = {"sparing": lambda config, mask_id: SparingProcess(mask_id)}
'''

TRAIN_AND_GENERATE = """
import torch
from sunfish.config import Config, GenerationConfig, ModelConfig, ProcessConfig, TrainingConfig
from sunfish.model.transformer import build_model
from sunfish.processes import build_process, process_builders
from sunfish.rng import RowGenerators, make_generator
from sunfish.sampling.block_diffusion import block_diffusion
from sunfish.training.loss import training_loss
from sunfish.types import Batch

model = ModelConfig(vocab_size=7, n_layer=1, n_head=1, n_embd=8, context_length=8, prompt_length=0)
config = Config(model=model, process=ProcessConfig(process="sparing"))
process = build_process(config.process, 7)
network = build_model(config, process).init_weights(make_generator("model"))
nothing = torch.zeros(1, 0, dtype=torch.long)
ids, condition = torch.zeros(1, 6, dtype=torch.long), network.encode(nothing, nothing.bool())
texts = Batch(ids, torch.tensor([6]), nothing, nothing.bool())
training_loss(network, process, texts, make_generator("step"), 4, TrainingConfig()).total.backward()
generation = GenerationConfig(sampler=process.default_sampler, block_length=4)
rng, free = RowGenerators([make_generator("sample")]), torch.ones_like(ids, dtype=torch.bool)
*_, last = block_diffusion(network, process, condition, ids, free, rng, generation)
print(type(process).__name__, sorted(process_builders()), last.done, int(last.x.max()) < 7)
"""


@pytest.mark.parametrize(
    ("config", "process"),
    [
        (ProcessConfig(), MaskedProcess(7)),
        (ProcessConfig(process="uniform"), MixedProcess(7, uniform_share=1.0)),
        (ProcessConfig(process="mixed", uniform_share=0.3), MixedProcess(7, uniform_share=0.3)),
        (ProcessConfig(process="gaussian"), GaussianProcess()),
    ],
    ids=lambda value: getattr(value, "process", ""),
)
def test_every_name_builds_its_process(config: ProcessConfig, process: object) -> None:
    assert build_process(config, 7) == process
    assert config.process in process_builders()


def test_the_names_are_those_that_are_documented() -> None:
    assert sorted(process_builders()) == ["gaussian", "masked", "mixed", "uniform"]


def test_an_unknown_process_is_named() -> None:
    names = ", ".join(process_builders())
    with pytest.raises(ValueError, match=f"process is 'sticky'; the processes are: {names}"):
        build_process(ProcessConfig(process="sticky"), 7)


@pytest.mark.slow
def test_a_new_process_is_one_file(tmp_path: Path) -> None:
    """Dropped into a copy of the package, it is found by its name, trained and sampled."""
    output = run_in_copy(tmp_path, {"processes/sparing.py": NEW_PROCESS}, TRAIN_AND_GENERATE)
    assert output == "SparingProcess ['gaussian', 'masked', 'mixed', 'sparing', 'uniform'] True True"


def test_ids_need_no_embeddings_and_no_estimate() -> None:
    for process in (MaskedProcess(7), MixedProcess(7)):
        ids = torch.randint(0, 7, (2, 5))
        assert process.with_embeddings(torch.zeros(8, 4)) is process
        assert process.with_self_conditioning(torch.zeros(2, 5, 7), ids, torch.ones(2, 5)) is ids
        assert torch.equal(process.decode(ids), ids)
        with pytest.raises(AssertionError, match="a masked token is left at time 0"):
            process.decode(torch.full((1, 3), 7))
