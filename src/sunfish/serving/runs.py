"""A training run as its folder tells it, for the page that shows it while it trains."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from sunfish.checkpoint.links import METRICS, SAMPLES
from sunfish.serving.errors import ApiError
from sunfish.serving.responses import error_responses

MAX_METRICS = 2**20  # bytes of one answer; the rest comes with the next
MAX_SAMPLES = 2**19  # bytes; of a longer file, the end
SECTION = re.compile(r"^## step ([0-9]{1,18})\n\n", re.MULTILINE)
PROMPT = re.compile(r"^\*\*(.+?)\*\*\n\n", re.MULTILINE)
Offset = Annotated[int, Query(ge=0, le=2**62)]
router = APIRouter(responses=error_responses())


class ShownText(BaseModel):
    """A text that the run wrote."""

    prompt: str
    text: str


class Samples(BaseModel):
    """The texts of one step."""

    step: int
    texts: list[ShownText]


class Run(BaseModel):
    """A training run, from a place in its record on."""

    name: str
    exists: bool = Field(description="Whether it has written anything yet.")
    records: list[dict[str, float | bool | str | None]] = Field(
        description="Lines of its metrics, oldest first; null is what is no finite number."
    )
    begin: int = Field(description="Bytes before the records: 0 where the run was begun anew.")
    end: int = Field(description="Bytes up to their end: the next request's `after`.")
    more: bool = Field(description="Whether more is there already.")
    samples: list[Samples] | None = Field(
        description="All of them; null where they are those of samples_end."
    )
    samples_end: int = Field(description="Bytes of the samples: the next request's `samples_after`.")


@router.get("/v1/run")
def run(request: Request, after: Offset = 0, samples_after: Offset = 0) -> Run:
    """What a training run has written since the last request."""
    folder: Path | None = request.app.state.service.run
    if folder is None:
        raise ApiError(404, "this server shows no run; start it with --run FOLDER", code="no_run")
    return read_run(folder, after, samples_after)


def read_run(folder: Path, after: int = 0, samples_after: int = 0) -> Run:
    """The run in ``folder``, which another process may be writing, or which may not be there yet.

    Args:
        folder: Of the run.
        after: Bytes of its metrics that are known.
        samples_after: Bytes of its samples that are known.
    """
    size = _size(folder / METRICS)
    begin = after if after <= size else 0  # a file that has become shorter is another one
    block = _read(folder / METRICS, begin, MAX_METRICS)
    whole = block.rfind(b"\n") + 1  # the last line may be half written
    if not whole and len(block) == MAX_METRICS:
        whole = len(block)  # no line is that long
    records = [record for line in block[:whole].splitlines() if (record := _record(line)) is not None]
    samples_end = _size(folder / SAMPLES)
    samples = None
    if samples_end != samples_after or begin != after:
        samples = parse_samples(_read(folder / SAMPLES, max(0, samples_end - MAX_SAMPLES), MAX_SAMPLES))
    return Run(
        name=folder.name,
        exists=size > 0,
        records=records,
        begin=begin,
        end=begin + whole,
        more=len(block) == MAX_METRICS,
        samples=samples,
        samples_end=samples_end,
    )


def parse_samples(content: bytes) -> list[Samples]:
    """The texts in a ``samples.md``, as :meth:`sunfish.training.logger.Logger.samples` writes them."""
    _, *parts = SECTION.split(content.decode("utf-8", "replace"))
    sections = []
    for step, body in zip(parts[::2], parts[1::2], strict=True):
        _, *texts = PROMPT.split(body)
        shown = [
            ShownText(prompt=p, text=t.strip("\n")) for p, t in zip(texts[::2], texts[1::2], strict=True)
        ]
        sections.append(Samples(step=int(step), texts=shown))
    return sections


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # not there yet
        return 0


def _read(file: Path, start: int, length: int) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(start)
            return stream.read(length)
    except OSError:
        return b""


def _record(line: bytes) -> dict[str, Any] | None:
    """The figures and words of a line of metrics; None where it is none."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):  # torn by a crash
        return None
    if not isinstance(content, dict) or not isinstance(content.get("step"), int):
        return None
    return {
        _clean(name): _clean(value) for name, value in content.items() if not isinstance(value, list | dict)
    }


def _clean(value: Any) -> Any:
    """What JSON and UTF-8 can hold of a value."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < math.inf and abs(value) < 1e300 else None
    return value
