"""Owns the int8 form of a graph: matrices and tables of whole numbers, activations rounded as they come."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

QUANTIZED = ("MatMul", "Gather")  # matrix products with a weight, and the tables of tokens and positions


def quantize_graph(path: Path) -> ModelProto:
    """The graph in the file ``path`` with weights of 8 bits, a scale for each output of a matrix.

    Each matrix product is one of integers; onnxruntime calls this dynamic quantization, since the scale of an activation
    is that of its largest number at the time. Weights have 7 of the 8 bits: processors without integer dot products add
    two products in 16 bits, which the eighth would overflow.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    result = path.with_suffix(".int8")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends a step that changes nothing here
    try:
        quantize_dynamic(
            path,
            result,
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        proto = onnx.load(result)
    finally:
        root.setLevel(level)
        result.unlink(missing_ok=True)
    # A weight of several products stays behind in float32.
    used = {name for node in proto.graph.node for name in node.input}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return proto
