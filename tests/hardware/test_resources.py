"""What a process can have within its control groups, from files of systems that this machine is not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from sunfish.hardware.resources import available_memory, control_groups, existing_parent, free_disk

GIB = 2**30
UNLIMITED_V1 = str(2**63 - 4096)
MEMINFO = {
    "proc/meminfo": f"MemTotal: {64 * 2**20} kB\nMemAvailable: {50 * 2**20} kB\nSwapFree: {90 * 2**20} kB\n"
}


def v2(group: str, limit: object, used: float, cache: float = 0, **more: object) -> dict[str, str]:
    """The files of a group of version 2; ``used`` GiB of which ``cache`` GiB are page cache."""
    folder = f"sys/fs/cgroup{group}"
    stat = f"anon 1\nactive_file {int(cache * GIB / 2)}\ninactive_file {int(cache * GIB / 2)}\nshmem 5\n"
    files = {"memory.max": limit, "memory.current": int(used * GIB), "memory.stat": stat, **more}
    return {f"{folder}/{name}": f"{content}\n" for name, content in files.items()}


def v1(group: str, limit: object, used: float, cache: float = 0) -> dict[str, str]:
    """The files of a group of version 1."""
    folder = f"sys/fs/cgroup/memory{group}"
    stat = f"active_file 7\ntotal_active_file {int(cache * GIB)}\ntotal_inactive_file 0\ntotal_swap 3\n"
    files = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": int(used * GIB), "memory.stat": stat}
    return {f"{folder}/{name}": f"{content}\n" for name, content in files.items()}


def of(*groups: str) -> dict[str, str]:
    return {"proc/self/cgroup": "".join(f"{group}\n" for group in groups)}


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /, on a machine of 64 GiB."""
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 64 * GIB // 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),  # another system
        (MEMINFO, 50),
        ({**MEMINFO, **of("0::/"), **v2("", 8 * GIB, 3)}, 5),
        ({**MEMINFO, **of("0::/"), **v2("", 8 * GIB, 7, cache=6)}, 7),  # a corpus that was read
        ({**MEMINFO, **of("0::/"), **v2("", "max", 7)}, 50),
        ({**MEMINFO, **of("0::/"), **v2("", 8 * GIB, 1, **{"memory.high": 4 * GIB})}, 3),
        ({**MEMINFO, **of("0::/"), **v2("", 8 * GIB, 9)}, 0),
        # The process's own group has no limit, but the one above it does.
        ({**MEMINFO, **of("0::/user/job"), **v2("/user", 4 * GIB, 1), **v2("/user/job", "max", 1)}, 3),
        ({**MEMINFO, **of("0::/user/job"), **v2("/user", 4 * GIB, 1), **v2("/user/job", 2 * GIB, 1)}, 1),
        # The path is that of the host: in the container the mount is the group itself.
        ({**MEMINFO, **of("0::/docker/1f"), **v2("", 6 * GIB, 2, cache=1)}, 5),
        ({**MEMINFO, **of("0::/../other"), **v2("", 6 * GIB, 2)}, 4),
        ({**MEMINFO, **of("4:memory:/"), **v1("", 6 * GIB, 3, cache=2)}, 5),
        ({**MEMINFO, **of("4:memory:/docker/1f"), **v1("", 6 * GIB, 3, cache=2)}, 5),
        ({**MEMINFO, **of("4:cpu,memory:/a"), **v1("", UNLIMITED_V1, 9), **v1("/a", 2 * GIB, 1)}, 1),
        ({**MEMINFO, **of("4:memory:/a", "0::/"), **v1("/a", UNLIMITED_V1, 9)}, 50),
        ({**MEMINFO, **of("2:cpu:/a"), **v1("/a", GIB, 1)}, 50),  # no memory controller
        (
            {
                **MEMINFO,
                **of("0::/"),
                "sys/fs/cgroup/memory.max": "?\n",
                "sys/fs/cgroup/memory.current": "\n",
            },
            50,
        ),
    ],
)
def test_page_cache_is_available_and_every_group_limits(
    system: Path, files: dict[str, str], expected: float
) -> None:
    for name, content in files.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(content)
    assert available_memory(root=system) == pytest.approx(expected * GIB, rel=1e-6)


def test_groups_come_from_the_outermost_in(system: Path) -> None:
    for name, content in {**of("0::/a/b"), **v2("/a/b", "max", 1)}.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(content)
    names = [group.relative_to(system / "sys/fs/cgroup").as_posix() for group in control_groups(system)]
    assert names == [".", "a", "a/b"]


def test_this_machine_has_memory_and_disk() -> None:
    assert available_memory() > 0 and free_disk("not/yet/there") > 0


def test_free_disk_is_that_of_the_nearest_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def usage(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(total=3, used=2, free=1)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert free_disk(tmp_path / "not" / "yet") == 1.0 and asked == [tmp_path]
    assert existing_parent(tmp_path) == tmp_path == existing_parent(tmp_path / "a")
