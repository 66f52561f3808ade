"""All that a trained model does with text: write, fill gaps, rewrite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch

from sunfish.config import GenerationConfig
from sunfish.config.generation import NUM_PARTICLES
from sunfish.sampling.editing import Span, rewrite
from sunfish.sampling.gaps import Gaps
from sunfish.sampling.infilling import Infilled, infill
from sunfish.sampling.text_generator import TextGenerator
from sunfish.sharing.download import fetch, real_files


class Pipeline(TextGenerator):
    """A model with its process and its tokenizers, ready to write.

    Attributes:
        source: The folder of the cache that :meth:`from_pretrained` has read; None where it was not called.
    """

    source: Path | None = None

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        device: str | torch.device = "cpu",
        precision: str = "float32",
        compile: bool = False,
    ) -> Self:
        """Load a model from a hub, by way of its cache; the other methods ask no network.

        Args:
            name: ``USER/NAME``, or the folder of a checkpoint.
            revision: See :func:`sunfish.sharing.download.fetch`, which also explains the next four.
            token: That of the hub.
            cache_dir: Where the files go.
            force_download: Whether files in the cache are sent again.
            local_files_only: Whether only the cache is looked at.
            device: See :meth:`from_checkpoint`, which also explains the last two.
            precision: The number format.
            compile: Whether passes are compiled.

        Raises:
            ImportError: The extra ``hub`` is missing.
            UsageError: There is no such name, precision or device.
            ValueError: The hub refuses, or holds no model of SunFish by this name; or a file is damaged.
        """
        if Path(name).is_dir():
            return cls.from_checkpoint(name, device, precision, compile)
        snapshot = fetch(
            str(name),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        with real_files(snapshot) as folder:
            pipeline = cls.from_checkpoint(folder, device, precision, compile)
        pipeline.source = snapshot.folder
        return pipeline

    def infill(
        self,
        text: str | Gaps,
        config: GenerationConfig | None = None,
        *,
        prompt: str = "",
        seed: int = 0,
        num_samples: int = 1,
        num_particles: int = NUM_PARTICLES,
        max_tokens: int | Sequence[int] | None = None,
    ) -> list[Infilled]:
        """Fill the gaps of a text: see :func:`sunfish.sampling.infilling.infill`."""
        return infill(
            self,
            text,
            config,
            prompt=prompt,
            seed=seed,
            num_samples=num_samples,
            num_particles=num_particles,
            max_tokens=max_tokens,
        )

    def rewrite(
        self,
        text: str,
        spans: Sequence[Span],
        prompt: str = "",
        config: GenerationConfig | None = None,
        *,
        seed: int = 0,
        n: int = 1,
        num_particles: int = NUM_PARTICLES,
    ) -> list[Infilled]:
        """Write some words of a text anew: see :func:`sunfish.sampling.editing.rewrite`."""
        return rewrite(self, text, spans, prompt, config, seed=seed, n=n, num_particles=num_particles)
