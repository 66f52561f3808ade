"""What each flag says of itself: its help, its value's name and type, its default, in every command."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from sunfish.cli import COMMANDS, EXAMPLES, build_parser, main, parse
from sunfish.commands.demo import PROMPT
from sunfish.commands.parser import HIDDEN, Parser
from sunfish.commands.values import PATHS
from sunfish.config import FIELD_GROUPS, Config, GenerationConfig
from sunfish.config.generation import NUM_PARTICLES
from sunfish.config.presets import preset

NEEDED = {  # the words without a default
    "bench": ["sample"],
    "distill-guidance": ["teacher.ckpt"],
    "export": ["x.ckpt", "x"],
    "push": ["last.ckpt", "user/robots"],
    "pull": ["user/robots"],
}
# What help writes in capitals; every other word of it is lower-case.
NAMES = {
    name.upper(): name
    for name in (
        "B",
        "CPU",
        "FILE.txt",
        "GPU",
        "GPUs",
        "GiB",
        "JSON",
        "MASK",
        "N",
        "ONNX",
        "OMP_NUM_THREADS",
        "END",
        "I",
        "SUNFISH_TOKEN",
    )
}
# Words that stand for a flag's value, by the type of the value.
VALUE_NAMES = {
    int: {"N"},
    float: {"FLOAT"},
    None: {
        "TEXT",
        "PATH",
        "STR",
        "CHECKPOINT",
        "FOLDER",
        "WEIGHT",
        "WORDS",
        "START:END",
        "USER/NAME",
        "I/N",
        "COUNT",
    },
}
# Arguments that no field of a configuration stands behind: their values where they are not given.
SAMPLING = dict(
    checkpoint="checkpoints/last.ckpt",
    num_samples=1,
    seed=0,
    also=[],
    scheduler=None,
    device="auto",
    precision="float32",
    cpu=False,
    json=False,
    print_config=False,
    set=[],
)
DEFAULTS: dict[str, dict[str, Any]] = {
    "demo": dict(prompt=PROMPT, seed=0),
    "train": dict(resume=None, cpu=False, preflight=None, print_config=False, config=None, set=[]),
    "sample": dict(
        **SAMPLING,
        compile=False,
        prompt=[],
        prompt_file=None,
        seq_len=None,
        best_of=1,
        stop=[],
        fast=False,
        watch=False,
        mode="generate",
        text=None,
    ),
    "infill": dict(**SAMPLING, text=None, file=None, prompt="", particles=NUM_PARTICLES),
    "edit": dict(**SAMPLING, text=None, file=None, prompt="", particles=NUM_PARTICLES, replace=[], range=[]),
    "serve": dict(
        checkpoint="checkpoints/last.ckpt",
        host="127.0.0.1",
        port=8000,
        token_file=None,
        max_running=16,
        max_waiting=64,
        timeout=300.0,
        run_folder=None,
        device="auto",
        precision="float32",
    ),
    "distill-guidance": dict(teacher_checkpoint="teacher.ckpt", cpu=False, print_config=False, set=[]),
    "export": dict(
        checkpoint="x.ckpt", folder="x", onnx=False, web=False, resumable=False, int8=False, runtime=None
    ),
    "bench": dict(
        what="sample",
        checkpoint="checkpoints/last.ckpt",
        texts=24,
        scales=[1.0, 3.0],
        prompt_file=None,
        seed=0,
        threads=0,
        write=True,
        device="auto",
        precision="float32",
        compile=False,
        json=False,
    ),
    "data": dict(show=0, json=False, shard=None, print_config=False, config=None, set=[]),
    "tokenizer": dict(load=None, out=None, encode=None, json=False, config=None, set=[]),
    "push": dict(
        checkpoint="last.ckpt",
        repository="user/robots",
        private=False,
        revision=None,
        prompt=[],
        license=None,
        resumable=False,
    ),
    "pull": dict(repository="user/robots", folder=None, revision=None),
    "sizes": dict(measure=False, quick=False, device="auto", json=False),
    "plan": dict(
        gpus=1,
        gpu_memory=80.0,
        tokens=None,
        tokens_per_second=None,
        flops=None,
        measure=False,
        json=False,
        config=None,
        set=[],
    ),
    "doctor": dict(checkpoints="checkpoints", data_folder="data", json=False),
}
every_command = pytest.mark.parametrize("command", COMMANDS)
with_settings = pytest.mark.parametrize(
    "command",
    [
        name
        for name in COMMANDS
        if name not in ("demo", "bench", "serve", "push", "pull", "export", "sizes", "doctor")
    ],
)


def parser_of(command: str) -> Parser:
    """That of a command, built anew for each test: mutmut looks which tests reach the flags of a command."""
    return build_parser(used=[command])[1][command]


def arguments_of(command: str, *, settings: bool = False) -> Iterator[tuple[Parser, argparse.Action]]:
    """The arguments that fields of a configuration stand behind, or else the other ones."""
    parser = parser_of(command)
    fields = {setting.name for setting in parser.settings.values()}
    return ((parser, action) for action in parser._actions if (action.dest in fields) == settings)


@every_command
def test_a_help_is_a_phrase_or_hidden(command: str) -> None:
    for parser, action in arguments_of(command):
        if action.help == argparse.SUPPRESS:
            assert action.dest in HIDDEN
            continue
        assert action.help, f"say what {action.dest} is for, or hide it"
        phrase = action.help.replace("(%(default)s)", "").replace("auto, cpu, cuda", "devices").rstrip()
        assert re.match(r"[\w-]", phrase) and not phrase.endswith(".") and phrase == " ".join(phrase.split())
        for word in re.findall(r"[A-Za-z_.]+", phrase):
            assert word == NAMES.get(word.upper(), word.lower())
        assert all(parser.knows(flag) for flag in re.findall(r"--[a-z-]+", phrase))


@every_command
def test_a_value_has_choices_or_a_name_that_says_its_type(command: str) -> None:
    for _, action in arguments_of(command):
        if action.nargs == 0:
            assert action.metavar is None and action.type is None
        elif action.choices is not None:
            assert action.metavar is None and action.default in (None, *action.choices)
        elif action.dest == "set":
            assert action.metavar == "GROUP.FIELD=VALUE"
        elif isinstance(action.default, list) and action.default:
            assert (action.metavar, action.nargs) == ("FLOAT", "+")
        elif action.nargs == "?":
            assert action.metavar is None and action.dest in ("checkpoint", "folder")
        else:
            names = action.metavar if isinstance(action.metavar, tuple) else (action.metavar,)
            assert set(names) <= VALUE_NAMES[action.type]  # type: ignore[index]
            assert (names[0] in ("PATH", "CHECKPOINT", "FOLDER")) == (action.dest in PATHS)


@every_command
def test_a_setting_is_named_by_its_type_and_has_no_value_of_its_own(command: str) -> None:
    for parser, action in arguments_of(command, settings=True):
        (default,) = (s.default for s in parser.settings.values() if s.name == action.dest)
        assert action.default == argparse.SUPPRESS
        if isinstance(default, bool):
            assert isinstance(action, argparse.BooleanOptionalAction)
        elif isinstance(default, tuple):
            assert action.type is type(default[0]) and action.nargs == "+"
            assert f"{action.metavar}S" == action.dest.upper()
        else:
            assert action.type is type(default) and action.nargs is None
            assert action.metavar == type(default).__name__.upper()


@every_command
def test_a_default_is_shown_once(command: str) -> None:
    """At the end of the help, but for what stands for no value at all and what the help explains."""
    for _, action in arguments_of(command):
        text = str(action.help)
        if isinstance(action.default, list) and action.default:
            assert text.endswith(f" ({' '.join(f'{value:g}' for value in action.default)})")
        elif action.nargs == 0 or action.default in (None, [], ""):
            assert "%" not in text
        elif action.default != 0 and text != argparse.SUPPRESS:
            assert text.count("%") == 1 and text.endswith(" (%(default)s)")


@every_command
def test_what_is_not_given_has_its_default(command: str) -> None:
    arguments = vars(parse([command, *NEEDED.get(command, [])]))
    ways = {name: arguments.pop(name) for name in ("run", "parser", "base", "command", "version")}
    assert arguments == DEFAULTS[command]
    assert ways["run"] is COMMANDS[command].run and ways["base"] is preset
    assert ways["parser"].prog == f"sunfish {command}"
    assert (ways["command"], ways["version"]) == (command, False)


WORDS = {int: ("7", 7), float: ("0.25", 0.25), str: ("a word", "a word"), None: ("a word", "a word")}


def uses(action: argparse.Action) -> list[tuple[list[str], Any]]:
    """Ways to give a flag, and the values that they mean."""
    flag = action.option_strings[0]
    if isinstance(action, argparse.BooleanOptionalAction):
        return [([flag], True), ([action.option_strings[1]], False)]
    if action.nargs == 0:
        return [([flag], True)]
    if action.choices is not None:
        return [([flag, str(choice)], choice) for choice in action.choices]
    word, value = WORDS[action.type]  # type: ignore[index]
    if action.nargs is None:
        return [([flag, word], [value] if isinstance(action, argparse._AppendAction) else value)]
    several = [value] * (2 if action.nargs == "+" else int(action.nargs))
    return [
        ([flag, *[word] * len(several)], [several] if isinstance(action, argparse._AppendAction) else several)
    ]


@every_command
@pytest.mark.parametrize("settings", [False, True])
def test_a_given_value_arrives_in_its_type(command: str, settings: bool) -> None:
    for parser, action in arguments_of(command, settings=settings):
        if not action.option_strings or action.dest in ("help", argparse.SUPPRESS):
            continue
        for words, value in uses(action):
            words = parser.normalized([*NEEDED.get(command, []), *words])
            assert vars(parser.parse_args(words))[action.dest] == value


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("command", [["sample"], ["infill"], ["bench", "sample"]])
def test_a_model_is_sampled_in_three_number_formats(command: list[str], precision: str) -> None:
    assert parse([*command, "--precision", precision]).precision == precision


def test_the_program_says_what_it_does_and_what_its_commands_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    usage, description, *rest = capsys.readouterr().out.split("\n\n")
    assert usage == "usage: sunfish [-h] [--version] COMMAND ..."
    assert re.fullmatch(r"Train [a-z ,]+\.", description)
    listed = " ".join("\n\n".join(rest).split())
    for name, module in COMMANDS.items():
        assert f" {name} {str(module.__doc__).splitlines()[0]} " in listed
        assert main([name, "--help"]) == 0
        assert str(module.__doc__).splitlines()[0] in " ".join(capsys.readouterr().out.split())
    assert "\n\n".join(rest).endswith(f"\n\n{EXAMPLES}\n")
    assert re.search(r"--version +print the version$", "\n\n".join(rest), re.MULTILINE)


@pytest.mark.parametrize("line", re.findall(r"^  sunfish (.*)$", EXAMPLES, re.MULTILINE))
def test_every_example_is_understood(line: str) -> None:
    words = shlex.split(line)
    assert parse(words).command == words[0]


def test_the_help_of_a_copy_says_what_is_not_the_teachers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill-guidance", "--help"]) == 0
    end = " ".join(capsys.readouterr().out.split("\n\n")[-1].split())
    assert re.fullmatch(r"Settings that are not given .+, except for 10 minutes and 0\.2 times its .+\.", end)


@with_settings
def test_the_example_of_set_is_another_setting_with_its_default(command: str) -> None:
    parser = parser_of(command)
    (action,) = (action for action in parser._actions if action.dest == "set")
    match = re.search(r"for example (\w+)\.(\w+)=(\S+); repeatable$", str(action.help))
    assert match is not None
    group, name, value = match.groups()
    fields = GenerationConfig() if group == "generation" else getattr(preset("micro"), group)
    assert str(getattr(fields, name)) == value
    assert f"--{name.replace('_', '-')}" not in parser.format_help()


def test_flags_come_in_the_groups_of_their_fields() -> None:
    for command in COMMANDS:
        for group in parser_of(command)._action_groups[2:]:
            for action in group._group_actions:
                fields = (
                    GenerationConfig() if group.title == "generation" else getattr(Config(), str(group.title))
                )
                assert hasattr(fields, action.dest)


@with_settings
def test_help_all_explains_the_hidden_flags_and_every_setting(command: str) -> None:
    """Under a heading for each group; a setting shows its default where the command has it."""
    parser = parser_of(command)
    shown = " ".join(parser.help_all().split())
    usual, hidden, *groups = re.split(
        r" (?:flags that only --help-all shows|(?:\w+) \(--set [^)]+\)): ", shown
    )
    assert usual == " ".join(parser.format_help().split())
    helps = {setting.name: setting.help for setting in parser.settings.values()} | HIDDEN
    suppressed = [action for action in parser._actions if action.help == argparse.SUPPRESS]
    for action in suppressed:
        assert f" {action.option_strings[-1]} " in f" {hidden} " and helps[action.dest] in hidden
    headings = re.findall(r" (\w+) \(--set (\w+)\.FIELD=VALUE\): ", shown)
    assert headings and all(title == group for title, group in headings)
    for setting in parser.settings.values():
        default = "" if command == "distill-guidance" else f" ({setting.default_text})"
        section = groups[headings.index((setting.group, setting.group))]
        assert f" {setting.name} {setting.help}{default} " in f" {section} "
        assert setting.group == FIELD_GROUPS.get(setting.name, "generation")
