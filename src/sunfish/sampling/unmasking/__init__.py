"""Unmasking policies: which positions a denoising step unmasks and remasks. One file each, found by its name.

A sampler is named as NAME or NAME:NUMBER, for example ``threshold:0.9``. All policies run in the one loop of
``sunfish.sampling.block_diffusion``; whatever is still masked at time 0 is unmasked there. A file here defines
``POLICY``, a :class:`sunfish.sampling.unmasking.base.PolicyFamily`.
"""

from __future__ import annotations

import functools
import importlib
import math
import pkgutil

from sunfish.config.generation import LOOPS
from sunfish.config.rules import did_you_mean, shown
from sunfish.sampling.unmasking.base import PolicyFamily
from sunfish.types import Process, UnmaskingPolicy
from sunfish.utils import UsageError


@functools.cache
def policy_families() -> dict[str, PolicyFamily]:
    """Every policy by its name, which is that of its file.

    Raises:
        ImportError: A file has no ``POLICY``.
    """
    families = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base"):
        module = importlib.import_module(f"{__name__}.{name}")
        if not hasattr(module, "POLICY"):
            raise ImportError(f"{module.__file__} has no POLICY; see docs/contributing.md")
        families[name.replace("_", "-")] = module.POLICY
    return families


def policies_for(process: Process) -> list[str]:
    """The names of the policies that the steps of ``process`` understand."""
    return [name for name, family in policy_families().items() if process.state_kind in family.state_kinds]


def get_policy(sampler: str, process: Process | None = None) -> UnmaskingPolicy:
    """The policy ``NAME`` or ``NAME:NUMBER``.

    Args:
        sampler: Its name, as ``--sampler`` has it.
        process: The process whose steps shall understand it; None: any.

    Raises:
        UsageError: There is no such policy, its number is out of range, or the process does not understand it.
    """
    families, (name, colon, text) = policy_families(), sampler.partition(":")
    if name not in families:
        near = did_you_mean(name, (*families, *LOOPS))
        raise UsageError(
            f"sampler is {shown(sampler)}; the samplers are: {', '.join([*families, *LOOPS])}{near}"
        )
    if process is not None and name not in (usable := policies_for(process)):
        names = ", ".join([*usable, *LOOPS])
        raise UsageError(
            f"sampler is {shown(sampler)}, but the samplers of this model's process are: {names}"
        )
    family = families[name]
    if not colon:
        return family.build(family.default or 0.0)
    if family.default is None:
        raise UsageError(f"sampler is {shown(sampler)}, but {name} takes no number")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= family.highest:
        raise UsageError(
            f"sampler is {shown(sampler)}: give {name} a number from 0 to {family.highest:g}, "
            f"such as {name}:{family.default:g}"
        )
    return family.build(number)
