"""Owns the folder of an export: three ONNX graphs over one file of weights, tokenizers, settings, and a sampler."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sunfish.checkpoint.folder import Checkpoint, load_checkpoint
from sunfish.checkpoint.metadata import PROMPT_TOKENIZER, TOKENIZER
from sunfish.config import GenerationConfig, ModelConfig
from sunfish.disk.writing import replace_folder, temporary_path, writing
from sunfish.export.graphs import DraftGraph, EncodeGraph, Graph, VerifyGraph
from sunfish.export.int8 import quantize_graph
from sunfish.sampling.generation_config import read_generation_config
from sunfish.utils import UsageError, format_bytes, how_to_install, log

if TYPE_CHECKING:
    from onnx import ModelProto

FORMAT = "sunfish-onnx-1"
OPSET = 20  # the newest that onnxruntime-web reads with all operators
PACKAGES = ("onnx", "onnxruntime")
SAMPLER, SETTINGS, WEIGHTS = "sample.py", "settings.json", "weights.bin"
MAX_BYTES = 3 * 2**29  # of weights; the format ends at 2 GiB, the output table twice
MIN_SHARED = 1024  # bytes of a tensor that goes to the file of weights
ALIGNMENT = 64  # of a tensor in that file
SETTINGS_OF_SAMPLING = (
    *("sampler", "block_length", "temperature", "top_p", "lenience"),
    *("guidance_scale", "plausibility", "negative_prompt"),
)


def export_onnx(path: Path, folder: Path, *, int8: bool = False) -> Path:
    """Write the checkpoint ``path`` as ONNX graphs to a new ``folder``.

    Args:
        path: A checkpoint, as :func:`sunfish.checkpoint.folder.load_checkpoint` takes it.
        folder: There is none, or it is empty.
        int8: Weights of 8 bits; see :func:`sunfish.export.int8.quantize_graph`.

    Returns:
        The folder.

    Raises:
        UsageError: The folder holds something, or the checkpoint has a part that an export does not have.
        ImportError: The extra ``onnx`` is not installed.
        WriteError: A file could not be written.
    """
    check_packages()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty; give a folder that does not exist")
    checkpoint = load_checkpoint(path)
    check_supported(checkpoint)
    temporary = temporary_path(folder)
    try:
        with writing(folder):
            temporary.mkdir(parents=True)
            graphs = build_graphs(checkpoint, temporary)
            if int8:
                graphs = {name: quantize_graph(temporary / f"{name}.onnx") for name in graphs}
            write_graphs(temporary, graphs)
            write_companions(temporary, checkpoint)
        replace_folder(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def check_packages() -> None:
    """Raise ``ImportError`` where a package of the extra is missing."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"export needs {name}; install it with: {how_to_install('onnx')}")


def check_supported(checkpoint: Checkpoint) -> None:
    """Raise ``UsageError`` for a checkpoint that the graphs cannot hold."""
    name = checkpoint.config.process.process
    if name != "masked":
        raise UsageError(
            f"process is {name}, but an export is for the process masked; sample this checkpoint with sunfish sample"
        )
    if checkpoint.model.guidance_embedding is not None:
        raise UsageError(
            f"{checkpoint.path} guides in one pass, but an export guides in two; export the checkpoint that taught it"
        )
    size = sum(value.nbytes for value in checkpoint.model.state_dict().values())
    if size > MAX_BYTES:
        raise UsageError(
            f"{checkpoint.path} has {format_bytes(size)} of weights, but an ONNX graph holds at most "
            f"{format_bytes(MAX_BYTES)}; export a smaller model"
        )


@torch.no_grad()
def build_graphs(checkpoint: Checkpoint, folder: Path) -> dict[str, ModelProto]:
    """The graphs ``encode``, ``draft`` and ``verify``, which are also written whole to ``NAME.onnx`` in ``folder``."""
    model, size = checkpoint.model, checkpoint.tokenizer.size
    graphs: dict[str, Graph] = {
        "encode": EncodeGraph(model),
        "draft": DraftGraph(model, size),
        "verify": VerifyGraph(model, size),
    }
    examples = example_inputs(model.config)
    return {name: _to_onnx(graph.eval(), examples, folder / f"{name}.onnx") for name, graph in graphs.items()}


def example_inputs(config: ModelConfig) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
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


def write_companions(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the tokenizers, the settings and the sampler."""
    config, tokenizer = checkpoint.config.model, checkpoint.tokenizer
    tokenizer.save(folder / TOKENIZER)
    if checkpoint.prompt_tokenizer is not tokenizer:
        checkpoint.prompt_tokenizer.save(folder / PROMPT_TOKENIZER)
    settings = {
        "format": FORMAT,
        "context_length": config.context_length,
        "prompt_length": config.prompt_length,
        "mask_id": config.vocab_size,
        "end": tokenizer.end,
        "cache": [config.n_layer + 1, config.n_head, config.n_embd // config.n_head],
        "sampling": sampling_settings(checkpoint.path),
    }
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("standalone.py"), folder / SAMPLER)


def sampling_settings(path: Path) -> dict[str, Any]:
    """How the checkpoint is sampled best, as far as the sampler of an export can."""
    config = read_generation_config(path)
    if config.passes_per_round != 2 or config.composed_prompts:
        log(
            f"note: {path} suits the sampler {config.sampler}, but an export has verified; it gets the default settings"
        )
        config = GenerationConfig()
    return {name: asdict(config)[name] for name in SETTINGS_OF_SAMPLING}
