"""Facts to sentence: does the text mention the entities of its prompt? For a checkpoint trained on WebNLG.

    ./run.sh train.py --config small --name webnlg --data webnlg/train.jsonl --prompt_field prompt \\
        --prompt_length 128 --max_minutes 30
    ./run.sh benchmarks/webnlg.py checkpoints/webnlg/last.ckpt --dev webnlg/dev.jsonl

The prompts are those of the development file, none of which is in the training file. For each guidance scale: the
share of the prompts' entities (subjects and objects) that the text mentions, ignoring case, underscores and quotes; the
same with prompts shuffled (chance), the ratio; and the same figure for the human references as the peer.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from common import Writer, add_sampling_flags, ratio, share
from pictures import plot


def entities(prompt: str) -> set[str]:
    """Subjects and objects of ``subject | relation | object ; ...``, in comparable form."""
    found = set()
    for fact in prompt.split(" ; "):
        parts = fact.split(" | ")
        found.update(plain(part) for part in (parts[0], parts[-1]))
    return found - {""}


def plain(text: str) -> str:
    """Lower case, letters, digits and single spaces only."""
    return " ".join(re.findall(r"\w+", text.replace("_", " ").lower()))


def mentioned(prompt: str, text: str) -> list[bool]:
    """For each entity of the prompt, whether the text has its words in a row."""
    spoken = f" {plain(text)} "
    return [f" {entity} " in spoken for entity in sorted(entities(prompt))]


def main() -> None:
    """Parse, write, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_sampling_flags(parser)
    parser.add_argument("--dev", type=Path, required=True, help="dev.jsonl of WebNLG")
    arguments = parser.parse_args()
    writer = Writer(arguments)
    references: dict[str, str] = {}
    with arguments.dev.open(encoding="utf-8") as file:
        for record in map(json.loads, file):
            references.setdefault(record["prompt"], record["text"])
    step = max(1, len(references) // arguments.texts)
    prompts = list(references)[::step][: arguments.texts]
    limit = writer.pipeline.model.config.prompt_length
    fitting = [p for p in prompts if len(writer.pipeline.prompt_tokenizer.encode(p)) <= limit]
    human = share([ok for prompt in fitting for ok in mentioned(prompt, references[prompt])])
    too_long = len(prompts) - len(fitting)
    print(f"{arguments.checkpoint}: {len(fitting)} held-out prompts ({too_long} too long), {writer.settings}")
    print(f"human references mention {human:.1f} % of the entities")
    print("guidance   mentioned %   shuffled %   ratio to shuffled   ratio to human   finished %")
    rows, shown = [], []
    for scale in arguments.scales:
        texts = writer.write(fitting, scale)
        met = share([ok for text in texts for ok in mentioned(text.prompt, text.text)])
        others = fitting[1:] + fitting[:1]
        chance = share(
            [ok for text, prompt in zip(texts, others, strict=True) for ok in mentioned(prompt, text.text)]
        )
        finished = share([text.finished for text in texts])
        rows.append(
            {"scale": scale, "mentioned": met, "shuffled": chance, "human": human, "finished": finished}
        )
        print(
            f"{scale:8g} {met:13.1f} {chance:12.1f} {ratio(met, chance):>19} {met / human:16.2f} {finished:12.0f}",
            flush=True,
        )
        shown += [(scale, text) for text in texts[: arguments.show]]
    for scale, text in shown:
        print(f"\n[guidance {scale:g}] {text.prompt}\n  {text.text}\n  reference: {references[text.prompt]}")
    if arguments.plot:
        lines = {
            "mentioned": "entities mentioned",
            "shuffled": "prompts shuffled",
            "human": "human references",
        }
        plot(rows, lines, arguments.plot, f"WebNLG: {len(fitting)} held-out prompts")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
