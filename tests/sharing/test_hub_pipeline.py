"""Pipelines that come from a hub and go there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelHubMixin

import sunfish
from sunfish.sampling.hub_pipeline import HubPipeline, draw_samples, write_model
from sunfish.sampling.pipeline import Pipeline
from sunfish.utils import UsageError
from tests.sharing.conftest import NAME
from tests.sharing.hub_server import TOKEN, Files, Hub

PROMPT = "Write about dogs"


@pytest.mark.slow
def test_a_pipeline_of_a_hub_writes_what_its_checkpoint_writes(
    shared: Hub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Pipeline.from_checkpoint(checkpoint)
    remote = Pipeline.from_pretrained(NAME)
    assert remote.generate([PROMPT] * 3, seed=5) == local.generate([PROMPT] * 3, seed=5)
    gap = "A dog [MASK:4] home."
    assert remote.infill(gap, seed=5) == local.infill(gap, seed=5)
    assert (
        remote.source is not None
        and remote.source.is_relative_to(tmp_path / "cache")
        and local.source is None
    )
    assert Pipeline.from_pretrained(checkpoint).generate([PROMPT]) == local.generate([PROMPT])
    monkeypatch.delenv("HF_TOKEN")
    shared.repositories[NAME].private = True
    options: dict[str, Any] = dict(revision="main", token=TOKEN, cache_dir=tmp_path / "mine", device="cpu")
    half = Pipeline.from_pretrained(NAME, precision="bfloat16", **options)
    assert half.model.token_embedding.dtype == torch.bfloat16
    assert half.source is not None and half.source.is_relative_to(tmp_path / "mine")
    shared.requests.clear()
    Pipeline.from_pretrained(NAME, local_files_only=True, **options)
    assert shared.requests == []
    Pipeline.from_pretrained(NAME, force_download=True, **options)
    assert sum(line.startswith("GET /cdn/") for line in shared.requests) == 1
    with pytest.raises(UsageError, match="the repository is 'robots'; name it as the hub does: USER/NAME"):
        Pipeline.from_pretrained("robots")


@pytest.mark.slow
def test_the_mixin_saves_pushes_and_loads(hub: Hub, checkpoint: Path, files: Files, tmp_path: Path) -> None:
    assert sunfish.HubPipeline is HubPipeline and issubclass(HubPipeline, ModelHubMixin)
    pipeline = HubPipeline.from_checkpoint(checkpoint, precision="int8")
    pipeline.save_pretrained(tmp_path / "robots")
    saved = {path.name: path.read_bytes() for path in (tmp_path / "robots").iterdir()}
    assert saved == {**files, "README.md": files["README.md"].replace(b"user/robots", b"USER/robots")}
    url = pipeline.push_to_hub(NAME, private=True)
    repository = hub.repositories[NAME]
    assert repository.private and url.endswith(repository.branches["main"])
    assert {name: repository.files()[name] for name in files} == files
    loaded = HubPipeline.from_pretrained(NAME)
    assert isinstance(loaded, HubPipeline)
    assert loaded.generate([PROMPT]) == Pipeline.from_checkpoint(checkpoint).generate([PROMPT])
    loaded.push_to_hub("user/copy")
    copy = hub.repositories["user/copy"].files()
    assert copy["model.safetensors"] == files["model.safetensors"] and b"pull user/copy" in copy["README.md"]
    again = HubPipeline.from_pretrained(tmp_path / "robots")
    assert again.source == tmp_path / "robots"


def test_a_pipeline_of_parts_has_no_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    whole = Pipeline.from_checkpoint(checkpoint)
    parts = HubPipeline(whole.model, whole.process, whole.tokenizer)
    with pytest.raises(UsageError, match="this pipeline was made of parts"):
        parts.save_pretrained(tmp_path / "x")


def test_samples_have_their_prompts_and_seeds(checkpoint: Path) -> None:
    pipeline = Pipeline.from_checkpoint(checkpoint)
    samples = draw_samples(pipeline, [PROMPT, ""])
    assert [(sample.prompt, sample.seed) for sample in samples] == [
        (PROMPT, 0),
        (PROMPT, 1),
        ("", 0),
        ("", 1),
    ]
    assert len({sample.text for sample in samples}) == 4
    (text,) = pipeline.generate([PROMPT], seed=1)
    assert samples[1].text == text.text


def test_a_card_has_the_given_prompts(checkpoint: Path, tmp_path: Path) -> None:
    write_model(checkpoint, tmp_path, NAME, prompts=["a fox", "an owl"], license="apache-2.0")
    card = (tmp_path / "README.md").read_text()
    assert card.count("--prompt 'a fox' --seed ") == 3 and card.count("--prompt 'an owl' --seed ") == 2
    assert "\nlicense: apache-2.0\n" in card
    with pytest.raises(UsageError, match="the license is 'none of it'"):
        write_model(checkpoint, tmp_path, NAME, license="none of it")
