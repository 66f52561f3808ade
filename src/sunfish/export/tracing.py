"""Owns the way from a network to ONNX graphs, and from these to files that share their weights."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sunfish.config import ModelConfig
from sunfish.export.graphs import DraftGraph, EncodeGraph, Graph, VerifyGraph
from sunfish.model.transformer import Transformer
from sunfish.sampling.speculative import num_candidates

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20  # the newest that onnxruntime-web reads with all operators
WEIGHTS = "weights.bin"
MIN_SHARED = 1024  # bytes of a tensor that goes to the file of weights
ALIGNMENT = 64  # of a tensor in that file


@torch.no_grad()
def build_graphs(model: Transformer, size: int, folder: Path) -> dict[str, ModelProto]:
    """The graphs ``encode``, ``draft`` and ``verify``, which are also written whole to ``NAME.onnx`` in ``folder``.

    ``size``: ids of the tokenizer.
    """
    graphs: dict[str, Graph] = {
        "encode": EncodeGraph(model),
        "draft": DraftGraph(model, size),
        "verify": VerifyGraph(model, size),
    }
    examples = example_inputs(model.config, size)
    return {name: _to_onnx(graph.eval(), examples, folder / f"{name}.onnx") for name, graph in graphs.items()}


def example_inputs(config: ModelConfig, size: int) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
    """A tensor for each input of a graph, and which of its dimensions differ from pass to pass.

    No two of these have the same size, and none has 0 or 1, which the exporter would take for constants.
    """
    rows, prompt, cached, kept, ids = 2, 6, 11, 9, 7
    layers, heads = config.n_layer + 1, config.n_head
    shape = (layers if config.prompt_length else 1, rows, heads, prompt, config.n_embd // heads)
    whole = torch.ones(rows, prompt, dtype=torch.bool)
    return {
        "prompts": (torch.zeros(rows, prompt, dtype=torch.long), (0, 1)),
        "visible": (whole, (0, 1)),
        "ids": (torch.zeros(ids, dtype=torch.long), (0,)),
        "canvas": (torch.full((ids,), config.vocab_size), (0,)),
        "cache": (torch.zeros(layers, 2, rows, heads, cached, shape[-1]), (2, 4)),
        "kept": (torch.arange(kept), (0,)),
        "keys": (torch.zeros(shape), (1, 3)),
        "values": (torch.zeros(shape), (1, 3)),
        "mask": (whole, (0, 1)),
        "scale": (torch.tensor(3.0), ()),
        "plausibility": (torch.tensor(0.3), ()),
        "noise": (torch.zeros(ids - 1, num_candidates(size)), (0,)),
        "temperature": (torch.tensor(0.5), ()),
        "top_p": (torch.tensor(0.9), ()),
    }


def _to_onnx(graph: Graph, examples: dict[str, tuple[Tensor, tuple[int, ...]]], path: Path) -> ModelProto:
    import onnx

    names = list(graph.inputs)
    dynamic = {**{name: examples[name][1] for name in names}, **graph.dynamic_outputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the tracer says of itself, and of len and bool of shapes
        # The exporter that is to replace the tracer takes two minutes for what takes this one seconds.
        torch.onnx.export(
            graph,
            tuple(examples[name][0] for name in names),
            path,
            input_names=names,
            output_names=list(graph.dynamic_outputs),
            dynamic_axes={name: [*axes] for name, axes in dynamic.items() if axes},
            opset_version=OPSET,
            dynamo=False,
        )
    proto = onnx.load(path)
    _use_weights_directly(proto)
    onnx.save(proto, path)
    return proto


def _use_weights_directly(proto: ModelProto) -> None:
    """Remove the identities that stand between a weight and its second product, behind which nothing finds the weight."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    same = {
        node.output[0]: node.input[0]
        for node in proto.graph.node
        if node.op_type == "Identity" and node.input[0] in weights
    }
    nodes = [node for node in proto.graph.node if node.output[0] not in same]
    for node in nodes:
        node.input[:] = [same.get(name, name) for name in node.input]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def write_graphs(folder: Path, graphs: dict[str, ModelProto]) -> None:
    """Write each graph to ``NAME.onnx``, and what they have in common once, to one file of weights."""
    from onnx import TensorProto

    places: dict[bytes, int] = {}
    with (folder / WEIGHTS).open("wb") as weights:
        for name, proto in graphs.items():
            for tensor in proto.graph.initializer:
                content = tensor.raw_data
                if len(content) < MIN_SHARED:
                    continue
                digest = hashlib.sha256(content).digest()
                if digest not in places:
                    weights.write(bytes(-weights.tell() % ALIGNMENT))
                    places[digest] = weights.tell()
                    weights.write(content)
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                entries = {"location": WEIGHTS, "offset": str(places[digest]), "length": str(len(content))}
                for key, value in entries.items():
                    tensor.external_data.add(key=key, value=value)
            (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
