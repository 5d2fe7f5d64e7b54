"""The tree of an Ansible inventory: groups, their children, hosts and variables.

Owns reading the tree and Ansible's precedence of variables. It must not know what a variable means;
:mod:`.host_vars` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.errors import Problem
from orchestrator.spec.host_ranges import MAX_HOSTS, expand
from orchestrator.spec.location import Location
from orchestrator.spec.positions import Positions
from orchestrator.spec.suggest import did_you_mean
from orchestrator.spec.yaml_data import Map

_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_PORT = re.compile(r"(.+):([0-9]{1,5})")
_KEYS = ("hosts", "children", "vars")


@dataclass
class Group:
    """A group while the tree is read."""

    name: str
    variables: Map = field(default_factory=Map)
    children: dict[str, Location] = field(default_factory=dict)
    hosts: dict[str, None] = field(default_factory=dict)


@dataclass
class Tree:
    """All groups and hosts, in the order they are first written."""

    groups: dict[str, Group] = field(default_factory=dict)
    hosts: dict[str, Map] = field(default_factory=dict)
    """Each host's own variables."""
    places: dict[str, Location] = field(default_factory=dict)
    """Where each host is first written."""
    problems: list[Problem] = field(default_factory=list)

    def chain(self, name: str) -> list[Group]:
        """Return the groups of host ``name``, weakest first: by depth, ``ansible_group_priority``, name."""
        parents = self._parents
        wanted: dict[str, None] = {}
        pending = [group for group in self.groups if name in self.groups[group].hosts]
        while pending:
            if (group := pending.pop()) not in wanted:
                wanted[group] = None
                pending += parents[group]
        wanted["all"] = None
        return sorted((self.groups[each] for each in wanted), key=lambda group: self._rank[group.name])

    def settle(self) -> None:
        """Compute what :meth:`chain` needs, and report cycles; call once when everything is read."""
        self.groups.setdefault("all", Group("all"))
        self._parents: dict[str, list[str]] = {name: [] for name in self.groups}
        for group in self.groups.values():
            for child in group.children:
                self._parents[child].append(group.name)
        self._rank = {name: (depth, self._priority(name), name) for name, depth in self._depths().items()}

    def _priority(self, name: str) -> int:
        priority = self.groups[name].variables.get("ansible_group_priority", 1)
        if isinstance(priority, bool) or not str(priority).lstrip("-").isdecimal():
            place = Positions(self.groups[name].variables).at(("ansible_group_priority",))
            self.problems.append(place.problem(f"ansible_group_priority expects a number, got {priority!r}"))
            return 1
        return int(priority)

    def _depths(self) -> dict[str, int]:
        """Return the longest way from a root to each group; ``all`` is 0, what stands on a cycle stays 1."""
        depths = dict.fromkeys(self.groups, 1) | {"all": 0}
        waiting = {name: len(parents) for name, parents in self._parents.items()}
        ready = [name for name, count in waiting.items() if not count]
        done = set()
        while ready:
            name = ready.pop()
            done.add(name)
            for child in self.groups[name].children:
                depths[child] = max(depths[child], depths[name] + 1)
                waiting[child] -= 1
                if not waiting[child]:
                    ready.append(child)
        if stuck := [name for name in self.groups if name not in done]:
            self._report_cycle(stuck)
        return depths

    def _report_cycle(self, stuck: list[str]) -> None:
        among = set(stuck)
        trail = [stuck[0]]
        while True:  # every stuck group has a stuck parent, so walking up must meet itself
            above = next(name for name in self._parents[trail[-1]] if name in among)
            if above in trail:
                circle = [*reversed(trail[trail.index(above) :]), trail[trail.index(above) :][-1]]
                place = self.groups[circle[0]].children.get(circle[1], Location())
                message = f"the groups go round in a circle: {' -> '.join(circle)}"
                self.problems.append(place.problem(message, path=circle[0]))
                return
            trail.append(above)


def read_tree(data: Map, positions: Positions) -> Tree:
    """Read the groups at the top level and everything below them."""
    tree = Tree()
    for name in data:
        _read_group(tree, str(name), data[name], (str(name),), positions)
    tree.settle()
    return tree


def _read_group(tree: Tree, name: str, body: object, path: tuple[str, ...], positions: Positions) -> None:
    if not _GROUP.fullmatch(name):
        message = f"expected the name of a group (letters, digits, _, . and -), got {name!r}"
        tree.problems.append(positions.problem(path, message, key=True))
        return
    group = tree.groups.setdefault(name, Group(name))
    for key, section in _sections(tree, body, path, positions):
        here = (*path, key)
        if key == "vars":
            group.variables.update(section)
            group.variables.places.update(section.places)
        elif key == "children":
            for child in section:
                group.children.setdefault(child, positions.at((*here, child), key=True))
                _read_group(tree, child, section[child], (*here, child), positions)
                if child not in tree.groups:
                    del group.children[child]
        else:
            _read_hosts(tree, group, section, here, positions)


def _sections(
    tree: Tree, body: object, path: tuple[str, ...], positions: Positions
) -> Iterator[tuple[str, Map]]:
    if body is None:
        return
    if not isinstance(body, Map):
        tree.problems.append(
            positions.problem(path, "expected a map with hosts, children and vars", key=True)
        )
        return
    for key, section in body.items():
        if key not in _KEYS:
            hint = did_you_mean(key, _KEYS) or "variables of a group go under vars"
            message = f"there is no key {key!r} in a group"
            tree.problems.append(positions.problem((*path, key), message, hint=hint, key=True))
        elif isinstance(section, Map):
            yield key, section
        elif isinstance(section, str) and key == "hosts":
            single = Map()
            single[section] = None
            single.places[section] = body.places[key]
            yield key, single
        elif section is not None:
            hint = "write each as a key of its own, with a colon after it" if key != "vars" else ""
            tree.problems.append(positions.problem((*path, key), "expected a map", hint=hint, key=True))


def _read_hosts(tree: Tree, group: Group, section: Map, path: tuple[str, ...], positions: Positions) -> None:
    for pattern, body in section.items():
        here = (*path, pattern)
        if body is None or isinstance(body, Map):
            _read_host(tree, group, (pattern, body), here, positions)
        else:
            message = "expected a map of variables, or nothing"
            tree.problems.append(positions.problem(here, message))


def _read_host(
    tree: Tree, group: Group, entry: tuple[str, Map | None], path: tuple[str, ...], positions: Positions
) -> None:
    pattern, body = entry
    place = positions.at(path, key=True)
    port = _PORT.fullmatch(pattern)
    try:
        names = expand(port[1] if port else pattern)
    except ValueError as error:
        tree.problems.append(positions.problem(path, str(error), key=True))
        return
    for name in names:
        if not _HOST.fullmatch(name):
            message = f"expected the name of a host (letters, digits, ., _ and -), got {name!r}"
            hint = "give it a name, and its address as ansible_host" if ":" in name else ""
            tree.problems.append(positions.problem(path, message, hint=hint, key=True))
            return
        if len(tree.hosts) >= MAX_HOSTS and name not in tree.hosts:
            tree.problems.append(positions.problem(path, f"there are more than {MAX_HOSTS} hosts", key=True))
            return
        own = tree.hosts.setdefault(name, Map())
        tree.places.setdefault(name, place)
        group.hosts[name] = None
        if port:
            own["ansible_port"] = port[2]
            own.places["ansible_port"] = (place.file, place.line, place.column, place.line, place.column)
        if body is not None:
            own.update(body)
            own.places.update(body.places)
