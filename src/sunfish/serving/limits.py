"""What one request may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """A request that asks for more is refused, with the name of what it asks for."""

    seconds: float = 300.0
    """From the arrival of a request to the end of its answer, its time in the queue included."""
    head_seconds: float = 10.0
    """Until the head of a request has arrived; then the connection is closed."""
    unread_seconds: float = 30.0
    """That a client may read nothing of an answer that waits for it; then the connection is closed."""
    body_bytes: int = 2**20
    """Of a request."""
    body_seconds: float = 30.0
    """Until a request has arrived."""
    texts: int = 64
    """Texts of one request, over all of its prompts; with best_of, drafts."""
    tokens: int = 4096
    """max_tokens, or the model's context where that is more; beyond the context a text is written in windows."""
    gaps: int = 16
    """Gaps or spans of a text."""
    particles: int = 256
    """num_particles."""
    steps: int = 1000
    """num_steps."""
    prompts: int = 8
    """composed_prompts."""
    stops: int = 8
    """Stop strings."""
