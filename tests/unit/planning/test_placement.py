"""Which host runs which slot: even at first, then stable."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning import inventory, project

from orchestrator.errors import SpecError
from orchestrator.planning.placement import place

HOSTS = ("a", "b", "c", "d")


def placed(
    services: dict[str, dict[str, object]], *hosts: str, current: dict[tuple[str, int], str] | None = None
) -> dict[str, str]:
    """Return ``service[slot]`` -> host."""
    found = place(project(services), inventory(*hosts, web=hosts[:2]), current or {})
    return {f"{item.service}[{item.slot}]": item.host for item in found}


def test_replicas_are_spread_in_order_of_host_names() -> None:
    """One each before any host gets a second one."""
    assert placed({"api": {"replicas": 3}}, "b", "a") == {"api[1]": "a", "api[2]": "b", "api[3]": "a"}


def test_services_are_spread_over_hosts_as_well() -> None:
    """Single instances do not all land on the first host."""
    assert placed({"api": {}, "front": {}}, "a", "b") == {"api[1]": "a", "front[1]": "b"}


def test_groups_and_labels_choose_hosts() -> None:
    """Both go through the inventory."""
    assert placed({"api": {"hosts": ["web"], "per_host": 1}}, *HOSTS) == {"api[1]": "a", "api[2]": "b"}
    assert placed({"api": {"hosts": ["zone=c"]}}, *HOSTS) == {"api[1]": "c"}


def test_a_new_host_moves_nothing() -> None:
    """Only what is new may go there."""
    now = {("api", 1): "b", ("api", 2): "b"}
    assert placed({"api": {"replicas": 2}}, "a", "b", current=now) == {"api[1]": "b", "api[2]": "b"}
    assert placed({"api": {"replicas": 3}}, "a", "b", current=now)["api[3]"] == "a"
    assert placed({"api": {"per_host": 1}}, "a", "b", current={("api", 1): "b"}) == {
        "api[1]": "b",
        "api[2]": "a",
    }


def test_a_lost_host_moves_its_own_only() -> None:
    """The others keep their numbers."""
    now = {("api", 1): "a", ("api", 2): "b", ("api", 3): "c"}
    assert placed({"api": {"replicas": 3}}, "b", "c", current=now) == {
        "api[1]": "b",
        "api[2]": "b",
        "api[3]": "c",
    }
    assert placed({"api": {"per_host": 1}}, "b", "c", current=now) == {"api[2]": "b", "api[3]": "c"}


def test_it_says_why() -> None:
    """One clause for each instance."""
    model = project({"api": {"replicas": 2}, "agent": {"per_host": 1}})
    found = place(model, inventory("a", "b"), {("api", 1): "a", ("api", 2): "gone"})
    assert [item.why for item in found] == [
        "1 on each of 2 hosts",
        "1 on each of 2 hosts",
        "stays where it runs",
        "gone is no longer among its hosts",
    ]


def test_all_unknown_hosts_are_named_at_once() -> None:
    """With the key path, and what was meant."""
    spec = {"api": {"hosts": ["wbe"]}, "front": {"hosts": ["zone=x"]}}
    with pytest.raises(SpecError) as caught:
        placed(spec, *HOSTS)
    first, second = caught.value.problems
    assert (first.path, first.hint) == ("services.api.hosts", "did you mean 'web'?")
    assert second.path == "services.front.hosts"


def test_hosts_that_are_none_are_an_error_only_when_needed() -> None:
    """An empty group can run nothing, unless there is nothing to run."""
    assert placed({"api": {"replicas": 0}, "agent": {"per_host": 1}}) == {}
    with pytest.raises(SpecError, match="1 problem"):
        placed({"api": {}})


@given(
    st.integers(0, 9),
    st.lists(st.sampled_from(HOSTS), unique=True, min_size=1),
    st.dictionaries(st.tuples(st.just("api"), st.integers(1, 9)), st.sampled_from(HOSTS)),
)
def test_slots_are_complete_stable_and_as_even_as_stability_allows(
    replicas: int, hosts: list[str], current: dict[tuple[str, int], str]
) -> None:
    """Slots 1 to n; nothing on an allowed host moves; what is placed goes where the fewest are."""
    found = placed({"api": {"replicas": replicas}}, *hosts, current=current)
    assert set(found) == {f"api[{slot}]" for slot in range(1, replicas + 1)}
    assert set(found.values()) <= set(hosts)
    stays = {
        f"api[{slot}]": host for (_, slot), host in current.items() if slot <= replicas and host in hosts
    }
    assert stays.items() <= found.items()
    new = [host for name, host in found.items() if name not in stays]
    count = Counter(found.values())
    assert all(count[host] <= 1 + min(count[other] for other in hosts) for host in new)
