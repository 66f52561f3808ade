"""The page at /, used as a person uses it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import urllib.request
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from sunfish.sampling.editing import rewrite
from sunfish.sampling.likelihood import TokenScorer
from sunfish.sampling.pipeline import Pipeline
from tests.serving.page.conftest import ALL_IS_SHOWN, OpenPage

pytestmark = pytest.mark.slow
PROMPT = "Write a story about a robot"
LIMIT = 24  # tokens of a text, so that all goes fast


def ask(page: Page, **values: object) -> None:
    """Fill in the form and send it by keyboard."""
    page.locator("#model:not(:empty)").wait_for()
    page.locator("details.more").evaluate("element => element.open = true")
    for name, value in {"prompt": PROMPT, "max_tokens": LIMIT, "seed": 5, **values}.items():
        if name == "sampler":
            page.select_option("#sampler", str(value))
        else:
            page.fill(f"#{name}", str(value))
    page.keyboard.press("Control+Enter")
    page.locator(ALL_IS_SHOWN).first.wait_for()


def texts(page: Page) -> list[str]:
    """Every text that is shown."""
    return page.locator(".panel .text").all_text_contents()


def expected(pipeline: Pipeline, n: int = 1, seed: int = 5, **settings: object) -> list[str]:
    """What the model writes for the same settings."""
    config = replace(pipeline.generation_config, **settings)  # type: ignore[arg-type]
    written = pipeline.generate([PROMPT] * n, config, seq_len=LIMIT + 1, seed=seed)
    return [text.text for text in written]


def test_several_samples_are_those_of_the_seed(open_page: OpenPage, address: str, pipeline: Pipeline) -> None:
    page = open_page(address)
    ask(page, n=3, guidance_scale=1.5, temperature=0.8)
    wanted = expected(pipeline, 3, guidance_scale=1.5, temperature=0.8)
    assert texts(page) == wanted and len(set(wanted)) == 3
    expect(page.locator("#status")).to_have_text("3 texts are written.")
    expect(page.locator(".panel .facts").first).to_contain_text("seed 5 · ")


def test_one_seed_at_several_scales_in_a_row(open_page: OpenPage, address: str, pipeline: Pipeline) -> None:
    page = open_page(address)
    ask(page, guidance_scale="0, 1; 4")
    assert page.locator(".panel h2").all_text_contents() == ["Scale 0", "Scale 1", "Scale 4"]
    assert texts(page) == [expected(pipeline, guidance_scale=scale)[0] for scale in (0, 1, 4)]
    tops = [panel.bounding_box() for panel in page.locator(".panel").all()]
    assert len({box["y"] for box in tops if box}) == 1


def test_steps_are_scrubbed(open_page: OpenPage, address: str, pipeline: Pipeline) -> None:
    page = open_page(address)
    steps = {"sampler": "confidence", "num_steps": 6, "block_length": 0}
    ask(page, **steps)
    (whole,) = expected(pipeline, **steps)
    assert texts(page) == [whole]
    slider, noise = page.locator("#step"), page.locator(".noise")
    page.get_by_role("button", name="Share").focus()  # buttons take no arrow keys
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    last = int(slider.get_attribute("max") or 0)
    assert 3 <= last <= 8
    page.locator("#texts").focus()
    counts = []
    for _ in range(last):
        page.keyboard.press("ArrowLeft")
        counts.append(noise.count())
    assert counts == sorted(counts) and counts[-1] == LIMIT  # at first, all is noise
    assert slider.input_value() == "0" and texts(page)[0].strip() == ""
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_text("Pause")
    expect(page.locator("#play")).to_have_text("Play")
    assert slider.input_value() == str(last) and texts(page) == [whole]


def test_a_word_is_shaded_by_its_exact_likelihood(
    open_page: OpenPage, address: str, pipeline: Pipeline
) -> None:
    page = open_page(address)
    ask(page)
    (text,) = pipeline.generate([PROMPT], seq_len=LIMIT + 1, seed=5)
    scores = TokenScorer(pipeline, PROMPT).score(text.ids)
    wanted = [min(1, -score.logprob / 4) for score in scores]
    shades = page.locator(".word .token").evaluate_all(
        "all => all.map(one => [one.textContent, Number(one.style.getPropertyValue('--amount'))])"
    )
    assert max(amount for _, amount in shades) == pytest.approx(max(wanted), abs=0.006)
    assert all(min(abs(amount - other) for other in wanted) < 0.006 for _, amount in shades)
    page.get_by_role("radio", name="None").check()
    assert set(page.locator(".word .token").evaluate_all("all => all.map(one => one.style.cssText)")) == {
        "--amount: 0.00;"
    }
    page.get_by_role("radio", name="Step").check()
    expect(page.locator("#legend")).to_contain_text("the later the word took its value")


def test_a_new_request_takes_the_place_of_one_that_runs_and_escape_stops_it(
    open_page: OpenPage, address: str, pipeline: Pipeline
) -> None:
    page = open_page(address)
    page.locator("#model:not(:empty)").wait_for()
    for name, value in {"prompt": "a cat", "seed": "4", "n": "8"}.items():
        page.fill(f"#{name}", value)
    page.keyboard.press("Control+Enter")
    ask(page, n=1)
    expect(page.locator("#status")).to_have_text("The text is written.")
    assert texts(page) == expected(pipeline)
    page.route("**/v1/completions", lambda route: None)  # no answer comes
    page.keyboard.press("Control+Enter")
    page.locator("main[aria-busy]").wait_for()
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Stopped.")
    assert page.locator("#stop").is_hidden() and page.locator("#error").is_hidden()


def test_a_text_that_is_longer_than_the_context_has_no_likelihood(open_page: OpenPage, address: str) -> None:
    page = open_page(address)
    ask(page, max_tokens=120, n=2)
    expect(page.locator("#status")).to_have_text("2 texts are written.")
    assert any(len(text) > 150 for text in texts(page))
    expect(page.locator(".facts").nth(1)).not_to_contain_text("nats")
    page.locator(".word").first.click()
    assert page.locator(".token-table").count() == 0


def test_a_link_and_both_snippets_give_the_text_again(open_page: OpenPage, address: str) -> None:
    page = open_page(address)
    ask(page, n=2, prompt="It's a story about “Ida” & a robot", sampler="confidence", num_steps=3)
    wanted = texts(page)
    page.get_by_role("button", name="Share").nth(1).click()
    assert page.locator("#share-text").text_content() == wanted[1]
    link, curl, program = (
        page.locator(f"#share-{name}").text_content() or "" for name in ("link", "curl", "python")
    )
    words = shlex.split(curl)
    body = words[words.index("-d") + 1].encode()
    request = urllib.request.Request(words[1], body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        assert [choice["text"] for choice in json.load(response)["choices"]] == wanted
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stdout == f"{wanted[1]}\n", done.stderr
    other = open_page(link)
    other.locator(ALL_IS_SHOWN).nth(1).wait_for()
    assert texts(other) == wanted and other.input_value("#n") == "2"


def test_chosen_words_are_rewritten_by_keyboard_and_the_rest_stays(
    open_page: OpenPage, address: str, pipeline: Pipeline
) -> None:
    page = open_page(address)
    ask(page)
    (old,) = texts(page)
    page.get_by_role("button", name="Edit").press("Enter")
    expect(page.get_by_role("listbox")).to_be_focused()
    for key in ("ArrowRight", "Space", "ArrowRight", "ArrowRight", "ArrowRight", "Shift+ArrowRight", "Enter"):
        page.keyboard.press(key)
    chosen = page.locator(".word.chosen").all_text_contents()
    choices = page.locator(".choices li button")
    choices.first.wait_for()
    words = page.locator(".word").all_text_contents()
    assert chosen == [words[1], words[4], words[5]]
    places, end = [], 0
    for word in words:
        places.append((old.index(word, end), old.index(word, end) + len(word)))
        end = places[-1][1]
    spans = [places[1], (places[4][0], places[5][1])]
    wanted = rewrite(pipeline, old, spans, PROMPT, seed=5, n=6)
    assert choices.locator(".fill").all_text_contents() == [
        " … ".join(fill.strip(" \n") for fill in new.fills) for new in wanted
    ]
    page.keyboard.press("Enter")  # the likeliest has the focus
    assert texts(page) == [wanted[0].text]
    page.get_by_role("button", name="Share").click()
    link = page.locator("#share-link").text_content() or ""
    program = page.locator("#share-python").text_content() or ""
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Undo").click()
    assert texts(page) == [old]
    other = open_page(link)
    other.locator(ALL_IS_SHOWN).first.wait_for()
    assert texts(other) == [wanted[0].text]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stdout == f"{wanted[0].text}\n", done.stderr


def test_words_are_chosen_by_drawing_the_mouse_over_them(open_page: OpenPage, address: str) -> None:
    page = open_page(address)
    ask(page)
    words = page.locator(".word").all_text_contents()
    first, last = (page.locator(".word").nth(number).bounding_box() for number in (1, 3))
    assert first and last
    page.mouse.move(first["x"] + 1, first["y"] + first["height"] / 2)
    page.mouse.down()
    page.mouse.move(last["x"] + last["width"] - 1, last["y"] + last["height"] / 2, steps=4)
    page.mouse.up()
    assert page.locator(".word.chosen").all_text_contents() == words[1:4]
    page.locator(".word").nth(2).click()  # a second click lets go
    assert page.locator(".word.chosen").all_text_contents() == [words[1], words[3]]
    page.get_by_role("button", name="Choose none").click()
    page.get_by_role("button", name="Put gaps into it").click()
    assert page.input_value("#text") == page.locator(".panel .text").text_content()


def test_words_become_gaps_and_gaps_are_filled(open_page: OpenPage, address: str, pipeline: Pipeline) -> None:
    page = open_page(address)
    ask(page)
    (old,) = texts(page)
    page.locator(".word").nth(2).click()
    page.get_by_role("button", name="Make it a gap").click()
    field = page.locator("#text")
    gapped = field.input_value()
    before, after = gapped.split("[MASK]")
    assert old.startswith(before) and old.endswith(after) and page.locator("#text").is_visible()
    field.press("Control+End")
    field.press("Alt+m")
    assert field.input_value() == f"{gapped}[MASK]"
    page.fill("#text", f"{before}[MASK:2]{after}")
    page.fill("#max_tokens", "")
    page.fill("#n", "2")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".panel h2")).to_have_text(["Filling 1", "Filling 2"])
    page.locator(ALL_IS_SHOWN).nth(1).wait_for()
    wanted = pipeline.infill(f"{before}[MASK:2]{after}", prompt=PROMPT, seed=5, num_samples=2)
    assert texts(page) == [text.text for text in wanted]
    assert page.locator(".player #play").is_hidden() and page.locator(".word.new").count() >= 2
    expect(page.locator(".facts").nth(1)).to_contain_text(f"{-wanted[0].log_likelihood:.1f} nats")


def test_characters_beyond_16_bits_are_counted_as_the_server_counts_them(
    open_page: OpenPage, address: str
) -> None:
    page = open_page(address)
    page.locator("#model:not(:empty)").wait_for()
    page.get_by_role("radio", name="Fill gaps").check()
    page.fill("#text", "𝄞 A 😀 dog [MASK:1] ran.")
    page.fill("#seed", "1")
    page.click("#go")
    page.locator(ALL_IS_SHOWN).first.wait_for()
    (text,) = texts(page)
    assert text.startswith("𝄞 A 😀 dog ") and text.endswith(" ran.")
    page.locator(".word", has_text="dog").click()
    with page.expect_request("**/v1/rewrite") as asked:
        page.get_by_role("button", name="Rewrite 1 word").click()
    body = asked.value.post_data_json
    assert body["text"] == text and body["spans"] == [[text.index("dog"), text.index("dog") + 3]]
    page.locator(".choices li").first.wait_for()
    assert page.locator("#error").is_hidden()


def test_final_tokens_are_shaded_while_the_text_is_written(open_page: OpenPage, address: str) -> None:
    page = open_page(address)
    looks = page.evaluate("""async () => {
        const { Recording } = await import("/page/recording.js");
        const recording = new Recording();
        const logprobs = { token_logprobs: [-2, -0.5] };
        const choice = { text: "a b c", finish_reason: null, logprobs, tokens: ["a", " b", " c"], settled: 2 };
        recording.add(choice);
        return [0, 1, 2].map((place) => recording.look(0, place).token);
    }""")
    assert looks == [{"step": None, "logprob": -2}, {"step": None, "logprob": -0.5}, None]
