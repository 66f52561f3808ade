"""Which settings are flags of a command, and what a user gave. Imports no torch."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from sunfish.commands.parser import HelpAll, Parser
from sunfish.commands.settings import settings_of
from sunfish.config import Config, GenerationConfig
from sunfish.config.presets import PRESETS, preset
from sunfish.config.rules import did_you_mean, shown
from sunfish.utils import UsageError

BaseConfig = Callable[[str], Config]
DEFAULT = "micro"

# The fields that people change: --help shows their flags.
EVERYDAY = frozenset(
    (
        *("n_layer", "n_head", "n_embd", "vocab_size", "context_length", "process"),
        *("data", "text_field", "prompt_field", "prompt_template", "delimiter", "tokenizer"),
        *("name", "seed", "max_steps", "max_minutes", "batch_size", "learning_rate", "matrix_learning_rate"),
        *("checkpoints", "device", "precision", "threads", "compile", "activation_checkpointing"),
        *("sampler", "num_steps", "block_length", "temperature", "top_p"),
        *("guidance_scale", "negative_prompt"),
    )
)
# Flags that the guides name: they work, but only --help-all shows them. Every other field is set with --set
# alone.
PUBLISHED = frozenset(
    (
        *("prompt_length", "prompt_encoder", "draft_head", "stories", "validation_fraction", "data_folder"),
        *("dropout", "next_token_weight", "block_lengths", "complementary", "mask_rate_min", "mask_rate_max"),
        *("eval_every", "save_minutes", "on_nan", "lenience", "plausibility"),
        *("top_k", "min_p", "repetition_penalty"),
    )
)
# Neither flags nor --set: sunfish distill-guidance sets the one, --also the other.
SET_OTHERWISE = frozenset(("teacher", "composed_prompts"))


def add_config_flags(parser: Parser, names: Collection[str] | None = None, has_presets: bool = True) -> None:
    """The flags of a training run's configuration.

    Args:
        parser: the command's parser.
        names: the fields that the command accepts; None: all.
        has_presets: whether ``--config NAME`` gives the defaults; else they come from a checkpoint.
    """
    if has_presets:
        parser.add_argument("--config", choices=PRESETS, help=f"the preset to start from ({DEFAULT})")
    config = preset(DEFAULT)
    groups = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    known = {name for values in groups.values() for name in vars(values)}
    add_settings(parser, groups, known if names is None else names, has_presets)


def add_generation_flags(parser: Parser, left_out: Collection[str] = ()) -> None:
    """The flags of how a text is drawn, less the fields in ``left_out``."""
    defaults = GenerationConfig()
    add_settings(parser, {"generation": defaults}, set(vars(defaults)) - set(left_out))


def add_settings(
    parser: Parser, groups: Mapping[str, Any], names: Collection[str], shows_default: bool = True
) -> None:
    """``--set``, ``--help-all``, and the everyday and published flags of the fields in ``names``."""
    settings = [
        setting
        for group, values in groups.items()
        for setting in settings_of(group, values, shows_default)
        if setting.name in set(names) - SET_OTHERWISE
    ]
    parser.settings = {setting.key: setting for setting in settings}
    example = next(setting for setting in settings if setting.name not in EVERYDAY)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="GROUP.FIELD=VALUE",
        help=f"any other setting, for example {example.key}={example.default}; repeatable",
    )
    parser.add_argument("--help-all", action=HelpAll, help="show every setting and exit")
    sections = {group: parser.add_argument_group(group) for group in groups}
    for setting in settings:
        if setting.name in EVERYDAY | PUBLISHED:
            setting.add_flag(sections[setting.group], visible=setting.name in EVERYDAY)


def given_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields that flags and ``--set`` gave, with their values.

    Raises:
        UsageError: for a ``--set`` that names no field of the command, a wrong value, or a field given twice.
    """
    parser: Parser = arguments.parser
    names = {setting.name for setting in parser.settings.values()}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    if "device" in names and getattr(arguments, "cpu", False):
        given["device"] = "cpu"
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    for assignment in arguments.set:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {shown(assignment)} has no value; write --set GROUP.FIELD=VALUE")
        if key not in parser.settings:
            raise UsageError(f"--set: {parser.prog} has no setting {shown(key)}{_hint(key, parser)}")
        setting = parser.settings[key]
        if setting.name in given:
            raise UsageError(f"{setting.name} is given twice; leave out --set {key}")
        given[setting.name] = setting.parse(text)
    return given


def resolve_config(arguments: argparse.Namespace) -> Config:
    """What ``--config`` names, with the given fields set.

    Raises:
        UsageError: for a wrong value, or one that has no effect.
    """
    base: BaseConfig = arguments.base
    return with_user_paths(base(arguments.config or DEFAULT).with_fields(**given_fields(arguments)))


def with_user_paths(config: Config) -> Config:
    """The same run with ``~`` in its folders replaced by the user's home.

    Raises:
        UsageError: for a folder that is a file.
    """
    folders = {"checkpoints": config.training.checkpoints, "data_folder": config.corpus.data_folder}
    return config.with_fields(**{name: str(user_folder(name, folder)) for name, folder in folders.items()})


def user_folder(name: str, text: str) -> Path:
    """The folder that a user wrote, which may not exist yet.

    Raises:
        UsageError: where it, or what it lies in, is a file.
    """
    folder = user_path(text)
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if nearest.is_file():
        raise UsageError(f"{name} is {shown(text)}, but {nearest} is a file; give a folder")
    return folder


def user_path(text: str) -> Path:
    """The path that a user wrote, with ``~`` as their home.

    Raises:
        UsageError: ``~NAME`` names nobody.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as why:
        name = Path(text).parts[0]
        raise UsageError(
            f"{text}: {name} is nobody's home on this machine; write ./{text} or a full path"
        ) from why


def print_config(config: Config) -> None:
    """The resolved configuration on stdout, as JSON (which is YAML as well)."""
    print_json(config.to_dict())


def print_json(value: Any) -> None:
    """One JSON document on stdout, in ASCII: valid whatever the encoding of stdout."""
    print(json.dumps(value, indent=2))


def _hint(key: str, parser: Parser) -> str:
    name = key.rpartition(".")[2]
    same: Iterable[str] = [known for known, setting in parser.settings.items() if setting.name == name]
    near = next((f"; did you mean {known}?" for known in same), "") or did_you_mean(key, parser.settings)
    return near or f"; all of them: {parser.prog} --help-all"
