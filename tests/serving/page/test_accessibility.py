"""Both pages by axe-core's rules, in light and dark, wide and narrow; no sideways scrolling; little motion."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.service import Service
from sunfish.training.logger import Logger
from tests.browser import skip
from tests.serving.page.conftest import ALL_IS_SHOWN, OpenPage, serving

pytestmark = pytest.mark.slow
NARROW = 360


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from npm."""
    folder = tmp_path_factory.mktemp("axe")
    reason = "npm is not there"
    if shutil.which("npm"):
        words = ["npm", "install", "--no-audit", "--no-fund", "--cache", str(folder / "cache"), "axe-core@4"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
        reason = f"npm could not install axe-core: {done.stderr.strip().splitlines()[-1:]}"
    skip(f"{reason}, so accessibility is NOT tested")


@pytest.fixture(scope="module")
def place(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    logger = Logger(folder, (), {})
    for step in range(10, 50, 10):
        logger.metrics(step, {"loss": 100 / step, "next_token": 50 / step, "validation/bound": 70 / step})
    logger.note(40, "a note")
    logger.samples(40, [("a dog", "A dog ran."), ("", "A cat ran.")])
    with serving(Service(pipeline, "tiny", run=folder)) as address:
        yield address


def findings(page: Page, source: str) -> list[str]:
    """Serious and critical ones: rule, what is wrong, where."""
    page.evaluate(source)
    result = page.evaluate("axe.run(document)")
    assert "color-contrast" in {rule["id"] for rule in result["passes"]}
    return [
        f"{found['id']} ({found['impact']}): {node['failureSummary']} {node['html'][:200]}"
        for found in result["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


def scrolls_sideways(page: Page) -> bool:
    """Whether the page is wider than the screen."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, NARROW])
def test_the_page_of_texts(open_page: OpenPage, place: str, axe: str, width: int, scheme: str) -> None:
    page = open_page(place, width, color_scheme=scheme, reduced_motion="reduce")
    page.locator("#model:not(:empty)").wait_for()
    assert not scrolls_sideways(page)
    page.fill("#prompt", "Write about a dog")
    for name, value in {"guidance_scale": "1, 3", "seed": "4", "max_tokens": "20", "num_steps": "4"}.items():
        page.locator("details.more").evaluate("element => element.open = true")
        if name == "num_steps":
            page.select_option("#sampler", "confidence")
        page.fill(f"#{name}", value)
    page.click("#go")
    page.locator(ALL_IS_SHOWN).first.wait_for()
    page.locator("#step").press("ArrowLeft")
    page.locator("#step").press("ArrowLeft")
    assert page.locator(".noise").count() > 0
    assert width == NARROW or findings(page, axe) == []  # the colors are those of wide screens
    page.locator("#step").press("End")
    page.locator(".word").nth(1).click()
    page.get_by_role("button", name="Rewrite 1 word").click()
    page.locator(".choices li").first.wait_for()
    assert findings(page, axe) == [] and not scrolls_sideways(page)
    page.get_by_role("button", name="Share").first.click()
    assert findings(page, axe) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, NARROW])
def test_the_page_of_a_run(open_page: OpenPage, place: str, axe: str, width: int, scheme: str) -> None:
    page = open_page(f"{place}train", width, color_scheme=scheme)
    expect(page.locator("#shown .panel")).to_have_count(2)
    assert findings(page, axe) == [] and not scrolls_sideways(page)


def test_live_regions_do_not_chatter(open_page: OpenPage, place: str) -> None:
    page = open_page(place)
    page.locator("#model:not(:empty)").wait_for()
    page.evaluate("""() => {
        window.spoken = [];
        const note = () => window.spoken.push(document.getElementById("status").textContent);
        new MutationObserver(note).observe(document.getElementById("status"), {childList: true});
    }""")
    page.fill("#n", "2")
    page.fill("#prompt", "Write about a dog")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_have_text("2 texts are written.")
    assert page.evaluate("spoken") == ["Writing.", "2 texts are written."]
    assert page.locator(".panel [aria-live], .panel [role=status]").count() == 0


def test_everything_is_reached_by_tab(open_page: OpenPage, place: str) -> None:
    page = open_page(place)
    page.locator("#model:not(:empty)").wait_for()
    page.fill("#prompt", "Write about a dog")
    page.keyboard.press("Control+Enter")
    page.locator(ALL_IS_SHOWN).first.wait_for()
    page.locator(".skip").focus()
    names = []
    for _ in range(24):
        names.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        page.keyboard.press("Tab")
    fields = ["prompt", "guidance_scale", "sampler", "n", "seed", "temperature", "block_length"]
    for wanted in ("Skip to the texts", "Write", "Training", *fields, "go", "play", "step", "Edit", "Share"):
        names = names[names.index(wanted) + 1 :]


def test_reduced_motion_moves_nothing_by_itself(open_page: OpenPage, place: str) -> None:
    page = open_page(place, reduced_motion="reduce")
    page.locator("#model:not(:empty)").wait_for()
    page.fill("#prompt", "Write about a dog")
    page.keyboard.press("Control+Enter")
    page.locator(ALL_IS_SHOWN).first.wait_for()
    page.locator("#step").press("Home")
    page.locator("#step").press("ArrowRight")
    assert page.evaluate("document.getAnimations().length") == 0
