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

from sunfish.model.draft import Draft, DraftAt, make_draft, make_draft_at
from sunfish.model.draft_head import DraftState
from sunfish.model.kv_cache import KVCache
from sunfish.model.transformer import Transformer
from sunfish.types import Condition, Start, State
from sunfish.utils import UsageError

MAX_PROGRAMS = 64  # of each pass, one for every kind of its arguments; PyTorch's own limit is 8


class CompiledDenoiser:
    """A denoiser that is ``model``, with every pass after cached text compiled (``torch.compile``).

    On a CPU, a pass over eight positions of a small network spends most of its time between operations. Compiling takes
    a quarter of a minute when a kind of pass first occurs (one text or several), and seconds when it is on disk already.
    Passes without a cache are few and stay as they are, so that each kind of pass is one program: the start is always
    one for each row, and the cache has no holes in memory.
    """

    def __init__(self, model: Transformer) -> None:
        """Prepare the programs; they are compiled when they are first called.

        Raises:
            UsageError: There is nothing to compile with.
        """
        require_compiler()
        self.model = model
        # Two sizes that happen to be equal when a program is made need not stay equal.
        shapes.use_duck_shape = False
        # Nobody exchanges the layers of a model that samples, so no pass need check that they are the same.
        options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_guard_on_all_nn_modules_unsafe}
        if model.token_embedding.device.type == "cpu":
            options["cpp_wrapper"] = True  # calls from one operation to the next without Python
        limits: dict[str, Any] = {"recompile_limit": MAX_PROGRAMS, "isolate_recompiles": True}

        def program(function: Callable[..., Any]) -> Callable[..., Any]:
            return torch.compile(function, dynamic=True, fullgraph=True, options=options, **limits)

        def draft(x: State, t: Tensor, condition: Condition, cache: KVCache, starts: Tensor) -> DraftState:
            return model.start_draft(model.canvas_pass(x, t, condition, cache, starts))

        self._denoise, self._prefill = program(model.denoise), program(model.prefill)
        self._draft = program(draft)
        self._causal_and_drafts = program(model.causal_and_drafts_pass)
        self._start_draft, self._draft_logits = program(model.start_draft), program(model.draft_logits)

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        """See :meth:`sunfish.model.denoiser.Denoiser.denoise`."""
        if _compilable(cache):
            logits: Tensor = self._denoise(x, t, condition, *_uniform(cache, start))
            return logits
        return self.model.denoise(x, t, condition, cache, start)

    def prefill(
        self, ids: Tensor, condition: Condition, cache: KVCache | None = None, start: Start | None = None
    ) -> tuple[Tensor, KVCache]:
        """See :meth:`sunfish.model.denoiser.Denoiser.prefill`."""
        if _compilable(cache):
            logits, grown = self._prefill(ids, condition, *_uniform(cache, start))
            return logits, grown
        return self.model.prefill(ids, condition, cache, start)

    def draft(self, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start) -> Draft:
        """See :meth:`sunfish.model.denoiser.Denoiser.draft`."""
        if _compilable(cache):
            state = self._draft(x, t, condition, *_uniform(cache, start))
            return make_draft(state, self._draft_logits, self.model.token_embedding)
        return self.model.draft(x, t, condition, cache, start)

    def prefill_and_draft(
        self, ids: Tensor, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start
    ) -> tuple[Tensor, KVCache, DraftAt]:
        """See :meth:`sunfish.model.denoiser.Denoiser.prefill_and_draft`."""
        if not _compilable(cache):
            return self.model.prefill_and_draft(ids, x, t, condition, cache, start)
        logits, grown, canvases = self._causal_and_drafts(ids, x, t, condition, *_uniform(cache, start))
        embedding = self.model.token_embedding
        return logits, grown, make_draft_at(canvases, self._start_draft, self._draft_logits, embedding)


def require_compiler() -> None:
    """Raise ``UsageError`` where there is nothing to compile with."""
    if missing := missing_compiler():
        raise UsageError(f"compile needs {missing}, or leave compile out")


def missing_compiler() -> str:
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


def _compilable(cache: KVCache | None) -> TypeGuard[KVCache]:
    return cache is not None and cache.length > 1  # a size of 1 would be a program of its own


def _uniform(cache: KVCache, start: Start | None) -> tuple[KVCache, Tensor]:
    """The same cache and start, in the form that all calls have in common."""
    cache = cache.contiguous()
    if not isinstance(start, Tensor):
        first = cache.length if start is None else start
        start = torch.full((cache.num_rows,), first, device=cache.keys_values.device)
    return cache, start
