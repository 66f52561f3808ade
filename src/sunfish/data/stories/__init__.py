"""The built-in corpus of short stories: unlimited, offline and a function of seed, split and index."""

from __future__ import annotations

from sunfish.data.stories.generate import SPLITS, Story, story

__all__ = ["SPLITS", "Story", "story"]
