"""Samples from a folder that ``sunfish export`` wrote, with onnxruntime, numpy and tokenizers alone.

    python sample.py --prompt "Write a story about a robot" --seed 3

For one seed, a float32 export gives the text of ``sunfish sample``. From another program:

    from sample import Model
    print(Model("folder").write("Write about dogs", seed=3, guidance_scale=2))
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

Array = np.ndarray[Any, Any]
FORMAT = "sunfish-onnx-2"
BELOW_ONE = 1 - 2**-53  # the largest float64 below 1
TINY = 1e-30  # below what float64 can add to any probability
MAX_SCALE = 10_000.0  # above it float32 is too coarse
MAX_TEMPERATURE = 1e30  # above it a draft is drawn as at it: float32 ends at 3e38
MIN_TEMPERATURE = 0.001  # below it, and above its inverse, float32 may not hold the quotients
RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {  # of each setting: in words, and as a test
    "temperature": ("0 (greedy) or more", lambda x: 0 <= x < math.inf),
    "top_p": ("a probability above 0, up to 1", lambda x: 0 < x <= 1),
    "lenience": ("1 (exact), or less, such as 0.5", lambda x: 0 < x <= 1),
    "guidance_scale": (f"0 (ignore the prompt) to {MAX_SCALE:g}", lambda x: 0 <= x <= MAX_SCALE),
    "plausibility": ("a share from 0 (plain guidance) to 1", lambda x: 0 <= x <= 1),
    "block_length": ("4 to 16, or 1 to draft nothing", lambda x: x >= 1),
    "sampler": (
        "verified; for any other use sunfish sample with the checkpoint",
        lambda x: x in ("verified", "verified:2"),
    ),
}


class Random:
    """The random numbers of a text: PyTorch's generator on a CPU, which is numpy's Mersenne Twister."""

    def __init__(self, *name: int | str) -> None:
        """Seed by ``name``, as ``sunfish.rng.make_generator`` does."""
        digest = hashlib.blake2b("\x1f".join(map(str, name)).encode(), digest_size=8).digest()
        self.seed = int.from_bytes(digest, "little") >> 1
        self.twister = np.random.RandomState(self.seed & 0xFFFFFFFF)

    def uniform(self, count: int) -> Array:
        """``[count]`` float64 numbers in [0, 1)."""
        words = self.twister.randint(0, 2**32, size=(count, 2), dtype=np.uint32).astype(np.uint64)
        return (((words[:, 0] << np.uint64(32)) | words[:, 1]) & np.uint64(2**53 - 1)) * 2.0**-53


def softmax(logits: Array) -> Array:
    """Probabilities ``[..., V]``."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    total: Array = powers / powers.sum(axis=-1, keepdims=True)
    return total


def probabilities(logits: Array, temperature: float, top_p: float) -> Array:
    """What tokens are drawn from ``[N, V]``: the logits at a temperature, cut to their nucleus."""
    if temperature == 0:
        likeliest = np.arange(logits.shape[-1]) == logits.argmax(axis=-1)[:, None]
        greedy: Array = likeliest + 0 * logits.max(axis=-1, keepdims=True)  # NaN stays NaN
        return greedy
    if not MIN_TEMPERATURE <= temperature <= 1 / MIN_TEMPERATURE:
        logits = (logits - logits.max(axis=-1, keepdims=True)).astype(np.float64)
    logits = logits / temperature if temperature != 1 else logits
    if top_p < 1:
        exact = softmax(logits.astype(np.float64))
        order = np.argsort(-exact, axis=-1, kind="stable")
        descending = np.take_along_axis(exact, order, axis=-1)
        outside = np.zeros(exact.shape, dtype=bool)
        np.put_along_axis(outside, order, descending.cumsum(axis=-1) - descending >= top_p, axis=-1)
        logits = np.where(outside, -np.inf, logits)
    return softmax(logits)


def gumbel_noise(uniform: Array) -> Array:
    """The largest of logits plus this noise is a draw from their softmax; ``uniform`` in [0, 1), float64."""
    with np.errstate(divide="ignore"):  # 0 gives minus infinity, which is never drawn
        noise: Array = -np.log(-np.log(uniform))
    return noise


def draw(weights: Array, uniform: Array) -> Array:
    """Ids ``[N]`` drawn with ``weights [N, V]``, by inversion of their sums in float64."""
    sums = weights.cumsum(axis=-1, dtype=np.float64)
    if not (sums[:, -1] > 0).all():
        raise ValueError("the network returned NaN: the export is damaged; export the checkpoint again")
    thresholds = np.minimum(uniform, BELOW_ONE) * sums[:, -1]
    places = [np.searchsorted(row, u, side="right") for row, u in zip(sums, thresholds, strict=True)]
    return np.array(places, dtype=np.int64)


def accept(drafted: Array, drawn_from: Array, target: Array, random: Random, lenience: float) -> list[int]:
    """The start of a draft ``[n]`` that the model accepts, and one more token: ``sunfish.sampling.speculative``.

    ``drawn_from [n, V]`` are the probabilities of the draft, ``target [n + 1, V]`` those of the model.
    """
    count, places = len(drafted), np.arange(len(drafted))
    last, accepted = target[count], count
    if count:
        q = lenience * drawn_from[places, drafted]
        kept = random.uniform(count) * q < target[places, drafted]
        if not kept.all():
            accepted = int(kept.argmin())
            residual = np.maximum(target[accepted] - lenience * drawn_from[accepted], 0)
            last = residual + TINY * target[accepted]
    return [*drafted[:accepted].tolist(), int(draw(last[None], random.uniform(1))[0])]


def loaded(path: Path, load: Callable[[str], Any]) -> Any:
    """What a library makes of a file; whatever it raises becomes one line."""
    try:
        return load(str(path))
    except Exception as why:
        reason = (str(why).splitlines() or [""])[0]
        raise ValueError(f"{path} cannot be read ({reason[:200]}); export the checkpoint again") from why


class Model:
    """An export, ready to write."""

    def __init__(self, folder: str | Path = Path(__file__).parent, threads: int = 0) -> None:
        """Load ``folder``; ``threads`` 0 means one for each core."""
        folder, options = Path(folder), onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.settings: dict[str, Any] = json.loads((folder / "settings.json").read_text("utf-8"))
        if (written := self.settings.get("format")) != FORMAT:
            raise ValueError(
                f"{folder} has format {written!r}, but this sampler reads {FORMAT}; use the one beside it"
            )

        def session(path: str) -> Any:
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        self.graphs = {
            name: loaded(folder / f"{name}.onnx", session) for name in ("encode", "draft", "verify")
        }
        self.tokenizer = loaded(folder / "tokenizer.json", Tokenizer.from_file)
        separate = folder / "prompt_tokenizer.json"
        self.prompt_tokenizer = loaded(separate, Tokenizer.from_file) if separate.exists() else self.tokenizer
        for tokenizer in (self.tokenizer, self.prompt_tokenizer):
            tokenizer.encode_special_tokens = True  # an end mark in a prompt is ordinary text

    def write(
        self, prompt: str = "", *, seed: int = 0, number: int = 0, seq_len: int = 0, **given: Any
    ) -> str:
        """One text.

        Args:
            prompt: "" for none.
            seed: The same seed gives the same text.
            number: Which text of the seed.
            seq_len: Positions of the text at the most, its start mark included; 0: the model's context.
            given: Settings in place of those of ``settings.json``, such as ``guidance_scale``.
        """
        ids = [i for part in self.stream(prompt, seed, number, seq_len, **given) for i in part]
        return self.decode(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; end marks print nothing."""
        kept = [i for i in ids if i != self.settings["end"]]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False))

    def stream(self, prompt: str, seed: int, number: int, seq_len: int, **given: Any) -> Iterator[list[int]]:
        """The ids of a text, a few at a time; an end mark is the last one. Arguments as in :meth:`write`."""
        settings = self.checked({**self.settings["sampling"], **given})
        context, end = self.settings["context_length"], self.settings["end"]
        if seq_len < 0 or seq_len == 1:
            raise ValueError(f"seq_len is {seq_len}: give 2 or more, or 0 for the model's context")
        if min(seed, number) < 0:
            raise ValueError(f"seed is {seed} and number is {number}: give 0 or more")
        length, condition = seq_len or context, self.encode(prompt, settings)
        random = Random("sample", seed, number)
        prefix, written, window = [end], 1, 0
        while written < length:  # beyond the context, a window begins with the last half of the one before
            room, text = min(context, len(prefix) + length - written), list(prefix)
            source = Random("fork", random.seed, "window", window) if window else random
            for part in self._window(prefix, room, condition, settings, source):
                text += part
                yield part
            if end in text[len(prefix) :]:
                return
            written += len(text) - len(prefix)
            prefix, window = [end, *text[-(context // 2 - 1) :]], window + 1

    def checked(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings, if each is in its range."""
        for name, value in settings.items():
            if name not in RULES and name != "negative_prompt":
                raise ValueError(
                    f"there is no setting {name!r}; the settings are: {', '.join(RULES)}, negative_prompt"
                )
            if name in RULES and not RULES[name][1](value):
                raise ValueError(f"{name} is {value!r}: give {RULES[name][0]}")
        if settings["negative_prompt"] and settings["guidance_scale"] <= 1:
            raise ValueError("a negative_prompt needs a guidance_scale above 1; give one, or leave it out")
        return settings

    def encode(self, prompt: str, settings: dict[str, Any]) -> dict[str, Array]:
        """The condition of a text: what its passes get besides ids and the cache, a row for each branch of guidance."""
        negative = settings["negative_prompt"]
        scale = settings["guidance_scale"] if prompt or negative else 0.0  # else both branches are the same
        rows = [row for row, used in ((prompt, scale != 0), (negative, scale != 1)) if used]
        ids = [self.prompt_ids(row) for row in rows]
        width = max(1, *map(len, ids))
        prompts = np.array([row + [0] * (width - len(row)) for row in ids], dtype=np.int64)
        visible = np.arange(width) < np.array([[len(row)] for row in ids])
        keys, values, mask = self.graphs["encode"].run(None, {"prompts": prompts, "visible": visible})
        numbers = {"scale": scale, "plausibility": settings["plausibility"]}
        return {
            **{"keys": keys, "values": values, "mask": mask},
            **{name: np.array(value, dtype=np.float32) for name, value in numbers.items()},
        }

    def prompt_ids(self, prompt: str) -> list[int]:
        """The ids of a prompt; letters that the vocabulary lacks are tried in the other normal forms."""
        for form in (prompt, unicodedata.normalize("NFC", prompt), unicodedata.normalize("NFD", prompt)):
            try:
                ids: list[int] = self.prompt_tokenizer.encode(form, add_special_tokens=False).ids
            except Exception:  # the library has no kind of its own
                continue
            limit = self.settings["prompt_length"]
            if len(ids) > limit:
                raise ValueError(
                    f"the prompt has {len(ids)} tokens, but this model has room for {limit}; shorten it"
                )
            return ids
        raise ValueError(f"the prompt {prompt!r} has a character that the vocabulary lacks; leave it out")

    def _window(
        self,
        prefix: list[int],
        length: int,
        condition: dict[str, Array],
        settings: dict[str, Any],
        random: Random,
    ) -> Iterator[list[int]]:
        """Continue ``prefix`` to at most ``length`` ids, a round of speculative decoding at a time."""
        cache, warp = self.empty_cache(condition), (settings["temperature"], settings["top_p"])
        drafted, end = min(settings["block_length"], length) - 1, self.settings["end"]
        candidates = self.settings["candidates"]
        text = list(prefix)
        if len(text) > 1:
            _, cache = self.verify(text[:-1], cache, 0, condition)
        while len(text) < length:
            known, draft = len(text) - 1, np.zeros(0, dtype=np.int64)
            drawn_from = np.zeros((0, 0), dtype=np.float32)
            if drafted:
                random.uniform(drafted + 1)  # the noise of the canvas: every position but the first is masked
                canvas = [text[-1], *[self.settings["mask_id"]] * drafted]
                noise = gumbel_noise(random.uniform(drafted * candidates)).reshape(drafted, candidates)
                numbers = {"noise": noise, "temperature": min(warp[0], MAX_TEMPERATURE), "top_p": warp[1]}
                feeds = {"canvas": np.array(canvas), "cache": cache, "kept": np.arange(known), **condition}
                feeds |= {name: np.array(value, dtype=np.float32) for name, value in numbers.items()}
                draft, logits = self.graphs["draft"].run(None, feeds)
                drawn_from = probabilities(logits, *warp)
            logits, cache = self.verify([text[-1], *draft.tolist()], cache, known, condition)
            new = accept(draft, drawn_from, probabilities(logits, *warp), random, settings["lenience"])
            new = new[: length - len(text)]
            new = new[: new.index(end) + 1] if end in new else new
            text += new
            yield new
            if end in new:
                return

    def empty_cache(self, condition: dict[str, Array]) -> Array:
        """The cache ``[L+1, 2, B, H, 0, D/H]`` before the first pass."""
        layers, heads, width = self.settings["cache"]
        return np.zeros((layers, 2, len(condition["mask"]), heads, 0, width), dtype=np.float32)

    def verify(
        self, ids: list[int], cache: Array, known: int, condition: dict[str, Array]
    ) -> tuple[Array, Array]:
        """Next-token log-probabilities ``[N, V]`` of ids after the first ``known`` of the cache, and the grown cache."""
        feeds = {"ids": np.array(ids), "cache": cache, "kept": np.arange(known), **condition}
        logits, grown = self.graphs["verify"].run(None, feeds)
        return logits, grown


def main() -> int:
    """Write the texts that the command line asks for."""
    parser = argparse.ArgumentParser(description="Write texts from an exported SunFish model.")
    parser.add_argument("--prompt", default="", help="what to write about")
    parser.add_argument("--num-samples", type=int, default=1, help="texts to write")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same text")
    parser.add_argument("--seq-len", type=int, default=0, help="positions of a text; 0: the model's context")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: one for each core")
    model_settings = ("temperature", "top_p", "lenience", "guidance_scale", "plausibility")
    kinds: dict[str, type] = {**dict.fromkeys(model_settings, float), "block_length": int}
    for name, (words, _) in RULES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kinds.get(name, str), help=words)
    parser.add_argument("--negative-prompt", help="what guidance leads away from")
    arguments = vars(parser.parse_args())
    given = {name: arguments[name] for name in (*RULES, "negative_prompt") if arguments[name] is not None}
    try:
        model = Model(threads=arguments["threads"])
        for number in range(arguments["num_samples"]):
            print(
                model.write(
                    arguments["prompt"],
                    seed=arguments["seed"],
                    number=number,
                    seq_len=arguments["seq_len"],
                    **given,
                )
            )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
