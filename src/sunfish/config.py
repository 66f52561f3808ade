"""Every setting of a run as frozen dataclasses, and the presets from nano to full. Imports no torch.

The field names are the flag names: ``--n_layer 4`` sets ``ModelConfig.n_layer``. Each field's help is the
string below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the denoiser: all that is needed to build it, stored in every checkpoint."""

    vocab_size: int = 8192
    """V: ids of the tokenizer; the mask is one more row of the input table, never an output."""
    n_layer: int = 3
    """L: transformer layers of the denoiser."""
    n_decoder_layer: int = 0
    """Layers of a shallow decoder of the canvas's own, which sees the memory of as many last layers (E2D2); 0: the canvas
    goes through the n_layer layers itself."""
    n_head: int = 8
    """H: attention heads; n_embd must be divisible by it."""
    n_embd: int = 752
    """D: width of the network and of the token embeddings."""
    context_length: int = 256
    """Largest number of positions of one text, its two end marks included."""
    prompt_length: int = 64
    """P: largest number of tokens of a prompt; 0: a model without prompts, for text that has none."""
    n_prompt_layer: int = 1
    """Transformer layers of the prompt encoder."""
    prompt_encoder: str = "learned"
    """learned: trained with the model, works offline. hf:NAME: frozen embeddings of a Hugging Face model."""
    time_input: bool = False
    """The canvas is told the time of each token. Set by itself for all processes but masked."""
    vector_input: bool = False
    """The canvas holds vectors and not ids. Set by itself for the gaussian process."""
    neighbours: bool = True
    """Each position begins with a part of the token before it, on the canvas also of the one behind it."""
    draft_head: bool = True
    """A small part learns to tell each drafted token the one before it, which makes verified writing faster."""
    guidance_input: bool = False
    """The guidance scale is an input, so that guided text costs one pass; sunfish distill-guidance sets it."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "n_layer", "n_head", "n_embd", "n_prompt_layer"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but it must be at least 1")
        if self.prompt_length < 0:
            raise ValueError(
                f"prompt_length is {self.prompt_length}; give 0 for a model without prompts, or how many tokens they have"
            )
        if not 0 <= self.n_decoder_layer <= self.n_layer:
            raise ValueError(
                f"n_decoder_layer is {self.n_decoder_layer}: give 0 (no decoder of its own) up to n_layer, "
                f"{self.n_layer}"
            )
        if self.context_length < 4:
            raise ValueError(
                f"context_length is {self.context_length}, but a text needs at least 4 positions"
            )
        if self.n_embd % (2 * self.n_head):
            raise ValueError(
                f"n_embd is {self.n_embd} and n_head is {self.n_head}: n_embd must be a multiple of "
                f"2 * n_head, for example {2 * self.n_head * max(1, round(self.n_embd / (2 * self.n_head)))}"
            )
        if self.prompt_encoder != "learned" and not self.prompt_encoder.startswith("hf:"):
            raise ValueError(
                f"prompt_encoder is {self.prompt_encoder!r}: use 'learned' (offline) or 'hf:NAME', "
                "for example hf:gpt2"
            )
        if self.prompt_encoder != "learned" and not self.prompt_length:
            raise ValueError(
                f"prompt_encoder is {self.prompt_encoder!r}, but prompt_length is 0, a model without prompts; "
                "give one of the two"
            )

    @property
    def n_hidden(self) -> int:
        """Hidden width of the SwiGLU feed-forward: 8/3 of the width, rounded up to a multiple of 32 (128
        from width 512 on), so that matrix kernels see whole tiles."""
        multiple = 128 if self.n_embd >= 512 else 32
        return -(-8 * self.n_embd // (3 * multiple)) * multiple


@dataclass(frozen=True)
class ProcessConfig:
    """Which forward corruption the model learns to undo."""

    process: str = "masked"
    """masked: absorbing-state diffusion (MDLM, LLaDA). uniform: noise is random tokens (UDLM). mixed: masks and random
    tokens (GIDD). Their bounds are proven. gaussian: noise on the embeddings (Diffusion-LM, CDCD), which has none."""
    schedule: str = "log-linear"
    """alpha(t), the share of tokens still clean at time t: log-linear (1 - t), cosine, polynomial (1 - t^2)."""
    uniform_share: float = 0.1
    """Share of random tokens in the noise of the process mixed; the rest are masks."""

    def __post_init__(self) -> None:
        if not 0 < self.uniform_share <= 1:
            raise ValueError(
                f"uniform_share is {self.uniform_share}: give a share above 0, up to 1; without any random tokens the "
                "process is masked"
            )
        if self.process != "mixed" and self.uniform_share != 0.1:
            raise ValueError(
                f"uniform_share is {self.uniform_share}, but process is {self.process}; it is for mixed only"
            )


@dataclass(frozen=True)
class DataConfig:
    """Where the text and its prompts come from, and how they are prepared."""

    data: str = "stories"
    """stories (built in), or a path: .txt, .jsonl, .csv, .parquet, or a folder of these."""
    stories: int = 60_000
    """Number of built-in stories to write for training."""
    data_folder: str = "data"
    """Where prepared (tokenized, memory-mapped) corpora are kept."""
    tokenizer: str = "bpe"
    """bpe (trained on the corpus), bytes, characters, or a path to a tokenizer.json or a GPT-2 vocabulary."""
    text_field: str = "text"
    """Field of the text in .jsonl, .csv and .parquet records."""
    prompt_field: str = ""
    """Field of the prompt; empty: prompts are derived from the text."""
    prompt_template: str = ""
    """A prompt with fields of the record in braces, for example 'Write a {label} review'."""
    delimiter: str = ""
    """What divides the documents of a .txt file; empty: a blank line; 'none': one long text."""
    validation_fraction: float = 0.05
    """Share of the documents held out for validation, chosen by a hash of the document."""

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction is {self.validation_fraction}; give a share between 0 and 1, such as 0.05"
            )
        if self.stories < 100:
            raise ValueError(f"stories is {self.stories}, but training needs at least 100 of them")
        if self.prompt_field and self.prompt_template:
            raise ValueError(
                f"prompt_field is {self.prompt_field!r} and prompt_template is {self.prompt_template!r}: "
                "give one of the two"
            )


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how fast, how reported; the defaults are those of micro."""

    name: str = ""
    """Name of the run; its checkpoints and samples go to checkpoints/NAME. Empty: the preset's name."""
    seed: int = 0
    """Seed of initialisation, data order, masks and samples."""
    max_steps: int = 0
    """Stop after this many steps; 0: no limit by steps."""
    max_minutes: float = 0.0
    """Stop after this many minutes of training; 0: no limit by time."""
    batch_size: int = 16
    """Texts in one step."""
    learning_rate: float = 0.02
    """Peak rate of AdamW (embeddings, norms, vectors)."""
    matrix_learning_rate: float = 0.02
    """Peak rate of Muon (matrices of the layers)."""
    weight_decay: float = 0.01
    """Decoupled weight decay of the matrices."""
    warmup_steps: int = 50
    """Steps of linear warm-up."""
    decay_fraction: float = 0.4
    """Share of the run, at its end, over which the learning rate falls linearly to 0."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    dropout: float = 0.0
    """Share of the numbers that each part of a layer adds which training drops, for text that is read many times."""
    ema_decay: float = 0.995
    """Decay of the running mean of the weights that samples and validation use; 0 turns it off."""
    teacher: str = ""
    """Checkpoint whose guided predictions are learned, instead of the data (sunfish distill-guidance)."""
    prompt_dropout: float = 0.1
    """Share of the texts whose prompt is replaced by the learned null prompt, which guidance needs."""
    next_token_weight: float = 0.75
    """Share of the causal next-token loss in the objective; 0: pure diffusion, 1: pure autoregression."""
    block_lengths: tuple[int, ...] = (4, 4, 16, 0)
    """Lengths of the diffusion blocks, taken in turn, one a step; 0: the whole text is one block."""
    exact_count: bool = True
    """Mask exactly the drawn share of each block, not each token with that chance. Off by itself for all but masked
    with log-linear, which alone has it."""
    complementary: bool = False
    """Denoise each text twice beside one reading, the second time with the masks where the first has none. Needs
    exact_count, a next_token_weight between 0 and 1, and a canvas without a decoder of its own."""
    read_first: float = 0.0
    """Share of the run, at its start, in which the model only reads: the next token is learned in less than half of
    the time, and the canvas builds on it afterwards. Not for a run without a limit."""
    unweighted: bool = False
    """Every unknown token of the canvas counts alike, whatever its time; not weighed as in the bound."""
    mask_rate_min: float = 0.1
    """Least mask rate drawn in training."""
    mask_rate_max: float = 0.8
    """Largest mask rate drawn in training (masked only, 1 for the others); evaluation always uses the whole range."""
    log_every: int = 20
    """Steps between two lines of metrics."""
    eval_every: int = 500
    """Steps between two validations."""
    eval_texts: int = 256
    """Texts of the validation."""
    sample_every: int = 500
    """Steps between two sets of samples on screen and in the run's folder."""
    save_every: int = 500
    """Steps between two checkpoints."""
    save_minutes: float = 5.0
    """Minutes after which a checkpoint and samples come in any case, for steps that are slow; 0: by steps alone."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Where metrics go besides metrics.jsonl: tensorboard, wandb, trackio (extra: log)."""
    checkpoints: str = "checkpoints"
    """Folder of the checkpoints."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda."""
    precision: str = "auto"
    """auto (bfloat16 where a probe finds it faster), float32, bfloat16."""
    activation_checkpointing: bool = False
    """Compute each layer again for its gradient and keep nothing of it: less memory, a quarter more time."""
    threads: int = 0
    """Threads of a CPU run; 0: one for each core (not each hardware thread) that the process may use."""
    compile: bool = False
    """Compile the layers with torch.compile, half a minute at the start: on a GPU half as fast again, on a CPU hardly."""

    def __post_init__(self) -> None:
        for name in ("max_steps", "max_minutes", "save_minutes", "warmup_steps", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but it must not be negative")
        for name in ("batch_size", "log_every", "eval_every", "eval_texts", "sample_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but it must be at least 1")
        for name in ("prompt_dropout", "next_token_weight", "ema_decay", "decay_fraction", "read_first"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but it must lie between 0 and 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: give a share from 0 up to below 1, such as 0.1")
        if not 0 <= self.mask_rate_min < self.mask_rate_max <= 1:
            raise ValueError(
                f"mask_rate_min is {self.mask_rate_min} and mask_rate_max {self.mask_rate_max}: "
                "they must satisfy 0 <= min < max <= 1"
            )
        if self.teacher and self.prompt_dropout == 1:
            raise ValueError("prompt_dropout is 1, but guidance cannot be learned without prompts")
        if not self.block_lengths or min(self.block_lengths) < 0:
            raise ValueError(
                f"block_lengths is {self.block_lengths}: give lengths of at least 1, or 0 for the whole"
            )
        if unknown := set(self.trackers) - {"tensorboard", "wandb", "trackio"}:
            raise ValueError(f"trackers has {sorted(unknown)}; the trackers are: tensorboard, wandb, trackio")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision is {self.precision!r}: use auto, float32 or bfloat16")


@dataclass(frozen=True)
class Config:
    """A whole run. The four groups never share a field name, so each field is one flag."""

    model: ModelConfig = field(default_factory=ModelConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    corpus: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if (self.process.process, self.process.schedule) != ("masked", "log-linear"):
            object.__setattr__(self, "training", replace(self.training, exact_count=False))
        if self.process.process != "masked":  # a mask shows by itself what is noise; a random token does not
            vectors = self.process.process == "gaussian"
            object.__setattr__(self, "model", replace(self.model, time_input=True, vector_input=vectors))
        elif self.model.time_input or self.model.vector_input:
            raise ValueError(
                "time_input and vector_input are for other processes than masked; leave them out"
            )
        if not self.model.prompt_length:
            for name in ("prompt_field", "prompt_template"):
                if getattr(self.corpus, name):
                    raise ValueError(
                        f"{name} is {getattr(self.corpus, name)!r}, but prompt_length is 0, a model without "
                        "prompts; give one of the two"
                    )
        self._check_objective()
        if bool(self.training.teacher) != self.model.guidance_input:
            raise ValueError(
                f"teacher is {self.training.teacher!r} and guidance_input is {self.model.guidance_input}: both or none "
                "are set, which sunfish distill-guidance does"
            )

    def _check_objective(self) -> None:
        training, weight = self.training, self.training.next_token_weight
        if training.complementary:
            reasons = {
                "exact_count is off, or the process has no exact counts": not training.exact_count,
                f"next_token_weight is {weight}": not 0 < weight < 1,
                f"n_decoder_layer is {self.model.n_decoder_layer}": self.model.n_decoder_layer > 0,
                "distillation has an objective of its own": bool(training.teacher),
            }
            if reason := next((reason for reason, applies in reasons.items() if applies), ""):
                raise ValueError(f"complementary is True, but {reason}; leave complementary out")

    def with_fields(self, **values: Any) -> Config:
        """The same run with some fields changed, each named as its flag.

        Raises ``ValueError`` for a name that no group has.
        """
        groups: dict[str, dict[str, Any]] = {group.name: {} for group in fields(self)}
        for name, value in values.items():
            home = [group for group in groups if name in {f.name for f in fields(getattr(self, group))}]
            if not home:
                known = sorted(f.name for group in groups for f in fields(getattr(self, group)))
                raise ValueError(f"the configuration has no field {name!r}; known fields: {', '.join(known)}")
            groups[home[0]][name] = value
        return replace(self, **{g: replace(getattr(self, g), **v) for g, v in groups.items() if v})

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dictionary for ``config.json``; :meth:`from_dict` reads it back."""
        return asdict(self)

    @staticmethod
    def from_dict(groups: Mapping[str, Mapping[str, Any]]) -> Config:
        """Read :meth:`to_dict` back; an unknown group or field is a ``ValueError``."""
        config, found = Config(), {}
        for group, values in groups.items():
            if group not in {f.name for f in fields(config)}:
                raise ValueError(f"the configuration has no group {group!r}")
            known = {f.name for f in fields(getattr(config, group))}
            if unknown := set(values) - known:
                raise ValueError(
                    f"configuration group {group!r} has unknown fields: {', '.join(sorted(unknown))}"
                )
            plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            found[group] = replace(getattr(config, group), **plain)
        return replace(config, **found)
