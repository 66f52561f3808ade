"""The model card: what it says of a run."""

from __future__ import annotations

from sunfish.checkpoint.model_card import model_card
from tests.tiny_checkpoint import CONFIG


def test_the_card_says_what_the_model_is_and_was_trained_on() -> None:
    manifest = {"splits": {"train": {"documents": 1234, "tokens": 567890}}}
    config = CONFIG.with_fields(name="my run", block_lengths=(4, 0))
    card = model_card(config, 4321, 600.0, manifest)
    assert card.startswith("---\nlibrary_name: sunfish\n")
    for expected in (
        "# my run",
        "masked process",
        "1 layers, width 16, 1 heads, 400 ids, context 96",
        "4,321 steps (10 minutes) on the built-in stories: 1,234 texts, 567,890 tokens",
        "diffusion blocks of 4, the whole text",
    ):
        assert expected in card
    assert "on `tales.txt`:" in model_card(config.with_fields(data="tales.txt"), 1, 60.0, manifest)
