"""The page of an export, end to end in headless Chromium: the pipeline's own texts from a folder of files."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from sunfish.config import GenerationConfig
from sunfish.export import standalone, web
from sunfish.sampling.pipeline import Pipeline
from tests.browser import chromium, skip
from tests.export.conftest import copy_of

pytestmark = pytest.mark.slow
PROMPT = "Write a story about a robot"
TEXTS = [
    "Write a story about a robot",
    "It's 12345 o'clock;  they'll say:\n\n\t\u201cNo\u201d \u2026",
    "\u0928\u092e\u0938\u094d\u0924\u0947 na\u00efve e\u0301 \u65e5\u672c\u8a9e \U0001f41f\U0001f3fd",
    "<|endoftext|> \u00a0\u2003x\u0085y\ufeff",
    "",
]
Handler = http.server.SimpleHTTPRequestHandler


class _Quiet(Handler):
    def log_message(self, format: str, *parts: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def address(checkpoint: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a static server that shows the export."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(web, "write_model", copy_of(exported))
            folder = web.export_web(checkpoint, tmp_path_factory.mktemp("web") / "site")
    except ValueError as why:
        skip(f"the page of an export is NOT tested: {why}")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    """The page, its model loaded. It must not complain, and ask for nothing elsewhere."""
    complaints: list[str] = []
    requested: list[str] = []
    with chromium() as browser:
        shown = browser.new_page()
        shown.set_default_timeout(60_000)
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("request", lambda request: requested.append(request.url))
        shown.goto(address)
        shown.wait_for_selector("#write:enabled")
        yield shown
    assert complaints == []
    assert any(url.endswith(".wasm") for url in requested)
    assert [url for url in requested if not url.startswith((address, f"blob:{address}", "data:"))] == []


def write(page: Any, prompt: str, seed: int, scale: float) -> str:
    """The text that the page writes."""
    for name, value in (("prompt", prompt), ("seed", seed), ("scale", scale)):
        page.fill(f"#{name}", str(value))
    page.click("#write")
    page.wait_for_selector("#write:not([hidden])")
    assert " tokens in " in page.text_content("#status")
    return str(page.text_content("#text"))


def test_it_writes_what_the_pipeline_writes(page: Any, checkpoint: Path) -> None:
    pipeline = Pipeline.from_checkpoint(checkpoint)
    for prompt, seed, scale in ((PROMPT, 3, 3.0), ("Describe the ocean", 0, 1.0), ("", 2**53 - 1, 2.0)):
        config = GenerationConfig(guidance_scale=scale if prompt else 0.0)
        expected = pipeline.generate([prompt], config, seed=seed)[0].text
        assert len(expected) > 40
        assert write(page, prompt, seed, scale) == expected


def test_a_link_gives_the_same_text_again(page: Any) -> None:
    text = write(page, "Write about dogs & cats", 7, 1.5)
    given = parse_qs(urlsplit(page.url).fragment)
    assert given == {"prompt": ["Write about dogs & cats"], "seed": ["7"], "scale": ["1.5"]}
    page.reload()
    page.wait_for_selector("#write:enabled")
    assert page.input_value("#prompt") == "Write about dogs & cats"
    page.press("#prompt", "Enter")
    page.wait_for_selector("#write:not([hidden])")
    assert page.text_content("#text") == text


def test_a_text_is_stopped_and_a_long_prompt_refused(page: Any) -> None:
    page.fill("#prompt", PROMPT)
    page.click("#write")
    page.click("#stop")
    assert page.text_content("#status") == "Stopped."
    page.fill("#prompt", "robot " * 200)
    page.click("#write")
    page.wait_for_selector("#status:has-text('Error')")
    assert "but this model has room for 64; shorten it" in page.text_content("#status")
    assert write(page, PROMPT, 0, 1.0)


def test_random_numbers_are_those_of_the_sampler(page: Any) -> None:
    code = """async ([names, count]) => {
        const { Random } = await import("./random.js");
        return names.map((name) => new Random(...name).uniforms(count));
    }"""
    names = [["sample", 0, 0], ["sample", 2**53 - 1, 12], ["fork", "\u00e9", 1]]
    drawn = page.evaluate(code, [names, 700])
    for name, numbers in zip(names, drawn, strict=True):
        assert numbers == standalone.Random(*name).uniform(700).tolist()  # type: ignore[arg-type]


def test_ids_are_those_of_the_tokenizer(page: Any, checkpoint: Path) -> None:
    tokenizer = Pipeline.from_checkpoint(checkpoint).tokenizer
    code = """async (texts) => {
        const { Tokenizer } = await import("./tokenizer.js");
        const tokenizer = new Tokenizer(await (await fetch("model/tokenizer.json")).json());
        return texts.map((text) => [tokenizer.encode(text), tokenizer.decode(tokenizer.encode(text))]);
    }"""
    for text, (ids, back) in zip(TEXTS, page.evaluate(code, TEXTS), strict=True):
        assert (ids, back) == (tokenizer.encode(text), text)


def test_tokens_are_drawn_like_those_of_the_sampler(page: Any) -> None:
    """At each temperature, with a nucleus and without; and what a round accepts of a draft."""
    code = """async ([logits, size, settings, drafted]) => {
        const { accept, draw, probabilities } = await import("./model.js");
        const { Random } = await import("./random.js");
        const rows = probabilities(Float32Array.from(logits), size, settings);
        const random = new Random("test");
        const ids = rows.map((row) => draw(row, random.uniform()));
        const target = [rows[1], rows[2], rows[0]];
        return [ids, accept(drafted, [rows[0], rows[1]], target, random, 0.8)];
    }"""
    logits = np.random.RandomState(0).normal(size=(3, 50)).astype(np.float32)
    for temperature, nucleus in ((1.0, 1.0), (0.5, 1.0), (0.0, 1.0), (1e-5, 1.0), (1.3, 0.7), (1e5, 0.5)):
        expected = standalone.probabilities(logits, temperature, nucleus)
        random = standalone.Random("test")
        ids = standalone.draw(expected, random.uniform(3)).tolist()
        drafted = standalone.draw(expected[:2], np.array([0.3, 0.6]))
        kept = standalone.accept(drafted, expected[:2], expected[[1, 2, 0]], random, 0.8)
        settings = {"temperature": temperature, "top_p": nucleus}
        assert page.evaluate(code, [logits.ravel().tolist(), 50, settings, drafted.tolist()]) == [ids, kept]
