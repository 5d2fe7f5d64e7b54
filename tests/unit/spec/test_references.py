"""References between images, services and hosts."""

from __future__ import annotations

import pytest
from support.specs import load, problems

from orchestrator.spec.inventory_types import Host, Inventory
from orchestrator.spec.references import check_hosts

BASE = "project: p\nimages: {base: {build: x}}\n"


def test_unknown_image_says_what_is_meant():
    """A close name is offered; a reference to pull is shown how to declare it."""
    (close,) = problems(BASE + "services: {a: {image: bsae}}")
    assert "there is no image called 'bsae' (did you mean 'base'?)" in close
    (pull,) = problems(BASE + "services: {a: {image: redis}}")
    assert "declare it: images: {redis: {image: 'redis'}}" in pull


def test_a_diamond_is_no_cycle():
    """Two ways to one service are fine."""
    text = (
        BASE
        + "services:\n"
        + "".join(
            f"  {name}: {{image: base, depends_on: [{needs}]}}\n"
            for name, needs in (("a", "b, c"), ("b", "d"), ("c", "d"), ("d", ""))
        )
    )
    assert len(load(text).project.services) == 4


@pytest.mark.parametrize("count", [1, 2, 5, 3000])
def test_cycles_of_any_length(count):
    """A cycle names its path once, however long, without recursion."""
    lines = [f"  s{i}: {{image: base, depends_on: [s{(i + 1) % count}]}}\n" for i in range(count)]
    (problem,) = problems(BASE + "services:\n" + "".join(lines))
    path = problem.split("circle: ")[1].split(" -> ")
    assert path == [f"s{i}" for i in range(count)] + ["s0"]


def test_hosts_against_the_inventory():
    """Hosts, groups, labels and the builder are looked up, with positions and near names."""
    loaded = load(
        BASE + "builder: wbe-1\nservices:\n  a: {image: base, hosts: [web-1, wbe, zone=b, all, localhost]}\n"
    )
    inventory = Inventory((Host("web-1", "web-1", labels=(("zone", "a"),)),), {"web": ("web-1",)})
    found = [str(problem) for problem in check_hosts(loaded.project, inventory, loaded.positions)]
    place = "0.yaml:5"
    assert found == [
        (
            f"{place}:35: services.a.hosts[1]: no host or group is called 'wbe' in the inventory"
            " (did you mean 'web'?)"
        ),
        (
            f"{place}:40: services.a.hosts[2]: no host has the label zone=b in the inventory"
            " (did you mean 'zone=a'?)"
        ),
        "0.yaml:3:10: builder: no host is called 'wbe-1' (did you mean 'web-1'?)",
    ]
