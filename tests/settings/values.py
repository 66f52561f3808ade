"""A value for each field that is not its default, in groups that can be given together."""

from __future__ import annotations

from typing import Any

# Of a run: all values differ, so that one that arrives elsewhere shows.
RUN: dict[str, Any] = dict(
    vocab_size=999,
    n_layer=5,
    n_head=4,
    n_embd=384,
    mlp_ratio=3.5,
    context_length=99,
    prompt_length=33,
    n_prompt_layer=2,
    prompt_encoder="hf:gpt2",
    smear=False,
    draft_head=False,
    stories=444,
    data_folder="some-data",
    tokenizer="bytes",
    name="tales",
    seed=17,
    max_steps=123,
    max_minutes=7.5,
    batch_size=9,
    gradient_accumulation=15,
    learning_rate=0.0125,
    matrix_learning_rate=0.0375,
    weight_decay=0.375,
    warmup_steps=77,
    decay_fraction=0.875,
    gradient_clip=0.75,
    dropout=0.0625,
    ema_decay=0.96875,
    prompt_dropout=0.1875,
    next_token_weight=0.3125,
    block_lengths=(3, 0, 7),
    complementary=True,
    mask_rate_min=0.21875,
    mask_rate_max=0.78125,
    log_every=13,
    eval_every=131,
    eval_texts=57,
    save_minutes=2.25,
    on_nan="rollback",
    trackers=("wandb",),
    checkpoints="some-checkpoints",
    device="cpu",
    parallel="fsdp",
    precision="bfloat16",
    activation_checkpointing=True,
    threads=3,
    compile=True,
)
# Of runs on files, in two groups: a prompt has a field or a template. Random tokens go without a range of mask rates.
RECORDS: dict[str, Any] = dict(
    data="texts.jsonl",
    text_field="body",
    prompt_field="ask",
    validation_fraction=0.125,
)
TEMPLATE: dict[str, Any] = dict(
    process="mixed",
    uniform_share=0.25,
    data="texts",
    prompt_template="about {label}",
    delimiter="---",
)
# How a text is drawn, in two groups: one sampler drafts, the other one takes steps.
VERIFIED: dict[str, Any] = dict(
    block_length=5,
    temperature=0.875,
    top_p=0.8125,
    top_k=123,
    min_p=0.015625,
    repetition_penalty=1.25,
    lenience=0.6875,
    guidance_scale=1.75,
    plausibility=0.15625,
    negative_prompt="the sea",
)
STEPPED: dict[str, Any] = dict(
    sampler="confidence",
    num_steps=11,
    temperature=0.75,
    top_p=0.5,
    top_k=321,
    min_p=0.03125,
    guidance_scale=2.5,
    plausibility=0.625,
    negative_prompt="the sun",
)


def text_of(value: Any) -> str:
    """The value as ``--set`` takes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def flag_of(name: str, value: Any) -> list[str]:
    """The field as a flag of its own."""
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    return [flag, *map(str, value)] if isinstance(value, tuple) else [flag, str(value)]
