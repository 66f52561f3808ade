"""Grammar and prompt adherence of a checkpoint trained on the built-in stories, over guidance scales.

    ./run.sh benchmarks/stories_quality.py checkpoints/tiny/last.ckpt --texts 200 --plot docs/images/tiny.png

For prompts of the held-out split it prints, for each scale: the share of sentences that the oracle's grammar can
produce; the share of the prompts' demands that their own texts meet; the same with the prompts shuffled among
the texts (the peer: what chance alone would give) and the ratio of the two; the share of texts that reached
their own end; distinct texts; how many different names a text has (the first line says how many the corpus's own
stories for these prompts have: more mean that somebody's name changes on the way); seconds a text.
"""

from __future__ import annotations

import argparse
import json
import re
import time

from common import Writer, add_sampling_flags, by_oracle, ratio, share
from pictures import plot

from sunfish.data.stories import story
from sunfish.data.stories.lexicon import NAMES
from sunfish.data.stories.oracle import check
from sunfish.sampling.pipeline import Generated

ROW = "{:>8} {:>9} {:>8} {:>9} {:>6} {:>9} {:>9} {:>10} {:>7}"


def names(texts: list[str]) -> float:
    """Mean number of different names in a text."""
    return sum(len(set(re.findall(r"[A-Z][a-z]+", text)) & set(NAMES)) for text in texts) / len(texts)


def judge(texts: list[Generated], prompts: list[str]) -> dict[str, float]:
    """All figures of one set of texts."""
    grammar, met = by_oracle(texts)
    others = prompts[1:] + prompts[:1]
    chance = [
        ok for text, prompt in zip(texts, others, strict=True) for ok in check(prompt, text.text).values()
    ]
    return {
        "grammatical": grammar,
        "met": met,
        "shuffled": share(chance),
        "finished": share([text.finished for text in texts]),
        "names": names([text.text for text in texts]),
        "distinct": 100 * len({text.text for text in texts}) / len(texts),
    }


def main() -> None:
    """Parse, write, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_sampling_flags(parser)
    parser.add_argument(
        "--split", default="test", help="test, or compositional: pairs of topic and place never seen"
    )
    arguments = parser.parse_args()
    writer = Writer(arguments)
    written = [story(1, arguments.split, index) for index in range(arguments.texts)]
    prompts = [one.prompt for one in written]
    print(
        f"{arguments.checkpoint}: {arguments.texts} prompts of the {arguments.split} split, {writer.settings}, "
        f"best of {arguments.best_of}; the corpus's own stories: {names([one.text for one in written]):.2f} names each"
    )
    print(
        ROW.format(
            "guidance",
            "grammar %",
            "met %",
            "shuffled",
            "ratio",
            "finished%",
            "distinct%",
            "names/text",
            "s/text",
        )
    )
    rows, shown = [], []
    for scale in arguments.scales:
        begin = time.perf_counter()
        texts = writer.write(prompts, scale)
        row = {"scale": scale, **judge(texts, prompts), "seconds": (time.perf_counter() - begin) / len(texts)}
        rows.append(row)
        print(
            ROW.format(
                f"{scale:g}",
                f"{row['grammatical']:.1f}",
                f"{row['met']:.1f}",
                f"{row['shuffled']:.1f}",
                ratio(row["met"], row["shuffled"]),
                f"{row['finished']:.0f}",
                f"{row['distinct']:.0f}",
                f"{row['names']:.2f}",
                f"{row['seconds']:.2f}",
            ),
            flush=True,
        )
        shown += [(scale, text) for text in texts[: arguments.show]]
    for scale, text in shown:
        verdict = check(text.prompt, text.text)
        print(f"\n[guidance {scale:g}] {text.prompt}\n  {verdict}\n  {text.text}")
    if arguments.plot:
        lines = {
            "grammatical": "grammatical sentences",
            "met": "prompt demands met",
            "shuffled": "met by chance (prompts shuffled)",
        }
        plot(
            rows,
            lines,
            arguments.plot,
            f"{arguments.checkpoint.parent.name}: {arguments.texts} held-out prompts",
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
