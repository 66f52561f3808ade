"""pyproject.toml, constraints.txt and requirements-dev.lock agree, and the lock holds a hash for every file."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

LOCK = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
PIN = re.compile(r"^([\w.-]+)==(\S+)(.*(?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)", re.M)
LOCKED = {canonicalize_name(name): version for name, version, _ in PIN.findall(LOCK)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = [Requirement(line) for line in PROJECT["dependencies"] + EXTRAS["test"] + EXTRAS["docs"]]


def test_every_line_of_the_lock_is_a_package_with_its_hashes() -> None:
    rest = [line for line in PIN.sub("", LOCK).splitlines() if line and not line.startswith("#")]
    assert not rest and "://" not in LOCK


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: wanted.name)
def test_the_lock_has_what_the_project_asks_for(wanted: Requirement) -> None:
    assert LOCKED[canonicalize_name(wanted.name)] in wanted.specifier


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name: LOCKED[canonicalize_name(name)] for name in pins} == pins
    assert {canonicalize_name(wanted.name) for wanted in WANTED} <= {canonicalize_name(name) for name in pins}
