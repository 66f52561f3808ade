"""The editable files in config/ are the presets, and an edit takes effect in train.py."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from config import FILES, get_config
from sunfish.config import Config, GenerationConfig, ModelConfig, TrainingConfig
from sunfish.config.effects import refuse_ineffective_generation
from sunfish.config.presets import PRESETS, preset
from sunfish.model.transformer import Transformer
from sunfish.utils import UsageError
from tests.conftest import ROOT


@pytest.mark.parametrize("name", PRESETS)
def test_a_file_is_its_preset(name: str) -> None:
    assert get_config(name) == preset(name)


@contextmanager
def forgotten_modules(package: str) -> Iterator[None]:
    """Within, ``package`` is imported anew; afterwards its modules are the old ones."""

    def forget() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] == package]
        return {name: sys.modules.pop(name) for name in names}

    old = forget()
    try:
        yield
    finally:
        forget()
        sys.modules.update(old)


@pytest.mark.parametrize("name", ["nano", "full"])
def test_an_edit_takes_effect(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", tmp_path)
    file = tmp_path / "config" / f"{FILES.get(name, name + '_config')}.py"
    old = preset(name)
    text = file.read_text()
    for field, before, after in (
        ("batch_size", old.training.batch_size, 3),
        ("n_layer", old.model.n_layer, 5),
        ("n_embd", old.model.n_embd, 128),
    ):
        assert text.count(f"\n{field} = {before}") == 1
        text = text.replace(f"\n{field} = {before}", f"\n{field} = {after}")
    file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)  # as Python itself does for a script
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", name, "--n_layer", "7", "--print-config"])
    with forgotten_modules("config"), pytest.raises(SystemExit) as ended:
        runpy.run_path(str(tmp_path / "train.py"), run_name="__main__")
    assert ended.value.code == 0
    config = json.loads(capsys.readouterr().out)
    assert config["training"]["batch_size"] == 3 and config["model"]["n_embd"] == 128
    assert config["model"]["n_layer"] == 7  # a flag overrides the file


def test_a_file_prints_the_size_and_the_shape(capsys: pytest.CaptureFixture[str]) -> None:
    from config.micro_config import get_micro_config

    assert get_micro_config() == preset("micro")
    text = capsys.readouterr().out
    assert "parameters" in text and "3 layers" in text and "width 768" in text


@pytest.mark.parametrize(
    ("n_embd", "mlp_ratio", "hidden"),
    [
        (120, 8 / 3, 320),
        (768, 8 / 3, 2048),
        (768, 2.5, 1920),
        (640, 3.4, 2176),
        (768, 2.51, 2048),
        (64, 0.1, 32),
    ],
)
def test_the_feed_forward_is_as_wide_as_its_ratio_says(n_embd: int, mlp_ratio: float, hidden: int) -> None:
    config = ModelConfig(n_embd=n_embd, n_head=4, mlp_ratio=mlp_ratio, n_layer=1, vocab_size=300)
    assert config.n_hidden == hidden
    shapes = {tuple(parameter.shape) for parameter in Transformer(config).parameters()}
    assert (2 * hidden, n_embd) in shapes and (n_embd, hidden) in shapes


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("inf"), float("nan")])
def test_a_feed_forward_of_no_width_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=f"mlp_ratio is {ratio}, but it must be above 0"):
        ModelConfig(mlp_ratio=ratio)


def test_a_mistyped_field_in_a_config_file_is_named() -> None:
    from config import build

    with pytest.raises(UsageError, match="bach_size, which is no field"):
        build("tiny", {"bach_size": 3, "__name__": "config.tiny_config"}, show=False)


def test_the_defaults_of_the_classes_are_micro() -> None:
    assert Config() == preset("micro")


def test_what_follows_from_other_fields_is_a_property() -> None:
    assert not Config().training.distills
    assert TrainingConfig(teacher="checkpoints/last.ckpt").distills
    assert TrainingConfig().is_limited and not TrainingConfig(max_minutes=0.0).is_limited


@pytest.mark.parametrize(
    "name,fault",
    [
        ("", "which is empty"),
        ("a\\b", "which has a slash"),
        ("-x", "which begins with '-'"),
        ("~", "which begins with '~'"),
        ("last.ckpt", "which ends as the links to checkpoints do"),
        ("tales ", "which has white space around it"),
        ("a\nb", "which has characters that cannot be seen"),
    ],
)
def test_a_refused_name_says_what_is_wrong_with_it(name: str, fault: str) -> None:
    with pytest.raises(UsageError, match=rf"^name is .*, {re.escape(fault)}, but it names a folder"):
        preset("nano").with_fields(name=name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "a/b", "/tmp/run", "a\\b", "-run", ".hidden", "last.ckpt", "best.ckpt"),
        *("a\0b", "a\nb", "a\tb", "a\x1b[2Jb", "\u2028", "\ud800", " a", "a ", "a\n", "\u3000a"),
    ],
)
def test_a_name_that_is_no_plain_folder_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"name is {name!r}") + ".*--checkpoints"):
        TrainingConfig(name=name)


@pytest.mark.parametrize("name", ["a" * 256, "ä" * 128, "🐟" * 64])
def test_a_name_longer_than_a_folder_can_have_is_refused(name: str) -> None:
    assert TrainingConfig(name=name[:63]).name == name[:63]
    with pytest.raises(UsageError, match=r"which has 256 bytes, but .* at most 255; shorten it"):
        TrainingConfig(name=name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(seed=-1), "seed is -1, but it must be at least 0"),
        (dict(eval_every=0), "eval_every is 0, but it must be at least 1"),
        (dict(save_minutes=-1.0), "save_minutes is -1.0, but it must be at least 0"),
        (dict(learning_rate=float("nan")), "learning_rate is nan"),
        (dict(max_minutes=float("inf")), "max_minutes is inf"),
        (dict(ema_decay=1.5), "ema_decay is 1.5, but it must lie between 0 and 1"),
        (dict(precision="float64"), "precision is 'float64': use auto"),
        (dict(trackers=("paper",)), r"trackers has \['paper'\]"),
        (dict(block_lengths=()), r"block_lengths is \(\)"),
        (dict(mask_rate_min=0.9), "mask_rate_min is 0.9 and mask_rate_max 0.8"),
        (dict(teacher="x", prompt_dropout=1.0), "prompt_dropout is 1"),
        (dict(n_head=5), "n_embd is 768 and n_head is 5: .* for example 770"),
        (dict(prompt_encoder="gpt2"), "use 'learned' .* or 'hf:NAME'"),
        (dict(prompt_encoder="hf:gpt2", prompt_length=0), "prompt_length is 0"),
        (dict(stories=99), "stories is 99"),
        (dict(data="x.txt", prompt_field="a", prompt_template="b"), "give one of the two"),
        (dict(n_layrs=3), "no field 'n_layrs'; did you mean n_layer"),
        (
            dict(complementary=True, next_token_weight=0.0),
            "complementary is True, but next_token_weight is 0.0",
        ),
        (dict(complementary=True, teacher="x"), "complementary is True, but distillation"),
    ],
)
def test_a_value_that_cannot_be_right_is_wrong_use(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        preset("micro", **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(data="x.txt", stories=500), "stories is 500, which has no effect where data is 'x.txt'"),
        (dict(text_field="body"), "text_field is 'body', which has no effect where data is stories"),
        (dict(delimiter="---"), "delimiter is '---'"),
        (dict(validation_fraction=0.1), "validation_fraction is 0.1"),
        (dict(uniform_share=0.2), "uniform_share is 0.2, but process is masked"),
        (
            dict(next_token_weight=1.0, mask_rate_min=0.2),
            "mask_rate_min is 0.2, which .* pure autoregression",
        ),
        (
            dict(block_lengths=(4, 16), mask_rate_max=0.9),
            r"mask_rate_max is 0.9, which .* block_lengths is \(4, 16\), whose blocks have their own mask rates",
        ),
        (
            dict(block_lengths=(1,), mask_rate_min=0.2),
            r"mask_rate_min is 0.2, which .* block_lengths is \(1,\)",
        ),
        (dict(prompt_length=0, n_prompt_layer=2), "n_prompt_layer is 2, which .* prompt_length is 0"),
        (dict(prompt_length=0, prompt_dropout=0.5), "prompt_dropout is 0.5"),
        (dict(max_minutes=0.0, decay_fraction=0.2), "decay_fraction is 0.2, which .* a run without an end"),
    ],
)
def test_a_setting_without_an_effect_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        preset("micro", **values)


def test_what_a_preset_sets_or_a_default_says_is_no_wrong_use() -> None:
    """nano has its own number of stories, and full its own prompt layers; nobody gave them."""
    assert preset("nano", data="x.txt").corpus.data == "x.txt"
    assert preset("full", prompt_length=0).model.n_prompt_layer == 2
    assert preset("micro", process="uniform", mask_rate_max=0.8).process.process == "uniform"


@pytest.mark.parametrize(
    "values",
    [
        dict(),
        dict(block_lengths=(4, 0)),
        dict(block_lengths=(4, 256)),
        dict(block_lengths=(4,), complementary=True),
        dict(block_lengths=(4,), process="uniform"),
    ],
)
def test_mask_rates_are_for_whole_texts_and_second_canvases_and_other_processes(
    values: dict[str, object],
) -> None:
    assert preset("tiny", mask_rate_min=0.2, **values).training.mask_rate_min == 0.2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(num_steps=20), "num_steps is 20, which .* sampler is verified, which has no denoising steps"),
        (dict(temperature=0.0, top_p=0.9), "top_p is 0.9, which .* temperature is 0"),
        (dict(temperature=0.0, top_k=9), "top_k is 9, which .* temperature is 0"),
        (dict(temperature=0.0, min_p=0.2), "min_p is 0.2, which .* temperature is 0"),
        (dict(guidance_scale=1.0, plausibility=0.1), "plausibility is 0.1, which .* guidance_scale is 1;"),
    ],
)
def test_a_sampling_setting_without_an_effect_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        refuse_ineffective_generation(GenerationConfig(**given), given)
    refuse_ineffective_generation(GenerationConfig(**given), ())
    refuse_ineffective_generation(GenerationConfig(temperature=0.0), ("top_p", "top_k", "min_p"))


def test_of_several_settings_without_effect_the_first_one_is_named() -> None:
    with pytest.raises(UsageError, match=r"mask_rate_min is 0\.2"):
        preset("tiny", mask_rate_max=0.9, mask_rate_min=0.2, next_token_weight=1.0)


def test_a_stored_configuration_is_read_back_and_a_damaged_one_is_no_wrong_use() -> None:
    config = preset("tiny", block_lengths=(2, 0), process="mixed", uniform_share=0.5)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for damaged, message in (
        ({"modell": {}}, "no group 'modell'"),
        ({"model": {"n_layrs": 1}}, "unknown fields: n_layrs"),
        ({"model": {"n_layer": 0}}, "says that n_layer is 0"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            Config.from_dict(damaged)
        assert not isinstance(error.value, UsageError)


@pytest.mark.parametrize("name", PRESETS)
def test_the_values_of_a_file_are_all_of_the_sizes(name: str) -> None:
    """A person who opens the file sees every number that makes the size; none is left to a default."""
    text = (ROOT / "config" / f"{FILES.get(name, name + '_config')}.py").read_text()
    for field in ("batch_size", "n_layer", "n_head", "n_embd", "vocab_size", "context_length", "max_minutes"):
        assert f"\n{field} = " in text
