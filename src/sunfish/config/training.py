"""How a run goes."""

from __future__ import annotations

from dataclasses import dataclass


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
