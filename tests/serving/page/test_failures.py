"""What the page says when the server refuses, is full, drains, leaves, or asks for its token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Route, expect

from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.service import Service
from tests.serving.page.conftest import ALL_IS_SHOWN, OpenPage, serving

pytestmark = pytest.mark.slow
TOKEN = "abcdefghij0123456789"
COMPLETIONS = "**/v1/completions"
HTML = '<img src=x onerror="document.title=1"><b>bold</b> &amp;'


def write(page: Page, **values: str) -> None:
    """Send the form, whatever comes of it."""
    page.locator("#model:not(:empty)").wait_for()
    for name, value in {"prompt": "Write about a dog", "seed": "1", **values}.items():
        page.fill(f"#{name}", value)
    page.click("#go")


def forgive(page: Page, *expected: str) -> None:
    """Chromium itself logs these failures, as it should."""
    complaints = page.complaints  # type: ignore[attr-defined]
    assert all(any(word in line for word in expected) for line in complaints), complaints
    complaints.clear()


def test_a_refused_field_is_named_and_has_the_focus(open_page: OpenPage, address: str) -> None:
    page = open_page(address)
    write(page, temperature="-1")
    error = page.get_by_role("alert")
    expect(error).to_have_text("Refused (400)temperature is -1.0: give 0 (greedy) or more")
    assert page.locator(".panel").count() == 0 and "#" not in page.url
    expect(page.locator("#temperature")).to_be_focused()
    assert page.locator("#temperature").get_attribute("aria-invalid") == "true"
    page.fill("#temperature", "")
    page.fill("#seed", "1.5")
    page.click("#go")
    expect(error).to_contain_text("Seed is “1.5”: give a whole number")
    page.fill("#seed", "1")
    page.click("#go")
    page.locator(ALL_IS_SHOWN).first.wait_for()
    expect(error).to_be_hidden()
    text = page.locator(".panel .text").text_content()
    page.fill("#temperature", "-1")
    page.click("#go")
    expect(error).to_be_visible()
    assert page.locator(".panel .text").text_content() == text  # what was written is still there
    forgive(page, "400")


def test_a_full_server_says_when_to_come_again(open_page: OpenPage, pipeline: Pipeline) -> None:
    service, leave = Service(pipeline, "tiny", max_running=1, max_waiting=0), threading.Event()

    def block(_: Pipeline) -> Iterator[None]:
        leave.wait()
        yield

    with serving(service) as address:
        page = open_page(address)
        page.locator("#model:not(:empty)").wait_for()
        service.engine.submit(block)
        write(page)
        error = page.get_by_role("alert")
        expect(error).to_contain_text("Too much at once (429)")
        expect(error).to_contain_text("Try again in ")
        leave.set()
        page.get_by_role("button", name="Try again").click()
        page.locator(ALL_IS_SHOWN).first.wait_for()
        expect(error).to_be_hidden()
        forgive(page, "429")
        page.context.close()


def test_a_server_that_drains(open_page: OpenPage, pipeline: Pipeline) -> None:
    service = Service(pipeline, "tiny")
    with serving(service) as address:
        page = open_page(address)
        page.locator("#model:not(:empty)").wait_for()
        service.engine.drain(10.0)
        write(page)
        expect(page.get_by_role("alert")).to_contain_text("Not now (503)")
        forgive(page, "503")
        page.context.close()


@pytest.mark.parametrize("stage", ["before", "within"])
def test_a_lost_connection(open_page: OpenPage, address: str, stage: str) -> None:
    page = open_page(address)
    state = {"index": 0, "text": "A ▒", "finish_reason": None, "step": 1, "tokens": ["A", "▒"], "settled": 0}
    begun = f"data: {json.dumps({'choices': [state]})}\n\n" * 2

    def answer(route: Route) -> None:
        if stage == "before":
            route.abort("connectionrefused")
        else:
            route.fulfill(body=begun, content_type="text/event-stream")

    page.route(COMPLETIONS, answer)
    write(page)
    error = page.get_by_role("alert")
    expect(error).to_contain_text("No answer")
    expect(error).to_contain_text("the connection is lost")
    assert ("The text is not whole" in (error.text_content() or "")) == (stage == "within")
    assert page.locator("#stop").is_hidden()
    assert page.locator(".panel.partial").count() == (stage == "within")
    if stage == "within":
        assert page.locator(".noise").count() == 1
        page.get_by_role("button", name="Play").click()  # what has come can be looked at
    forgive(page, "ERR_CONNECTION_REFUSED")


def test_a_stream_that_fails_says_why(open_page: OpenPage, address: str) -> None:
    page = open_page(address)
    error = {"message": "the answer took longer than this server allows; ask for less", "code": "timeout"}
    body = f"data: {json.dumps({'error': error})}\n\n"
    page.route(COMPLETIONS, lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    write(page)
    expect(page.get_by_role("alert")).to_contain_text(error["message"])


def test_nothing_of_a_text_or_a_link_becomes_html(open_page: OpenPage, address: str) -> None:
    page = open_page(f"{address}#mode=fill&text={quote(HTML)}")
    expect(page.get_by_role("alert")).to_contain_text("There is no gap yet")
    assert page.input_value("#text") == HTML
    top = {HTML: -0.5, "<script>": -2.0}
    scores = {"tokens": [HTML], "token_logprobs": [-0.5], "top_logprobs": [top], "text_offset": [0]}
    last = {
        "index": 0,
        "text": HTML,
        "finish_reason": "stop",
        "tokens": [HTML],
        "step_maps": [1],
        "logprobs": scores,
    }
    body = f"data: {json.dumps({'choices': [last]})}\n\ndata: [DONE]\n\n"
    page.route(COMPLETIONS, lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    page.get_by_role("radio", name="Write").check()
    write(page, prompt=HTML)
    page.locator(".word").first.click()
    page.get_by_role("button", name="Share").click()
    assert page.locator(".panel .text").text_content() == HTML
    assert page.locator("img, main b, dialog b, script:not([src])").count() == 0
    assert page.title() == "SunFish"


def test_a_token_is_asked_for_once_and_kept_in_the_tab(open_page: OpenPage, pipeline: Pipeline) -> None:
    with serving(Service(pipeline, "tiny", token=TOKEN)) as address:
        page = open_page(address)
        field = page.get_by_label("Token", exact=True)
        field.fill("wrong-wrong-wrong-wrong")
        field.press("Enter")
        expect(field).to_have_value("")  # asked for again
        field.fill(TOKEN)
        page.get_by_role("button", name="Use it").click()
        write(page)
        page.locator(ALL_IS_SHOWN).first.wait_for()
        page.get_by_role("button", name="Share").click()
        assert TOKEN not in (page.locator("#share").text_content() or "")
        page.goto(f"{address}train")
        expect(page.locator("#error")).to_contain_text("404")
        assert page.locator("dialog[open]").count() == 0
        assert page.evaluate("localStorage.length") == 0 and TOKEN not in page.url
        forgive(page, "401", "404")
        page.context.close()


def test_a_canceled_token_is_an_error(open_page: OpenPage, pipeline: Pipeline) -> None:
    with serving(Service(pipeline, "tiny", token=TOKEN)) as address:
        page = open_page(address)
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("alert")).to_contain_text("No token (401)")
        forgive(page, "401")
        page.context.close()


def test_what_the_model_cannot_do_is_not_shown(open_page: OpenPage, address: str) -> None:
    page = open_page("about:blank")
    settings = {"sampler": "verified", "temperature": 0.7}
    card = {
        "id": "bare",
        "context_length": 64,
        "prompt_length": 0,
        "samplers": ["verified"],
        "settings": settings,
    }
    page.route("**/v1/models", lambda route: route.fulfill(json={"data": [card]}))
    page.goto(address)
    expect(page.locator("#model")).to_have_text("bare · context of 64 tokens")
    assert page.locator("#prompt, #guidance_scale, #num_steps, #sampler >> visible=true").count() == 0
    assert page.get_attribute("#temperature", "placeholder") == "0.7"
    assert page.get_attribute("#max_tokens", "placeholder") == "63"
