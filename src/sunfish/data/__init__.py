"""Corpora: where text and prompts come from, their preparation, and the batches made of them."""
