"""Names and addresses of a lab follow from its folder and what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import RequestError
from orchestrator.lab.model import HostOptions, Layout, host_options


@pytest.mark.parametrize(
    ("count", "names"),
    [(1, ["web-1"]), (2, ["web-1", "db-1"]), (4, ["web-1", "web-2", "web-3", "db-1"])],
)
def test_a_number_gives_web_hosts_and_a_database_host(count, names):
    """The last of several hosts is the database's."""
    assert [option.name for option in host_options(count)] == names


@pytest.mark.parametrize(
    ("hosts", "complaint"),
    [
        (0, "between 1 and 240"),
        (241, "room for 240"),
        ([], "between 1 and 240"),
        (["a", "a"], "two hosts called a"),
        (["Web"], "cannot call a host 'Web'"),
        (["../up"], "cannot call a host"),
        (["-o"], "cannot call a host"),
        ([HostOptions("a", disk_mb=0)], "a disk of 0 MiB"),
        ([HostOptions("a", kind="vm")], "no kind 'vm'"),  # type: ignore[arg-type]
        ([HostOptions("a", containerd_store=True)], "containerd image store"),
    ],
)
def test_unusable_requests_say_why(hosts, complaint):
    """Nothing is started for a request that makes no sense."""
    with pytest.raises(RequestError, match=complaint):
        host_options(hosts)


@given(st.text(min_size=1, max_size=60).filter(lambda text: "\0" not in text), st.integers(0, 239))
def test_link_names_fit_the_kernel(folder, index):
    """Linux refuses names of links beyond 15 characters."""
    layout = Layout(Path("/", folder))
    assert len(layout.bridge) <= 15
    assert len(layout.link(index)) <= 15


def test_addresses_are_distinct_and_in_the_subnet():
    """The machine is .1; hosts start at .11 and the last of 240 still fits."""
    layout = Layout(Path("/lab"))
    hosts = layout.hosts_for("10.20.30.0/24", host_options(240))
    assert (hosts[0].address, hosts[-1].address) == ("10.20.30.11", "10.20.30.250")
    assert len({host.address for host in hosts}) == 240
    assert layout.gateway("10.20.30.0/24") == "10.20.30.1"


def test_the_record_comes_back_as_written(tmp_path):
    """Any process can take over a lab from its folder."""
    layout = Layout.of(tmp_path)
    options = host_options([HostOptions("a", kind="bare", disk_mb=5), "b"])
    layout.write_record("demo", "10.20.30.0/24", options)
    assert layout.read_record() == ("demo", "10.20.30.0/24", options)


def test_no_record_and_a_broken_one_say_what_to_do(tmp_path):
    """An unreadable record never hides the way to clean up."""
    layout = Layout.of(tmp_path)
    with pytest.raises(RequestError, match="cannot find a lab") as missing:
        layout.read_record()
    assert missing.value.hint == "start one with: deploy lab up"
    layout.record.write_text('{"name": ')
    with pytest.raises(RequestError, match="cannot read") as broken:
        layout.read_record()
    assert broken.value.hint == "remove the lab with: deploy lab down"
