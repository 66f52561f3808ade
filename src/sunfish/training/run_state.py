"""A run between two steps: corpus, network and counters; how they are built, saved and restored."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sunfish.checkpoint.folder import Shards, save_checkpoint
from sunfish.checkpoint.links import STATE
from sunfish.checkpoint.metadata import TOKENIZER
from sunfish.checkpoint.model_card import model_card
from sunfish.checkpoint.resuming import fill_shards
from sunfish.checkpoint.run_folder import check_room, publish
from sunfish.checkpoint.trainer_state import named_tensors, restore
from sunfish.config import Config
from sunfish.data.dataloader import BatchLoader
from sunfish.data.dataset import PreparedCorpus
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.hardware.device import choose_device, choose_precision, set_threads
from sunfish.model.compiled import require_compiler
from sunfish.model.pretrained_prompts import load_pretrained_prompts
from sunfish.model.transformer import build_model
from sunfish.processes import build_process
from sunfish.rng import make_generator
from sunfish.tokenizers.base import TextTokenizer
from sunfish.training.background import BackgroundSave
from sunfish.training.distillation import Distillation
from sunfish.training.loss import training_loss
from sunfish.training.parallel import LossModule, rows_of_a_part
from sunfish.training.ranks import Ranks
from sunfish.training.resume import (
    Resumed,
    check_folder,
    compare_corpus,
    compare_environment,
    corpus_record,
    environment,
    find_data,
    load_resumed,
)
from sunfish.training.sharding import is_sharded, shard, sharded_like, whole_state, without_shards
from sunfish.training.shown_prompts import shown_prompts
from sunfish.training.step import Objective, TrainingStep
from sunfish.training.time_sampling import check_noise_settings
from sunfish.training.trackers import check_trackers
from sunfish.types import Process
from sunfish.utils import UsageError


class RunState:
    """What a run has learned, and what it learns from. :meth:`state` is all that resuming needs.

    Attributes:
        ranks: The processes of the run; the main one alone writes.
        average: The moving average of the weights; sharded where they are.
        shown: The average that validation and samples use; where it is sharded, as the last :meth:`gather` has it.
        background: Writes checkpoints of sharded weights; None where the main process holds all of them.
        good: The newest whole checkpoint; None before the first.
        saved_step: The step that it holds, where it lies in the folder of this run.
        improved: Whether a validation after the last save had the best bound so far.
        notes: What the user should know before the first step.
    """

    def __init__(self, config: Config, resume: Path | None = None, other_data: bool = False) -> None:
        """Prepare the corpus and build the network.

        Args:
            config: the run.
            resume: the checkpoint folder to resume from.
            other_data: whether a resumed run may continue on other text than it has learned from.

        Raises:
            ValueError: for settings or data that are wrong.
        """
        settings = config.training
        self.config = config
        self.ranks = Ranks.current()
        rows_of_a_part(settings, self.ranks.size)
        check_trackers(settings.trackers)
        self.device = choose_device(settings.device)
        self.threads = set_threads(settings.threads)
        self.dtype = choose_precision(settings.precision, self.device)
        if settings.compile:
            require_compiler()
        self.folder = settings.folder
        resumed = load_resumed(resume) if resume else None
        if self.ranks.is_main:
            check_folder(self.folder, resumed)
        if resumed and not other_data:
            self.config = dataclasses.replace(config, corpus=find_data(config.corpus, resumed))
        self.notes: list[str] = []
        process = build_process(config.process, config.model.vocab_size)
        check_noise_settings(config, process)
        if settings.parallel == "fsdp" and process.self_conditioned:  # its noise needs all embeddings
            raise UsageError(
                f"parallel is fsdp, but process is {config.process.process}, whose noise needs the whole table of "
                "embeddings on every process; use ddp"
            )
        with self.ranks.main_first():
            table = self._prepare(resumed)
        self.background: BackgroundSave | None = None
        self._build(process, table)
        if self.ranks.is_main:
            parts = self.ranks.size if settings.parallel == "fsdp" else 1
            check_room(self.folder, sum(p.numel() * p.element_size() for p in self.model.parameters()), parts)
        self.corpus = corpus_record(self.config, self.prepared)
        self.environment = environment(self.device, self.threads, self.dtype)
        self.step, self.tokens, self.seconds, self.best = 0, 0, 0.0, math.inf
        self.rollbacks = 0
        self.improved = False
        self.good: Path | None = None
        if resumed:
            self._resume(resumed, other_data)
        is_saved = resumed and resumed.path.resolve().parent == self.folder.resolve()
        self.saved_step = self.step if is_saved else None

    def _prepare(self, resumed: Resumed | None) -> Tensor | None:
        """Read or prepare the corpus.

        Returns:
            The frozen embeddings of the prompt encoder, where it has some.
        """
        config, settings = self.config, self.config.training
        table, tokenizer, prompt_tokenizer = None, None, None
        if settings.distills:
            tokenizer = TextTokenizer.load(Path(settings.teacher) / TOKENIZER)
        if resumed:
            table = resumed.prompt_table
            tokenizer, prompt_tokenizer = resumed.tokenizer, resumed.prompt_tokenizer
        elif config.model.prompt_encoder != "learned":
            pretrained = load_pretrained_prompts(config.model.prompt_encoder)
            table, prompt_tokenizer = pretrained.table, TextTokenizer(pretrained.tokenizer)
        source = open_source(config.corpus, settings.seed)
        self.prepared: PreparedCorpus = prepare(
            source, config, prompt_tokenizer=prompt_tokenizer, tokenizer=tokenizer
        )
        words, place = (self.prepared.tokenizer.end, settings.seed), (self.ranks.rank, self.ranks.size)
        rows = settings.batch_size // self.ranks.size
        self.batches = BatchLoader(self.prepared.split("train"), rows, *words, *place)
        self.held_out = BatchLoader(self.prepared.split("validation"), settings.batch_size, *words)
        # A prompt that cannot be encoded again is found before the run.
        self.shown_prompts = shown_prompts(self.prepared, config.model.prompt_length)
        return table

    def _build(self, process: Process, table: Tensor | None) -> None:
        """The network, its average, and what a step needs."""
        config, settings = self.config, self.config.training
        self.model = build_model(config, process, table)
        self.model.init_weights(make_generator("initialisation", settings.seed)).to(self.device)
        self.process = process.with_embeddings(self.model.token_embedding)
        self.model.activation_checkpointing = settings.activation_checkpointing
        self.model.set_dropout(settings.dropout)
        loss: Objective = training_loss
        if settings.distills:
            loss = Distillation.start(Path(settings.teacher), self.model, self.prepared.tokenizer)
        self.shown = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.training_step = TrainingStep.build(config, self.model, self.process, self.dtype, loss)
        self.average = self.shown
        if settings.parallel == "fsdp":
            self.average = copy.deepcopy(self.shown)
            shard(LossModule(self.average), self.average, self.dtype)
            if not self.ranks.is_main:
                self.shown.to("meta")  # nobody reads it there
            self.background = BackgroundSave()
        if settings.compile:
            self.model.compile_blocks()

    def _resume(self, resumed: Resumed, other_data: bool) -> None:
        """Take over a checkpoint, and note what has changed since it was written."""
        saved = resumed.state
        self.good = resumed.path
        self.restore(saved, resumed.path)
        self.notes.append(compare_corpus(saved["corpus"], self.corpus, self.config, other_data))
        self.notes.append(compare_environment(saved["environment"], self.environment))
        if saved["corpus"]["digest"] != self.corpus["digest"]:
            self.best = math.inf  # the old one is of other held-out texts

    def restore(self, saved: dict[str, Any], checkpoint: Path) -> None:
        """Take over the weights, the optimizers and the counters that ``checkpoint`` holds.

        Raises:
            ValueError: they are not those of this network.
        """
        networks = (self.model, self.average)
        restore(saved, *networks, self.training_step.optimizers, checkpoint / STATE, sharded_like)
        fill_shards(checkpoint, saved, dict(named_tensors(self.state())), self.ranks.rank, self.ranks.size)
        self.ranks.wait()  # until all have compared the hashes of their files
        self.step, self.seconds, self.best = saved["step"], saved["seconds"], saved["best"]
        self.tokens, self.rollbacks = saved["tokens"], saved["rollbacks"]

    def state(self) -> dict[str, Any]:
        """All that a resumed run cannot derive. Noise and data order follow from (seed, step)."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "best": self.best,
            "rollbacks": self.rollbacks,
            "corpus": self.corpus,
            "environment": self.environment,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.training_step.optimizers],
        }

    def progress(self) -> float:
        """Share of the run that is over, by whichever limit comes first; 0 without any limit."""
        settings = self.config.training
        by_steps = self.step / settings.max_steps if settings.max_steps else 0.0
        by_time = self.seconds / (60 * settings.max_minutes) if settings.max_minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def save(self) -> Path:
        """Write a checkpoint as the main process, or, where weights are sharded, begin to write it as all of them.

        Returns:
            Its folder; :meth:`settle` waits until it is there.

        Raises:
            WriteError: a file cannot be written; the last good checkpoint is as it was.
        """
        folder = self.folder / f"step-{self.step:07d}"
        self.gather()
        self._saving, state = (folder, self.step), self.state()
        if self.background:
            complete = self._writer(folder, without_shards(state))
            rows = {name: tensor for name, tensor in named_tensors(state) if is_sharded(tensor)}
            self.background.start(folder, rows, complete)
        else:
            if self.ranks.is_main:
                self._writer(folder, state)(None)
            self.ranks.wait()
            self._is_saved()
        self.improved = False
        return folder

    def settle(self) -> None:
        """Wait until the checkpoint that is being written in the background is whole, if there is one.

        Raises:
            WriteError: it cannot be written.
        """
        if self.background and self.background.wait():
            self._is_saved()

    def _is_saved(self) -> None:
        self.good, self.saved_step = self._saving

    @torch.no_grad()
    def gather(self) -> None:
        """Bring :attr:`shown` up to date, which takes all processes where the average is sharded."""
        self.settle()  # which writes it
        if self.shown is not self.average:
            weights = whole_state(self.average.state_dict(), self.ranks.is_main)
            if self.ranks.is_main:
                self.shown.load_state_dict(weights)

    def _writer(self, folder: Path, state: dict[str, Any]) -> Callable[[Shards | None], None]:
        """What writes a checkpoint of this step, now or later.

        It lets ``last.ckpt`` name it, and ``best.ckpt`` if it is, and prunes the older ones.
        """
        card = model_card(self.config, self.step, self.seconds, self.prepared.manifest)
        learned = self.config.model.prompt_encoder == "learned"  # prompts then have the tokenizer of texts
        tokenizers = (self.prepared.tokenizer, None if learned else self.prepared.prompt_tokenizer)
        improved, every = self.improved, self.config.training.eval_every

        def write(shards: Shards | None) -> None:
            save_checkpoint(folder, self.config, self.shown, *tokenizers, state, card, shards)
            publish(folder, improved, every)

        return write
