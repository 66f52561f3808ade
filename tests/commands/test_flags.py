"""Which flags there are, what they and --set mean, and how words become values."""

from __future__ import annotations

import json

import pytest

from sunfish.cli import COMMANDS, build_parser, main, parse
from sunfish.commands.flags import EVERYDAY, PUBLISHED, given_fields
from sunfish.config import FIELD_GROUPS, Config, GenerationConfig
from sunfish.config.presets import preset

# What --help shows, in its order. A flag is added here only with a measurement on record that shows what it
# is for.
FROZEN = {
    "train": """
        resume preflight no-preflight print-config config set help-all
        vocab-size n-layer n-head n-embd context-length process
        data tokenizer text-field prompt-field prompt-template delimiter
        name seed max-steps max-minutes batch-size learning-rate matrix-learning-rate
        checkpoints device precision activation-checkpointing no-activation-checkpointing
        threads compile no-compile""",
    "sample": """
        num-samples seed also device precision json print-config set help-all
        sampler num-steps block-length temperature top-p guidance-scale negative-prompt
        compile prompt prompt-file seq-len best-of stop fast watch""",
    "infill": """
        num-samples seed also device precision json print-config set help-all
        sampler num-steps temperature top-p guidance-scale negative-prompt text file prompt particles""",
    "edit": """
        num-samples seed also device precision json print-config set help-all
        temperature top-p guidance-scale negative-prompt text file replace range prompt particles""",
    "serve": "host port token-file max-running max-waiting timeout run device precision",
    "distill-guidance": """
        print-config set help-all
        name seed max-steps max-minutes batch-size learning-rate matrix-learning-rate
        checkpoints device precision threads""",
    "export": "onnx web resumable int8 runtime",
    "bench": "texts scales prompt-file seed threads write no-write device precision compile json",
    "data": """
        show shard json print-config config set help-all vocab-size context-length
        data tokenizer text-field prompt-field prompt-template delimiter seed""",
    "tokenizer": """
        load out encode json config set help-all vocab-size
        data tokenizer text-field prompt-field prompt-template delimiter seed""",
    "demo": "prompt seed",
    "push": "private revision prompt license resumable",
    "pull": "revision",
    "sizes": "measure quick device json",
    "plan": """
        gpus gpu-memory tokens tokens-per-second flops measure json config set help-all
        vocab-size n-layer n-head n-embd context-length max-steps max-minutes batch-size device precision""",
    "doctor": "checkpoints data-folder json",
}


def visible(command: str) -> list[str]:
    """The flags of ``command`` that its help shows, without -h."""
    parser = build_parser()[1][command]
    actions = [action for action in parser._actions if action.help != "==SUPPRESS=="]
    return [
        flag.removeprefix("--") for action in actions for flag in action.option_strings[-2:] if len(flag) > 2
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_everyday_flags_are_frozen(command: str) -> None:
    assert visible(command) == ["help", *FROZEN[command].split()]


def test_every_listed_field_exists() -> None:
    assert set(FIELD_GROUPS) | set(vars(GenerationConfig())) >= EVERYDAY | PUBLISHED
    assert not EVERYDAY & PUBLISHED


@pytest.mark.parametrize("command", ["train", "sample"])
def test_every_setting_has_help_and_can_be_set(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser()[1][command]
    groups = {
        "train": set(FIELD_GROUPS) - {"teacher"},
        "sample": set(vars(GenerationConfig())) - {"composed_prompts"},
    }
    assert {setting.name for setting in parser.settings.values()} == groups[command]
    assert main([command, "--help-all"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for setting in parser.settings.values():
        value = setting.default
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        arguments = parse([command, "--set", f"{setting.key}={text}"])
        assert given_fields(arguments) == {setting.name: value}
        assert setting.help and f"{setting.help} ({setting.default_text})" in shown


def test_every_flag_of_a_field_sets_it() -> None:
    for setting in build_parser()[1]["train"].settings.values():
        if setting.name not in EVERYDAY | PUBLISHED:
            continue
        value = setting.default
        words = [str(part) for part in value] if isinstance(value, tuple) else [str(value)]
        words = [] if isinstance(value, bool) else words
        arguments = parse(["train", f"--{setting.name}", *words])
        assert given_fields(arguments) == {setting.name: True if isinstance(value, bool) else value}


def test_set_is_typed_by_the_field(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["model.smear=false", "model.mlp_ratio=3", "training.trackers=", "training.block_lengths=2, 0"]
    flags = [part for word in words for part in ("--set", word)]
    assert main(["train", "--config", "tiny", *flags, "--print-config"]) == 0
    expected = preset("tiny", smear=False, mlp_ratio=3.0, trackers=(), block_lengths=(2, 0))
    assert Config.from_dict(json.loads(capsys.readouterr().out)) == expected


@pytest.mark.parametrize(
    ("assignment", "hint"),
    [
        ("training.dropuot=0.1", "no setting 'training.dropuot'; did you mean training.dropout?"),
        ("dropout=0.1", "did you mean training.dropout?"),
        ("model.data=x.txt", "did you mean corpus.data?"),
        ("training.teacher=x", "no setting 'training.teacher'"),
        ("zzz=1", "all of them: sunfish train --help-all"),
        ("training.dropout", "has no value"),
        ("training.dropout=much", "training.dropout is 'much': give a number"),
        ("training.batch_size=1.5", "training.batch_size is '1.5': give a whole number"),
        ("model.smear=maybe", "model.smear is 'maybe': give true or false"),
        ("training.dropout=2", "dropout is 2.0: give a share"),
    ],
)
def test_a_wrong_assignment_is_wrong_use(
    assignment: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--set", assignment, "--print-config"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and hint in captured.err and captured.err.startswith("error: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --process maskd", "process is 'maskd'; the processes are: "),
        ("train --tokenizer bpee", "tokenizer is 'bpee', neither a kind"),
        ("train --device tpu", "device is 'tpu'; the devices are: auto, cpu, cuda"),
        ("train --tokenizer bytes --vocab-size 100", "vocab_size is 100, but bytes needs at least 257"),
        ("train --process uniform --mask-rate-max 0.9", "mask_rate_max is 0.9, which has no effect"),
        ("data --tokenizer bpee", "tokenizer is 'bpee', neither a kind"),
    ],
)
def test_a_configuration_that_no_run_can_have_is_not_printed(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "--print-config"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(f"error: {message}")


def test_a_field_given_twice_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--dropout", "0.1", "--set", "training.dropout=0.2", "--print-config"]) == 2
    assert "dropout is given twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "--delimiter", "---"], {"delimiter": "---"}),
        (["train", "--delimiter", "--"], {"delimiter": "--"}),
        (["train", "--delimiter=---"], {"delimiter": "---"}),
        (["train", "--delimiter=--n_layer"], {"delimiter": "--n_layer"}),
        (["train", "--delimiter", "--n_layer of text"], {"delimiter": "--n_layer of text"}),
        (["train", "--delimiter", "-x", "--n_layer", "2"], {"delimiter": "-x", "n_layer": 2}),
        (["train", "--name", "a_b", "--data=a_b=c"], {"name": "a_b", "data": "a_b=c"}),
        (["train", "--block_lengths", "4", "0", "--seed", "3"], {"block_lengths": [4, 0], "seed": 3}),
        (
            ["train", "--no-draft_head", "--cpu", "--n-layer=2"],
            {"draft_head": False, "cpu": True, "n_layer": 2},
        ),
        (["train", "--set", "corpus.delimiter=--a_b", "--compile"], {"set": ["corpus.delimiter=--a_b"]}),
        (["sample", "--prompt", "-hello", "--num_samples", "2"], {"prompt": ["-hello"], "num_samples": 2}),
        (["sample", "--prompt=--watch", "--prompt", "--a_b=c"], {"prompt": ["--watch", "--a_b=c"]}),
        (["sample", "--also", "-- a_b", "-1", "--watch"], {"also": [["-- a_b", "-1"]], "watch": True}),
        (["sample", "--also=--json", "1"], {"also": [["--json", "1"]], "json": False}),
        (["sample", "--prompt", "", "--watch"], {"prompt": [""], "watch": True}),
        (["sample", "--guidance_scale", "-1"], {"guidance_scale": -1.0}),
        (["sample", "--", "--odd_name.ckpt"], {"checkpoint": "--odd_name.ckpt"}),
        (
            ["infill", "--text", "-- order_by user_id: [MASK]", "--seed", "1"],
            {"text": "-- order_by user_id: [MASK]", "seed": 1},
        ),
        (["infill", "--text", "--", "--file", "-"], {"text": "--", "file": "-"}),
    ],
)
def test_a_value_arrives_letter_by_letter(words: list[str], expected: dict[str, object]) -> None:
    arguments = vars(parse(words))
    assert {name: arguments[name] for name in expected} == expected


def test_only_known_flags_are_rewritten() -> None:
    train = build_parser()[1]["train"]
    assert train.normalized(["--n_layer", "3"]) == train.normalized(["--n-layer=3"])
    assert train.normalized(["--n_layer", "3"]) == ["--n-layer", "\0" + "3"]
    assert train.normalized(["--n_layrs", "3"]) == ["--n_layrs", "3"]
    words = ["a_b", "--cpu", "--", "--n_layer", "3"]
    assert train.normalized(words) == words


def test_a_home_that_nobody_has_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["train", "--checkpoints", "~nobody-at-all/x"], ["sample", "~nobody-at-all/x"]):
        assert main([*words, "--print-config"]) == 2
        assert "~nobody-at-all is nobody's home on this machine; write ./" in capsys.readouterr().err
