"""Ansible YAML inventories."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.spec.inventory import ansible_scalar, load_inventory, parse_inventory
from orchestrator.spec.inventory_types import LOCALHOST

ROOT = Path(__file__).parents[3]


def parse(text):
    """Return the inventory of ``text``, which stands in /inv/i.yaml."""
    return parse_inventory(text, "i.yaml", directory=Path("/inv"))


def host(variables):
    """Return the only host of an inventory, with ``variables`` in flow style."""
    return parse(f"all: {{hosts: {{h: {{{variables}}}}}}}\n").hosts[0]


def problems(text):
    """Return what is wrong with ``text``."""
    with pytest.raises(InventoryError) as caught:
        parse(text)
    return [str(problem) for problem in caught.value.problems]


def test_the_example():
    """The commented example is complete and means what it says."""
    inventory = load_inventory(ROOT / "inventory.example.yaml")
    assert not inventory.warnings
    assert [each.name for each in inventory.select(["db", "zone=b"])] == [
        "web-04.example.org", "db-a.example.org", "db-b.example.org",
    ]  # fmt: skip
    four = inventory.get("web-04.example.org")
    assert four is not None
    assert (four.address, four.port, four.user, four.become) == ("192.0.2.14", 2222, "deploy", True)
    assert four.labels == (("role", "web"), ("zone", "b"))
    assert four.groups == ("production", "web")
    builder = inventory.get("builder")
    assert builder is not None
    assert (builder.connection, builder.become) == ("local", False)


def test_precedence():
    """all, then parents, then children, then by priority and name; the host wins."""
    inventory = parse(
        """
all:
  vars: { a: all, b: all, c: all, d: all, e: all }
  children:
    outer:
      vars: { b: outer, c: outer, d: outer, e: outer }
      children:
        inner: { vars: { c: inner, d: inner, e: inner }, hosts: { h: { e: host } } }
    zz: { hosts: { h: }, vars: { d: zz, x: zz } }
    aa: { hosts: { h: }, vars: { x: aa, ansible_group_priority: 10 } }
"""
    )
    found = inventory.hosts[0].vars
    assert {key: found[key] for key in "abcdex"} == {
        "a": "all", "b": "outer", "c": "inner", "d": "inner", "e": "host", "x": "aa",
    }  # fmt: skip


def test_a_group_may_be_written_in_pieces():
    """Ansible merges what is said about a group in several places."""
    inventory = parse("web: {hosts: {a: }}\nall: {children: {web: {hosts: {b: }, vars: {x: 1}}}}\n")
    assert inventory.groups == {"web": ("a", "b"), "all": ("a", "b"), "ungrouped": ()}
    assert [each.vars["x"] for each in inventory.hosts] == [1, 1]


def test_ungrouped_and_ports_in_names():
    """A host of no group is ungrouped; ``name:port`` gives the port."""
    inventory = parse("all: {hosts: {'a:2222': , b: }, children: {g: {hosts: b}}}\n")
    assert inventory.groups["ungrouped"] == ("a",)
    assert inventory.hosts[0].port == 2222
    assert inventory.groups["g"] == ("b",)


def test_connection_variables():
    """Each honoured variable."""
    found = host(
        "ansible_host: '::1', ansible_port: '22', ansible_user: me, ansible_become: yes, "
        "ansible_ssh_private_key_file: keys/a, "
        "ansible_ssh_common_args: '-o ProxyJump=j -o IdentityFile=~/b -o Port=1 -o ProxyJump=k', "
        "ansible_ssh_extra_args: -o ProxyJump=l -o ConnectTimeout=3"
    )
    assert (found.address, found.port, found.user, found.become) == ("::1", 22, "me", True)
    assert found.identity_files == ("/inv/keys/a", "~/b")
    assert found.options == (("ConnectTimeout", "3"), ("ProxyJump", "j"))
    assert host("connection: local").connection == "local"
    assert host("ansible_private_key_file: '{{ inventory_dir }}/{{inventory_hostname}}'").identity_files == (
        "/inv/h",
    )
    plain = host("")
    assert (plain.address, plain.port, plain.user, plain.connection) == ("h", None, None, "ssh")


def test_labels_are_merged():
    """Group labels and the host's own, the nearer wins."""
    inventory = parse("g: {vars: {labels: {a: 1, b: x}}, hosts: {h: {labels: {b: true, c: z}}}}\n")
    assert inventory.hosts[0].labels == (("a", "1"), ("b", "true"), ("c", "z"))
    assert inventory.hosts[0].label_map == {"a": "1", "b": "true", "c": "z"}


def test_select():
    """Hosts, groups, all and labels, each host once, in the order of the inventory; localhost is implicit."""
    inventory = parse("web: {hosts: {'w[1:3]': {labels: {zone: a}}}}\ndb: {hosts: {d: }}\n")
    names = lambda *terms: [each.name for each in inventory.select(terms)]  # noqa: E731
    assert names("all") == ["w1", "w2", "w3", "d"]
    assert names("d", "w2", "web") == ["w1", "w2", "w3", "d"]
    assert names("zone=a", "localhost") == ["w1", "w2", "w3", "localhost"]
    assert inventory.get("localhost") is LOCALHOST
    assert LOCALHOST.connection == "local"
    with pytest.raises(InventoryError) as caught:
        inventory.select(["wbe", "zone=b", "d"])
    assert [str(each) for each in caught.value.problems] == [
        "no host or group is called 'wbe' (did you mean 'web'?)",
        "no host has the label zone=b (did you mean 'zone=a'?)",
    ]


def test_an_explicit_localhost_is_taken_as_written():
    """As Ansible has it."""
    inventory = parse("all: {hosts: {localhost: {ansible_port: 1}}}\n")
    assert inventory.get("localhost") == inventory.hosts[0] != LOCALHOST
    assert [each.port for each in inventory.select(["localhost"])] == [1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all: {hosts: [a]}", "i.yaml:1:7: all.hosts: expected a map (write each as a key of its own"),
        ("all: {hsots: {a: }}", "there is no key 'hsots' in a group (did you mean 'hosts'?)"),
        ("all: {ansible_user: x}", "variables of a group go under vars"),
        ("all: 3", "expected a map with hosts, children and vars"),
        ("all: {hosts: {a: 3}}", "all.hosts.a: expected a map of variables, or nothing"),
        ("all: {hosts: {'a;b': }}", "expected the name of a host"),
        ("all: {hosts: {'-oProxyCommand=x': }}", "expected the name of a host"),
        ("all: {hosts: {'::1': }}", "give it a name, and its address as ansible_host"),
        ("'a b': {}", "expected the name of a group"),
        ("a: {children: {b: {children: {a: }}}}", "the groups go round in a circle"),
        ("a: {children: {a: }}", "a: the groups go round in a circle: a -> a"),
        ("all: {hosts: {'w[3:1]': }}", "the range [3:1] ends before it starts"),
        ("g: {hosts: {a: }, vars: {ansible_group_priority: x}}", "ansible_group_priority expects a number"),
        ("[web]\na\n", "this is an INI inventory"),
        ("$ANSIBLE_VAULT;1.1;AES256\n", "encrypted by ansible-vault"),
        ("plugin: aws_ec2\n", "this configures an inventory plugin"),
        ("a: [", "this is not YAML"),
    ],
)
def test_problems_of_the_tree(text, expected):
    """What is wrong with groups and hosts."""
    assert any(expected in each for each in problems(text)), problems(text)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ("ansible_port: 0", "i.yaml:1:33: h.ansible_port: ansible_port expects a port"),
        ("ansible_port: ssh", "ansible_port expects a port between 1 and 65535, got 'ssh'"),
        ("ansible_host: '-oProxyCommand=id'", "ansible_host expects an address"),
        ("ansible_host: [a]", "ansible_host expects an address, got a list"),
        ("ansible_host: '{{ other }}'", "the template in ansible_host cannot be resolved"),
        ("ansible_user: 'a b'", "ansible_user expects a user"),
        ("ansible_connection: winrm", "the connection 'winrm' is not known here (use ssh or local)"),
        ("ansible_become: maybe", "ansible_become expects true or false"),
        ("ansible_become: true, ansible_become_user: www", "the agent becomes root or nobody, not 'www'"),
        ("ansible_ssh_common_args: '-o Port=x'", "the ssh option Port expects a number"),
        ('ansible_ssh_common_args: "-o \'x"', "expected arguments of ssh: no closing quotation"),
        ("labels: [a]", "expected labels as a map"),
        ("labels: {a: 'b c'}", "expected a label such as zone: a"),
        ("labels: {a: [b]}", "expected a label such as zone: a"),
    ],
)
def test_problems_of_variables(variables, expected):
    """What is wrong with a host's variables, with the place of the variable."""
    (problem,) = problems(f"all: {{hosts: {{h: {{{variables}}}}}}}\n")
    assert expected in problem


def test_one_problem_for_a_variable_of_many_hosts():
    """A group's variable is complained about once."""
    assert len(problems("g: {vars: {ansible_port: x}, hosts: {'h[1:100]': }}")) == 1


def test_what_is_not_honoured_is_a_warning():
    """An inventory that works for Ansible works here; what is ignored is said. Host keys stay checked."""
    inventory = parse(
        "g:\n  hosts: {g: }\n  vars:\n    ansible_password: x\n"
        "    ansible_ssh_common_args: -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null\n"
        "    ansible_ssh_args: -o ControlMaster=auto\n"
    )
    assert [each.message for each in inventory.warnings] == [
        "'g' is both a host and a group; the name means the group",
        "StrictHostKeyChecking=no is not honoured: host keys are always checked",
        "UserKnownHostsFile=/dev/null is not honoured: host keys are always checked",
        "ansible_password is not honoured",
    ]
    assert inventory.hosts[0].options == ()


def test_vault_values_are_left_alone():
    """Encrypted values are kept as text until somebody needs them."""
    assert host("x: !vault 'abc'").vars["x"] == "abc"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True), ("Off", False), ("yEs", "yEs"), ("010", 8), ("0x1F", 31), ("1_000", 1000), ("-5", -5),
        ("0b11", 3), ("0b", "0b"), ("1.5", 1.5), ("1e3", "1e3"), ("1.0e+3", 1000.0), ("", None), ("~", None),
        ("12:30", "12:30"), ("2020-01-01", "2020-01-01"), ("08", "08"), ("0", 0), ("x", "x"),
    ],
)  # fmt: skip
def test_scalars_are_ansibles(text, expected):
    """YAML 1.1, as Ansible reads it."""
    assert ansible_scalar(text) == expected
    assert type(ansible_scalar(text)) is type(expected)


@given(st.permutations(["a", "b", "c", "d"]), st.randoms(use_true_random=False))
def test_order_of_groups_does_not_matter(order, chance: random.Random):
    """Variables depend on the tree, not on where a group is written."""
    groups = {name: f"{name}: {{hosts: {{h: }}, vars: {{x: {name}, {name}: 1}}}}" for name in order}
    names = list(order)
    chance.shuffle(names)
    assert parse("\n".join(groups[name] for name in names)).hosts[0].vars["x"] == "d"
