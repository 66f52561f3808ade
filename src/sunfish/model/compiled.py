"""The passes of sampling as compiled programs: a few large operations in place of hundreds of small ones."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import torch
import torch.fx.experimental._config as shapes
from torch import Tensor

from sunfish.model.transformer import Begun, Transformer, drafted, drafted_behind
from sunfish.types import Condition, Draft, Drafts, Past, Start, State

PROGRAMS = 64  # of each pass, one for every kind of its arguments; PyTorch's own limit is 8


class Compiled:
    """A denoiser that is ``model``, with every pass behind remembered text compiled (``torch.compile``).

    On a CPU a pass over eight positions of a small network spends most of its time between operations. Compiling takes
    a quarter of a minute when a kind of pass first occurs (one text or several), and seconds when it is on disk already.
    Passes with nothing remembered yet are few and stay as they are, so that each kind of pass is one program: the start
    is always one for each row, and the memory has no holes.
    ``ValueError`` where there is nothing to compile with.
    """

    def __init__(self, model: Transformer) -> None:
        need_tools()
        self.model = model
        # Two sizes that happen to be equal when a program is made must not have to be equal for ever.
        shapes.use_duck_shape = False
        # Nobody exchanges the layers of a model that writes, so that no pass need look whether they are the same.
        options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_guard_on_all_nn_modules_unsafe}
        if model.table.device.type == "cpu":
            options["cpp_wrapper"] = True  # calls from one operation to the next without Python
        apart: dict[str, Any] = {"recompile_limit": PROGRAMS, "isolate_recompiles": True}

        def program(function: Callable[..., Any]) -> Callable[..., Any]:
            return torch.compile(function, dynamic=True, fullgraph=True, options=options, **apart)

        def draft(x: State, t: Tensor, cond: Condition, past: Past, starts: Tensor) -> tuple[Tensor, Begun]:
            return model.begin_draft(model.canvas(x, t, cond, past, starts))

        self._canvas, self._remember = program(model.forward), program(model.remember)
        self._draft, self._read_ahead = program(draft), program(model.read_ahead)
        self._begin_draft, self._go_on = program(model.begin_draft), program(model.go_on)

    @property
    def table(self) -> Tensor:
        """The embeddings ``[V+1, E]``."""
        return self.model.table

    def __call__(
        self,
        x: State,
        t: Tensor,
        cond: Condition,
        past: Past | None = None,
        start: Start = 0,
        block_length: int = 0,
    ) -> Tensor:
        """Logits ``[B, N, V]``; a canvas of several blocks is not compiled."""
        if _long(past) and not 0 < block_length < x.shape[1]:
            return self._canvas(x, t, cond, *_alike(past, start))
        return self.model(x, t, cond, past, start, block_length)

    def remember(
        self, ids: Tensor, cond: Condition, past: Past | None = None, start: Start | None = None
    ) -> tuple[Past, Tensor]:
        """The memory, and next-token logits ``[B, N, V]``."""
        if _long(past):
            return self._remember(ids, cond, *_alike(past, start))
        return self.model.remember(ids, cond, past, start)

    def draft(self, x: State, t: Tensor, cond: Condition, past: Past | None, start: Start) -> Draft:
        """What a canvas drafts."""
        if _long(past):
            return drafted(self._draft(x, t, cond, *_alike(past, start)), self._go_on)
        return self.model.draft(x, t, cond, past, start)

    def read_and_draft(
        self, ids: Tensor, cond: Condition, past: Past | None, start: Start, states: State, t: Tensor
    ) -> tuple[Past, Tensor, Drafts]:
        """The memory, next-token logits ``[B, N, V]``, and the drafts behind each id."""
        if self.model.decoder or not _long(past):
            return self.model.read_and_draft(ids, cond, past, start, states, t)
        past, logits, drawn = self._read_ahead(ids, cond, *_alike(past, start), states, t)
        return past, logits, drafted_behind(drawn, self._begin_draft, self._go_on)


def need_tools() -> None:
    """``ValueError`` where there is nothing to compile with."""
    if missing := missing_tools():
        raise ValueError(f"compile needs {missing}, or leave compile out")


def missing_tools() -> str:
    """What a compiler of PyTorch's programs lacks on this machine, and the remedy; empty where it has everything."""
    compiler, headers = os.environ.get("CXX", "g++"), Path(sysconfig.get_path("include"))
    if shutil.which(compiler) is None:
        return (
            f"a C++ compiler, but {compiler} is not installed here; install it (on Debian and Ubuntu: apt install g++), "
            "name another one in CXX"
        )
    if not (headers / "Python.h").is_file():
        return f"Python's header files, but {headers} has none; install them (Debian and Ubuntu: apt install python3-dev)"
    return ""


def _long(past: Past | None) -> TypeGuard[Past]:
    return past is not None and past.shape[4] > 1  # a size of 1 would be a program of its own


def _alike(past: Past, start: Start | None) -> tuple[Past, Tensor]:
    """The same memory and start, in the form that all calls have in common."""
    if not isinstance(start, Tensor):
        start = torch.full((past.shape[2],), past.shape[4] if start is None else start, device=past.device)
    return past.contiguous(), start
