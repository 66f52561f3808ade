"""How a network's weights begin."""

from __future__ import annotations

import torch

from sunfish.model.layers import CrossAttention
from sunfish.model.prompt_encoder import PromptEncoder
from sunfish.model.trunk import Trunk

COPY = 1.0  # how much of the prompt's mean token each layer adds at the start


@torch.no_grad()
def draw_weights(model: Trunk, generator: torch.Generator | None = None) -> None:
    """Draw the weights: token embeddings N(0, 1), matrices of variance 1 / fan-in, residual outputs 0.

    Token embeddings start large. Words that can stand for one another, such as names, are pulled in one direction
    from the first step on; with the usual 0.02 that direction soon drowns what tells them apart, and
    attention has nothing left to copy them by. A small gain on the output keeps the first logits near 0.

    Only cross-attention starts with an output: its values and output matrix are an orthogonal matrix and
    its transpose, so that at first every position receives the mean of the prompt's tokens. A prompt's words
    must turn up in the text, and starting from copying shows that to the optimizer at once. (docs/log.md)
    """
    for name, parameter in model.named_parameters():
        if name == "output_gain":
            parameter.fill_(0.02)
        elif name.endswith("gain"):
            parameter.fill_(1.0)
        elif name == "table" or name.endswith("null"):
            parameter.normal_(0.0, 1.0, generator=generator)
        elif name.endswith((".output.weight", ".down.weight", "guidance.weight")):
            parameter.zero_()
        elif name.endswith("weight"):
            parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
        else:  # positions, and the mark of reading
            parameter.normal_(0.0, 0.3, generator=generator)
    model.pointer.initialise()
    if model.neighbours is not None:
        model.neighbours.initialise()
    if not isinstance(model.prompt_encoder, PromptEncoder):
        return
    width = model.config.n_embd
    cross_values = model.prompt_encoder.keys_values.weight.view(-1, 2, width, width)[:, 1]
    attentions = [module for module in model.modules() if isinstance(module, CrossAttention)]
    depth = model.config.n_layer
    beside = [*range(depth), *range(depth - model.config.n_decoder_layer, depth)]
    for values in cross_values:
        orthogonal, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
        values.copy_(orthogonal)
    for number, attention in zip(beside, attentions, strict=True):
        attention.output.weight.copy_(COPY * cross_values[number].T)
