"""How a run trains, how long, on what device, and how it reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sunfish.config.rules import check_at_least, check_share, check_types, shown
from sunfish.utils import UsageError

TRACKERS = ("tensorboard", "wandb", "trackio")
MAX_NAME_BYTES = 255  # of a file's name on nearly every disk
PRECISIONS = ("auto", "float32", "bfloat16")
ON_NAN = ("stop", "rollback")
PARALLEL = ("ddp", "fsdp")
# Beyond what any run means, and within what PyTorch takes.
MAX_THREADS, MAX_BATCH_SIZE, MAX_RATE = 4096, 2**20, 1000


@dataclass(frozen=True)
class TrainingConfig:
    """How a run trains, how long, on what device, and how it reports; the defaults are those of micro."""

    name: str = "micro"
    """Name of the run; its checkpoints and samples go to checkpoints/NAME."""
    seed: int = 0
    """Seed of the initial weights, the data order, the masks and the samples."""
    max_steps: int = 0
    """Stop after this many steps; 0: no limit."""
    max_minutes: float = 480.0
    """Stop after this many minutes; 0: no limit."""
    batch_size: int = 16
    """Texts per step, of all processes together."""
    gradient_accumulation: int = 1
    """Parts in which each process computes its texts of a step, one after the other, in less memory."""
    learning_rate: float = 0.02
    """Peak learning rate of AdamW, for embeddings, norms and vectors."""
    matrix_learning_rate: float = 0.02
    """Peak learning rate of Muon, for the matrices of the layers."""
    weight_decay: float = 0.01
    """Decoupled weight decay of the matrices."""
    warmup_steps: int = 50
    """Steps of linear warm-up."""
    decay_fraction: float = 0.4
    """Share of the run, at its end, over which the learning rate falls linearly to 0."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; 0: no clipping."""
    dropout: float = 0.0
    """Dropout rate on each residual branch; useful when training for many epochs."""
    ema_decay: float = 0.995
    """Decay of the exponential moving average of the weights, which samples and validation use; 0: no
    average."""
    teacher: str = ""
    """Checkpoint whose guided predictions are learned instead of the data; sunfish distill-guidance sets
    it."""
    prompt_dropout: float = 0.1
    """Share of the texts trained with the learned null prompt instead of their own, which guidance needs."""
    next_token_weight: float = 0.75
    """Weight of the causal next-token loss in the objective; 0: pure diffusion, 1: pure autoregression."""
    block_lengths: tuple[int, ...] = (4, 4, 16, 0)
    """Lengths of the diffusion blocks, taken in turn, one a step; 0: the whole text is one block."""
    complementary: bool = False
    """Denoise each text twice per step; the second canvas masks exactly the tokens that the first one
    shows."""
    mask_rate_min: float = 0.1
    """Lowest mask rate drawn in training; masked: not in blocks shorter than the text, unless complementary."""
    mask_rate_max: float = 0.8
    """Highest mask rate drawn in training, where mask_rate_min counts; the other processes train up to 1."""
    log_every: int = 20
    """Steps between two lines of metrics."""
    eval_every: int = 500
    """Steps between two validations, each with samples and a checkpoint."""
    eval_texts: int = 256
    """Texts in each validation."""
    save_minutes: float = 5.0
    """Write a checkpoint and samples at least this often, however slow the steps are; 0: by steps alone."""
    on_nan: str = "stop"
    """When a loss is NaN or infinite: stop, or rollback (return to the last good checkpoint, skip the batches
    since)."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Where metrics go in addition to metrics.jsonl: tensorboard, wandb, trackio (extra: log)."""
    checkpoints: str = "checkpoints"
    """Folder of the checkpoints."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda."""
    precision: str = "auto"
    """auto (bfloat16 where a probe finds it faster), float32, bfloat16."""
    activation_checkpointing: bool = False
    """Recompute each layer in the backward pass: less memory, a quarter more time."""
    threads: int = 0
    """CPU threads; 0: OMP_NUM_THREADS if that is set, else one for each core (not each hardware thread)."""
    parallel: str = "ddp"
    """What several processes hold: ddp (each the whole network), fsdp (each a part of every weight)."""
    compile: bool = False
    """Compile the layers with torch.compile, half a minute at the start: 1.5x faster on a GPU, hardly on a
    CPU."""

    def __post_init__(self) -> None:
        check_types(self)
        self._check_name()
        check_at_least(self, 0, "seed", "max_steps", "max_minutes", "save_minutes", "warmup_steps")
        check_at_least(self, 0, "threads", most=MAX_THREADS)
        check_at_least(self, 0, "learning_rate", "matrix_learning_rate", "weight_decay", most=MAX_RATE)
        check_at_least(self, 0, "gradient_clip")
        check_at_least(self, 1, "log_every", "eval_every", "eval_texts")
        check_at_least(self, 1, "batch_size", "gradient_accumulation", most=MAX_BATCH_SIZE)
        check_share(self, "prompt_dropout", "next_token_weight", "ema_decay", "decay_fraction")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}: give a share from 0 up to below 1, such as 0.1")
        if not 0 <= self.mask_rate_min < self.mask_rate_max <= 1:
            raise UsageError(
                f"mask_rate_min is {self.mask_rate_min} and mask_rate_max {self.mask_rate_max}: "
                "they must satisfy 0 <= min < max <= 1"
            )
        if self.distills and self.prompt_dropout == 1:
            raise UsageError("prompt_dropout is 1, but guidance cannot be learned without prompts")
        if not self.block_lengths or min(self.block_lengths) < 0:
            raise UsageError(
                f"block_lengths is {shown(self.block_lengths)}: give lengths of at least 1, or 0 for the whole text"
            )
        if unknown := sorted(set(self.trackers) - set(TRACKERS)):
            raise UsageError(f"trackers has {shown(unknown)}; the trackers are: {', '.join(TRACKERS)}")
        if self.on_nan not in ON_NAN:
            raise UsageError(f"on_nan is {shown(self.on_nan)}: use {' or '.join(ON_NAN)}")
        if self.parallel not in PARALLEL:
            raise UsageError(f"parallel is {shown(self.parallel)}: use {' or '.join(PARALLEL)}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision is {shown(self.precision)}: use {', '.join(PRECISIONS)}")

    def _check_name(self) -> None:
        """The name is a folder inside ``checkpoints``, next to the links ``last.ckpt`` and ``best.ckpt``."""
        name = self.name
        faults = {
            "which is empty": not name,
            "which has a slash": "/" in name or "\\" in name,
            f"which begins with {name[:1]!r}": name.startswith(("-", ".", "~")),
            "which ends as the links to checkpoints do": name.endswith(".ckpt"),
            "which has white space around it": name != name.strip(),
            "which has characters that cannot be seen": _has_controls(name),
        }
        if fault := next((words for words, is_so in faults.items() if is_so), ""):
            raise UsageError(
                f"name is {shown(name)}, {fault}, but it names a folder inside {self.checkpoints}: give a plain name "
                "such as 'tales', and set the folder of the checkpoints with --checkpoints"
            )
        if (size := len(name.encode())) > MAX_NAME_BYTES:
            raise UsageError(
                f"name is {shown(name)}, which has {size} bytes, but a folder's name has at most {MAX_NAME_BYTES}; "
                "shorten it"
            )

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return Path(self.checkpoints).expanduser() / self.name

    @property
    def distills(self) -> bool:
        """Whether the run learns the guided predictions of a teacher instead of the data."""
        return bool(self.teacher)

    @property
    def is_limited(self) -> bool:
        """Whether the run has an end, by steps or by minutes."""
        return self.max_steps > 0 or self.max_minutes > 0


def _has_controls(name: str) -> bool:
    """Whether ``name`` has control characters, line or paragraph separators, or halves of characters."""
    if name.isprintable():
        return False
    import unicodedata

    return any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)
