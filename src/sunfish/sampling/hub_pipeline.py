"""A pipeline with the methods that huggingface_hub gives to models, and the files of its repository."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from sunfish.checkpoint.links import resolve_checkpoint
from sunfish.checkpoint.metadata import CARD
from sunfish.config.data import STORIES
from sunfish.hub import require_hub
from sunfish.sampling.pipeline import Pipeline
from sunfish.sharing.model_card import Sample, check_license, model_card
from sunfish.sharing.repository import copy_model
from sunfish.sharing.run_record import read_record
from sunfish.utils import UsageError

require_hub()
from huggingface_hub import ModelHubMixin  # noqa: E402

STORY_PROMPT = "Write a story about a robot"
SEEDS = (0, 1)


def write_model(
    checkpoint: Path,
    folder: Path,
    repository: str,
    prompts: Sequence[str] = (),
    license: str | None = None,
    resumable: bool = False,
) -> None:
    """Write what a repository holds: the files of the checkpoint, and a card with texts that it writes now.

    Args:
        checkpoint: The checkpoint, or a link to it.
        folder: Where the files go; it exists.
        repository: ``USER/NAME``, for the commands on the card.
        prompts: Of the samples; empty: one that suits the corpus, or none.
        license: See :func:`sunfish.sharing.model_card.check_license`.
        resumable: See :func:`sunfish.sharing.repository.copy_model`.

    Raises:
        UsageError: A prompt or the license is wrong.
        ValueError: The checkpoint is damaged.
    """
    record = read_record(checkpoint)
    license = check_license(license, record.config)
    suits = record.config.corpus.data == STORIES and record.config.model.prompt_length
    copy_model(checkpoint, folder, resumable)
    samples = draw_samples(Pipeline.from_checkpoint(folder), prompts or [STORY_PROMPT if suits else ""])
    card = model_card(record, samples, repository, license, resumable)
    (folder / CARD).write_text(card, encoding="utf-8", errors="backslashreplace")


def draw_samples(pipeline: Pipeline, prompts: Sequence[str]) -> list[Sample]:
    """What the pipeline writes for each prompt and seed with its own settings, as ``sunfish sample`` writes it."""
    samples = []
    for prompt in prompts:
        config = pipeline.generation_config
        if not prompt and not config.negative_prompt:
            config = replace(config, guidance_scale=0.0)
        for seed in SEEDS:
            (text,) = pipeline.generate([prompt], config, seed=seed)
            samples.append(Sample(prompt, seed, text.text))
    return samples


class HubPipeline(  # type: ignore[misc]  # its from_pretrained is that of Pipeline, which takes no other settings
    Pipeline,
    ModelHubMixin,
    library_name="sunfish",
    pipeline_tag="text-generation",
    tags=["diffusion-language-model"],
):
    """A pipeline with ``save_pretrained`` and ``push_to_hub`` of huggingface_hub's ``ModelHubMixin``."""

    _repository = ""  # while it is pushed

    @classmethod
    def from_checkpoint(cls, path: str | Path, *arguments: Any, **options: Any) -> Self:
        """As :meth:`Pipeline.from_checkpoint`; the pipeline can be saved and pushed."""
        pipeline = super().from_checkpoint(path, *arguments, **options)
        pipeline.source = resolve_checkpoint(Path(path))
        return pipeline

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """As ``ModelHubMixin.push_to_hub``, with the name of the repository on the card."""
        self._repository = repo_id
        try:
            return str(super().push_to_hub(repo_id, **options))
        finally:
            self._repository = ""

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the checkpoint that this pipeline was read from, with a model card."""
        if self.source is None:
            raise UsageError(
                "this pipeline was made of parts, and a repository holds a checkpoint; make it with from_checkpoint"
            )
        write_model(self.source, save_directory, self._repository or f"USER/{save_directory.name}")
