"""How many processors a control group allows."""

from __future__ import annotations

import os

import pytest

from appserver import cpus

ALL = 8


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return a function that makes a tree of control groups and counts what it allows."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(ALL)))
    root, membership = tmp_path / "cgroup", tmp_path / "self"
    root.mkdir()

    def available(files, member="0::/"):
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        membership.write_text(member)
        return cpus.available(str(root), str(membership))

    return available


@pytest.mark.parametrize(
    "files, member, count",
    [
        ({}, "", ALL),
        ({"cpu.max": "max 100000\n"}, "0::/\n", ALL),
        ({"cpu.max": "200000 100000\n"}, "0::/\n", 2),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 2),
        ({"cpu.max": "10000 100000\n"}, "0::/\n", 1),
        ({"cpu.max": "9900000 100000\n"}, "0::/\n", ALL),
        ({"a/b/cpu.max": "300000 100000"}, "0::/a/b\n", 3),
        ({"a/cpu.max": "200000 100000", "a/b/cpu.max": "300000 100000"}, "0::/a/b\n", 2),
        ({"other/cpu.max": "100000 100000"}, "0::/a\n", ALL),
        ({"cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"},
         "5:memory:/x\n4:cpu,cpuacct:/x\n", 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu:/\n", ALL),
        ({"cpu.max": "nonsense"}, "0::/\n", ALL),
        ({"cpu.max": "100000 0"}, "0::/\n", ALL),
    ],
)  # fmt: skip
def test_the_tightest_quota_counts(groups, files, member, count):
    assert groups(files, member) == count


def test_the_affinity_counts_as_well(groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert groups({"cpu.max": "400000 100000"}) == 1


def test_this_machine():
    assert 1 <= cpus.available() <= (os.cpu_count() or 1)
