"""The page at /train, while a run begins, goes on, and begins anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.service import Service
from sunfish.training.evaluation import Validation
from sunfish.training.logger import Logger
from tests.serving.page.conftest import OpenPage, serving

pytestmark = pytest.mark.slow
VALIDATION = Validation(2.0, 0.7, 1.2, 4, 1.1, 0.25, 8, True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a run will be."""
    return tmp_path / "later"


@pytest.fixture
def train_page(folder: Path, pipeline: Pipeline) -> Iterator[str]:
    with serving(Service(pipeline, "tiny", run=folder)) as address:
        yield f"{address}train"


def step(logger: Logger, number: int, loss: float) -> None:
    values = {"loss": loss, "train_loss": loss / 2, "next_token": loss / 4, "tokens_per_second": 1234.0}
    logger.metrics(number, {**values, "minutes": number / 60})


def test_a_run_is_shown_from_before_its_beginning(open_page: OpenPage, train_page: str, folder: Path) -> None:
    page = open_page(train_page)
    expect(page.locator("#waiting")).to_contain_text("There is no run later yet")
    logger = Logger(folder, (), {})
    for number in range(10, 60, 10):
        step(logger, number, 10.0 - number / 10)
    logger.metrics(50, {f"validation/{name}": value for name, value in VALIDATION._asdict().items()})
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 60, "loss": 3')  # half a line
    figures = page.locator("#figures")
    expect(figures).to_contain_text("5.000")
    assert page.locator("#figures dd").all_text_contents() == [
        "50",
        "0.8",
        "5.000",
        "2.000",
        "1.100",
        "0.250",
    ]
    charts = page.get_by_role("img")
    assert charts.count() == 4
    label = charts.first.get_attribute("aria-label") or ""
    assert "loss 9.00 at step 10, 5.00 at step 50, lowest 5.00" in label
    path = page.locator(".chart path").first.get_attribute("d") or ""
    assert path.count("L") == 4
    charts.first.press("Home")
    expect(page.locator(".chart .key").first).to_contain_text("loss 9")
    expect(page.locator(".chart .key").first).to_contain_text("step 10")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(".5}\n")
    expect(figures).to_contain_text("3.500")


def test_samples_over_time_and_a_rollback(open_page: OpenPage, train_page: str, folder: Path) -> None:
    logger = Logger(folder, (), {})
    for number, loss in ((10, 4.0), (20, 3.0), (30, 900.0)):
        step(logger, number, loss)
    logger.samples(10, [("a dog", "dog dog"), ("", "")])
    logger.samples(20, [("a dog", "<b>The dog</b>\n\nran."), ("", "A cat.")])
    page = open_page(train_page)
    shown = page.locator("#shown .text")
    expect(shown).to_have_text(["<b>The dog</b>\n\nran.", "A cat."])
    page.get_by_role("button", name="Earlier samples").press("Enter")
    expect(shown).to_have_text(["dog dog", "(an empty text)"])
    expect(page.get_by_role("button", name="Earlier samples")).to_be_disabled()
    logger.note(20, "rolled back to step 20")
    step(logger, 30, 2.5)
    expect(page.locator("#notes li")).to_have_text("step 20: rolled back to step 20")
    label = page.get_by_role("img").first.get_attribute("aria-label") or ""
    assert "2.50 at step 30, lowest 2.50" in label
    assert page.locator("#sampled").text_content() == "step 10"  # nobody is moved to newer ones
    page.get_by_role("slider", name="Step of the samples").press("End")
    expect(shown).to_have_text(["<b>The dog</b>\n\nran.", "A cat."])
    shutil.rmtree(folder)
    logger = Logger(folder, (), {})
    step(logger, 1, 7.0)
    expect(page.locator("#figures dd").first).to_have_text("1")
    assert page.locator("#samples").is_hidden()


def test_a_long_run_comes_in_parts(open_page: OpenPage, train_page: str, folder: Path) -> None:
    folder.mkdir()
    lines = [
        json.dumps({"step": number, "loss": 1 + 1 / number, "pad": "x" * 400}) for number in range(1, 6001)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    page = open_page(train_page)
    expect(page.locator("#figures dd").first).to_have_text("6,000")
    path = page.locator(".chart path").first.get_attribute("d") or ""
    assert 100 < path.count("L") < 3000


def test_a_server_that_stops_is_missed_and_found_again(
    open_page: OpenPage, train_page: str, folder: Path
) -> None:
    step(Logger(folder, (), {}), 1, 7.0)
    page = open_page(train_page)
    expect(page.locator("#figures dd").first).to_have_text("1")
    page.route("**/v1/run?*", lambda route: route.abort("connectionrefused"))
    expect(page.locator("#error")).to_contain_text("No answer")
    assert page.locator("#figures dd").first.text_content() == "1"
    page.unroute("**/v1/run?*")
    expect(page.locator("#error")).to_be_hidden(timeout=10000)
    assert all("ERR_CONNECTION_REFUSED" in line for line in page.complaints)  # type: ignore[attr-defined]
    page.complaints.clear()  # type: ignore[attr-defined]
