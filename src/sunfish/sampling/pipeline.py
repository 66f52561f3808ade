"""All that a trained model does with text: write, fill gaps, rewrite."""

from __future__ import annotations

from collections.abc import Sequence

from sunfish.config import GenerationConfig
from sunfish.config.generation import NUM_PARTICLES
from sunfish.sampling.editing import Span, rewrite
from sunfish.sampling.gaps import Gaps
from sunfish.sampling.infilling import Infilled, infill
from sunfish.sampling.text_generator import Generated as Generated
from sunfish.sampling.text_generator import TextGenerator


class Pipeline(TextGenerator):
    """A model with its process and its tokenizers, ready to write."""

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
