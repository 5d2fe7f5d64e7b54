"""Whatever is fed in, the loaders answer with a value or with their own error."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.errors import InventoryError, SpecError
from orchestrator.spec.inventory import parse_inventory
from orchestrator.spec.loader import parse_spec
from orchestrator.spec.model import Healthcheck, Project, Service
from orchestrator.spec.mounts import Config, Secret, VolumeMount

KEYS = sorted(
    {field.alias or name for part in (Project, Service, Healthcheck, Config, Secret, VolumeMount)
     for name, field in part.model_fields.items()}
    | {"defaults", "x-a", "build", "env", "context", "all", "hosts", "children", "vars", "ansible_port",
       "labels", "ansible_ssh_common_args", "test", "disable", "name", "condition", "<<"}
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["a", "10s", "512m", "8080:80", "data:/x", "/x", "${A:-b}", "$", "w[1:3]", "0444", "a=b", "none"]
    ),
)
NAMES = st.sampled_from(KEYS) | st.sampled_from(["a", "b", "c"]) | st.text(max_size=4)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=25,
)
SPECS = st.fixed_dictionaries(
    {"project": st.just("p") | DATA},
    optional={
        "images": st.dictionaries(st.sampled_from("abc"), DATA, max_size=3) | DATA,
        "services": st.dictionaries(
            st.sampled_from("abc"),
            st.dictionaries(st.sampled_from(KEYS), DATA, max_size=5) | DATA,
            max_size=3,
        ),
        "defaults": st.dictionaries(st.sampled_from(KEYS), DATA, max_size=4) | DATA,
        "volumes": DATA,
    },
)
YAML_TEXT = st.text(alphabet="ab:-[]{}&*!|>'\"%#?, \n\t$<~@`\\0", max_size=60)


def refused(load):
    """Return the problems that ``load`` raises; none when it succeeds."""
    try:
        load()
    except (SpecError, InventoryError) as error:
        return error.problems
    return ()


def load_both(text):
    """Feed ``text`` to both loaders; anything but their own errors fails the test."""
    for load in (
        lambda: parse_spec([(text, "f")], environ={"A": "1"}, directory=Path("/")),
        lambda: parse_inventory(text, "f", directory=Path("/")),
    ):
        for problem in refused(load):
            assert problem.message
            assert problem.file == "f"


@given(st.text())
def test_arbitrary_text(text):
    """Any Unicode text."""
    load_both(text)


@given(YAML_TEXT)
@example("&a [*a]: b")
@example("a: &x\n<<: *x")
@example("? !reset a\n: !override b")
@example("!reset {a: b}")
@example("a: !<tag:yaml.org,2002:int> b")
def test_text_of_yaml_characters(text):
    """Text made of what YAML finds special."""
    load_both(text)


@given(YAML_TEXT)
def test_text_of_yaml_characters_without_libyaml(text):
    """The same with ruamel.yaml's own parser."""
    saved = sys.modules.get("_ruamel_yaml")
    sys.modules["_ruamel_yaml"] = None  # type: ignore[assignment]
    try:
        load_both(text)
    finally:
        sys.modules.pop("_ruamel_yaml")
        if saved is not None:
            sys.modules["_ruamel_yaml"] = saved


@settings(max_examples=300)
@given(SPECS | DATA)
def test_arbitrary_data(data):
    """Any nested data under the keys we know, in the wrong places too."""
    load_both(json.dumps(data))


@given(st.text(max_size=20))
def test_no_name_reaches_the_model_with_a_meaning_elsewhere(name):
    """What is accepted as a name has no character that a shell, a path or a configuration reads."""
    text = json.dumps(
        {"project": name, "images": {name: {"build": "x"}}, "services": {name: {"image": name}}}
    )
    try:
        loaded = parse_spec([(text, "f")], environ={}, directory=Path("/"))
    except SpecError:
        return
    assert set(loaded.project.project) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    assert loaded.project.project[0] not in "-_"
