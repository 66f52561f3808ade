"""Owns the frame of every benchmark: standard flags, one header, one JSON line and one table row a result."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.fields import training_fields
from benchmarks.plots import plot_path
from benchmarks.results import RESULTS, Result, append_result, command_line, current_commit
from sunfish.utils import UsageError, log

if TYPE_CHECKING:
    import torch

COLUMN_GAP = "  "
FRAME_FLAGS = ("--json", "--record", "--no-record")  # they do not change what is measured


class Benchmark:
    """A claim, the peer that it is measured against, and how."""

    def __init__(
        self,
        name: str,
        description: str | None,
        measure: Callable[[Run], None],
        *,
        claim: str,
        peer: str,
        add_flags: Callable[[argparse.ArgumentParser], None] | None = None,
        plots: bool = False,
        trains: bool = False,
        records: bool = True,
    ) -> None:
        """Describe a benchmark; :meth:`main` runs it.

        Args:
            name: Its path below benchmarks/, without the suffix.
            description: What ``--help`` says: the docstring of the script.
            measure: Measures, and hands each result to :meth:`Run.add`.
            claim: What the figures are meant to show, in one sentence.
            peer: What SunFish is compared with in the same run.
            add_flags: Adds the flags of this benchmark.
            plots: Whether it draws, so that there is ``--plot``.
            trains: Whether it takes the flags of ``sunfish train`` as well.
            records: Whether result lines are kept; not for figures that other runs measured.
        """
        self.name, self.description, self.measure = name, description, measure
        self.claim, self.peer, self.add_flags = claim, peer, add_flags
        self.plots, self.trains, self.records = plots, trains, records

    def parser(self) -> argparse.ArgumentParser:
        """The standard flags and those of this benchmark."""
        parser = argparse.ArgumentParser(
            prog=f"benchmarks/{self.name}.py",
            description=self.description,
            epilog="It takes the flags of sunfish train as well." if self.trains else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if self.add_flags is not None:
            self.add_flags(parser)
        standard = parser.add_argument_group("standard flags")
        standard.add_argument(
            "--threads", type=int, default=0, help="CPU threads; 0: one a core (%(default)s)"
        )
        standard.add_argument(
            "--seed", type=int, default=0, help="of weights, batches and texts (%(default)s)"
        )
        standard.add_argument("--device", default="cpu", help="cpu, cuda or auto (%(default)s)")
        standard.add_argument("--json", action="store_true", help="print one JSON document on stdout")
        if self.plots:
            standard.add_argument(
                "--plot", type=plot_path, metavar="PATH", help="draw the figures to this file"
            )
        standard.add_argument(
            "--results", type=Path, metavar="PATH", help="append result lines here (benchmarks/results.jsonl)"
        )
        standard.add_argument(
            "--record",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="whether result lines are kept (yes; with --smoke only in --results)",
        )
        standard.add_argument(
            "--smoke", action="store_true", help="a tiny model and a few steps: only checks that it runs"
        )
        return parser

    def main(self, words: Sequence[str] | None = None) -> int:
        """Parse, measure, report. Returns the exit code: 0; 1 for a failure; 2 for wrong use."""
        words = list(sys.argv[1:] if words is None else words)
        try:
            run = self.start(words)
            self.measure(run)
            run.finish()
            return run.exit_code
        except (ValueError, OSError, ImportError) as error:
            log(f"error: {error}")
            return 2 if isinstance(error, UsageError) else 1

    def start(self, words: Sequence[str]) -> Run:
        """What the command line asks for."""
        parser = self.parser()
        if not self.trains:
            return Run(self, parser.parse_args(words), words)
        arguments, rest = parser.parse_known_args(words)
        return Run(self, arguments, words, *training_fields(rest))


class Run:
    """One run of a benchmark: what was asked for, and where the results go."""

    def __init__(
        self,
        benchmark: Benchmark,
        arguments: argparse.Namespace,
        words: Sequence[str],
        preset_name: str = "",
        fields: dict[str, Any] | None = None,
    ) -> None:
        """Choose device and threads, and seed PyTorch.

        Args:
            benchmark: What is measured.
            arguments: Its flags.
            words: The command line.
            preset_name: What ``--config`` names; "" for a benchmark that does not train.
            fields: The fields that flags of ``sunfish train`` give.
        """
        import torch

        from sunfish.hardware.device import choose_device, set_threads

        self.benchmark, self.arguments = benchmark, arguments
        self.preset_name, self.fields = preset_name, fields or {}
        self.device, self.threads = choose_device(arguments.device), set_threads(arguments.threads)
        self.seed: int = arguments.seed
        self.smoke: bool = arguments.smoke
        self.plot: Path | None = getattr(arguments, "plot", None)
        self.exit_code = 0
        self.results: list[Result] = []
        self.machine: dict[str, Any] = {}
        self._record = arguments.record
        if self._record is None:
            self._record = (benchmark.records and not self.smoke) or arguments.results is not None
        self._path: Path = arguments.results or RESULTS
        self._command = command_line(benchmark.name, [w for w in words if w not in FRAME_FLAGS])
        self._commit = current_commit()
        self._common: dict[str, Any] = {}
        self._columns: dict[str, int] = {}
        torch.manual_seed(self.seed)

    def clock(self) -> float:
        """Seconds by the wall clock, once the device has done what it was asked for."""
        from sunfish.hardware.device import clock

        return clock(self.device)

    def header(self, dtype: torch.dtype, *facts: str, **common: Any) -> None:
        """Print claim, peer and machine.

        Args:
            dtype: What the network computes in.
            facts: Further lines.
            common: What all results have in their case, such as the model.
        """
        import torch

        from sunfish.hardware.cpu import cores
        from sunfish.hardware.resources import processor

        self.machine = {
            "processor": processor(),
            "cores": cores(),
            "device": str(self.device),
            "threads": self.threads,
            "dtype": str(dtype).removeprefix("torch."),
            "torch": torch.__version__,
        }
        if self.device.type == "cuda":
            self.machine["gpu"] = torch.cuda.get_device_name(self.device)
        self.say(f"{self.benchmark.name}: {self.benchmark.claim}")
        self.say(f"peer: {self.benchmark.peer}")
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        where = [str(self.machine.get("gpu", self.machine["processor"])), str(self.device), threads]
        self.say(
            ", ".join([f"commit {self._commit}", *where, self.machine["dtype"], f"torch {torch.__version__}"])
        )
        self._common = common
        if common:
            self.say(", ".join(f"{key} {format_cell(value)}" for key, value in common.items()))
        for fact in facts:
            self.say(fact)

    def add(self, case: dict[str, Any], figures: dict[str, float | None]) -> Result:
        """Keep one result, and print its row.

        Args:
            case: What was measured, such as the sampler, besides what all results have in common.
            figures: What came out; percentages as 97.6, times in seconds, None where undefined.

        Raises:
            RuntimeError: The header is not printed yet.
        """
        if not self.machine:
            raise RuntimeError("Run.add comes after Run.header, which says on which machine")
        date = datetime.now(UTC).isoformat(timespec="seconds")
        name, whole_case = self.benchmark.name, {**self._common, **case}
        result = Result(date, self._commit, self.machine, self._command, name, whole_case, figures)
        self.results.append(result)
        if self._record:
            append_result(self._path, result)
        self._print_row({**case, **figures})
        return result

    def say(self, text: str) -> None:
        """A line for the reader: on stdout, or on stderr where stdout is for JSON."""
        print(text, file=sys.stderr if self.arguments.json else sys.stdout, flush=True)

    def finish(self) -> None:
        """Print the JSON document, if one is asked for."""
        if self.arguments.json:
            document = {
                "name": self.benchmark.name,
                "claim": self.benchmark.claim,
                "peer": self.benchmark.peer,
                "results": [asdict(result) for result in self.results],
            }
            print(json.dumps(document, indent=2, ensure_ascii=False))

    def _print_row(self, values: dict[str, Any]) -> None:
        cells = {key: format_cell(value) for key, value in values.items()}
        if list(cells) != list(self._columns):
            self._columns = {key: max(len(key), len(cell)) for key, cell in cells.items()}
            self.say(COLUMN_GAP.join(key.rjust(width) for key, width in self._columns.items()))
        self.say(COLUMN_GAP.join(cells[key].rjust(width) for key, width in self._columns.items()))


def format_cell(value: Any) -> str:
    """A value as the printed table shows it: four significant digits, a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
