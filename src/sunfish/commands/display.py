"""What a person sees of texts: plain, as JSON, as they condense in the terminal, as an animated picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from sunfish.commands.flags import print_json
from sunfish.utils import how_to_install, log

if TYPE_CHECKING:
    from sunfish.sampling.pipeline import Generated


def watch(states: Iterable[Generated]) -> Generated:
    """Draw every state on stderr, in place on a terminal and else a line each; returns the last."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        for state in states:
            log(state.text)
        return state
    with Live(console=console, transient=True, refresh_per_second=20) as live:
        for state in states:
            lines = Text(state.text).wrap(console, console.width)
            live.update(Text("\n").join(lines[-max(1, console.height - 1) :]))
    return state


def show(texts: list[Generated], as_json: bool) -> None:
    """The texts on stdout."""
    if as_json:
        print_json([{key: value for key, value in text._asdict().items() if key != "ids"} for text in texts])
        return
    for number, text in enumerate(texts, start=1):
        if len(texts) > 1:
            head = f"--- {number} of {len(texts)}" + (f": {text.prompt}" if text.prompt else "")
            print(head if number == 1 else f"\n{head}")
        print(text.text)


def save_gif(states: Sequence[Generated], path: Path, columns: int = 64) -> None:
    """The states as frames of a looping picture at ``path``; the last one stays for three seconds.

    Raises ``ImportError`` where Pillow is missing.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ImportError(
            f"--gif needs the library Pillow; install it with: {how_to_install('eval')}"
        ) from error
    font = ImageFont.load_default(size=18)
    pages = ["\n".join(wrap(state.text, columns)) for state in states]
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    boxes = [probe.multiline_textbbox((0, 0), page, font=font, spacing=6) for page in pages]
    size = (int(max(box[2] for box in boxes)) + 40, int(max(box[3] for box in boxes)) + 40)
    frames = []
    for page in pages:
        frame = Image.new("RGB", size, "#fffdf7")
        ImageDraw.Draw(frame).multiline_text((20, 20), page, font=font, fill="#23303d", spacing=6)
        frames.append(frame.quantize(16))
    times = [80] * (len(frames) - 1) + [3000]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0)
