"""Records are dataclasses in all but the time their definition takes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocol import records


class _Body:
    """The fields of the classes that are compared."""

    a: int
    b: str
    c: tuple[int, ...] = ()
    d: dict[str, int] = dataclasses.field(default_factory=dict, hash=False)
    e: str = dataclasses.field(default="", repr=False)
    f: int = dataclasses.field(default=0, compare=False)


def _make(decorate: Any, base: type = object) -> Any:
    body = {
        "__annotations__": _Body.__annotations__,
        "__doc__": "A record.",
        "__qualname__": "Record",
        "__module__": __name__,
        "c": (),
        "d": dataclasses.field(default_factory=dict, hash=False),
        "e": dataclasses.field(default="", repr=False),
        "f": dataclasses.field(default=0, compare=False),
    }
    return decorate(frozen=True)(type("Record", (base,), body))


Record = _make(records.dataclass)
Standard = _make(dataclasses.dataclass)

VALUES = st.fixed_dictionaries(
    {"a": st.integers(0, 2), "b": st.sampled_from(["", "x"])},
    optional={
        "c": st.lists(st.integers(0, 1), max_size=2).map(tuple),
        "d": st.dictionaries(st.sampled_from("kl"), st.integers(0, 1)),
        "e": st.sampled_from(["", "y"]),
        "f": st.integers(0, 1),
    },
)


@given(VALUES, VALUES)
def test_values_compare_hash_and_read_as_those_of_a_dataclass(one: Any, other: Any) -> None:
    """Nobody who uses them may see a difference."""
    mine, theirs = Record(**one), Record(**other)
    standard, others = Standard(**one), Standard(**other)
    assert repr(mine) == repr(standard)
    assert (mine == theirs) == (standard == others)
    assert (hash(mine) == hash(theirs)) == (hash(standard) == hash(others))
    assert dataclasses.asdict(mine) == dataclasses.asdict(standard)
    assert mine != standard
    assert vars(mine) == vars(standard)


def test_positional_values_fill_the_fields_in_order() -> None:
    """As written in the class."""
    assert Record(1, "x", (2,)) == Record(a=1, b="x", c=(2,))


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((1,), {}), ((1, "x"), {"a": 1}), ((1, "x"), {"z": 1}), ((1, "x", (), {}, "", 0, 0), {})],
)
def test_what_a_dataclass_refuses_is_refused(values: Any, named: Any) -> None:
    """Missing, doubled, unknown and superfluous values."""
    for kind in (Standard, Record):
        with pytest.raises(TypeError):
            kind(*values, **named)


def test_records_are_frozen() -> None:
    """Neither assignment nor deletion."""
    record = Record(1, "x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.a = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del record.a


def test_the_standard_library_takes_them_for_its_own() -> None:
    """``fields``, ``replace``, ``match``, ``copy`` and ``pickle``."""
    record = Record(1, "x")
    assert [item.name for item in dataclasses.fields(record)] == list(_Body.__annotations__)
    assert dataclasses.replace(record, b="y") == Record(1, "y")
    assert copy.deepcopy(record) == record == pickle.loads(pickle.dumps(record))
    match record:
        case Record(1, text):
            assert text == "x"
        case _:
            pytest.fail("no match")


def test_factories_make_a_value_for_every_record() -> None:
    """Not one for all."""
    assert Record(1, "x").d is not Record(1, "x").d


def test_fields_are_inherited_both_ways() -> None:
    """A record may stand on a dataclass and a dataclass on a record."""
    mine = records.dataclass(frozen=True)(type("Mine", (Standard,), {"__annotations__": {"g": int}, "g": 7}))
    theirs = dataclasses.dataclass(frozen=True)(
        type("Theirs", (Record,), {"__annotations__": {"g": int}, "g": 7})
    )
    assert mine(1, "x").g == theirs(1, "x").g == 7
    assert mine(1, "x", (), {}, "", 0, 8).g == theirs(1, "x", (), {}, "", 0, 8).g == 8


@pytest.mark.parametrize("body", [{"a": 1, "b": dataclasses.MISSING}, {"a": []}])
def test_classes_that_make_no_sense_are_refused(body: dict[str, Any]) -> None:
    """A field without a default behind one that has one; a default that all would share."""
    body = {
        "__annotations__": dict.fromkeys(body, "int"),
        **{name: value for name, value in body.items() if value is not dataclasses.MISSING},
    }
    with pytest.raises((TypeError, ValueError)):
        records.dataclass(frozen=True)(type("Wrong", (), body))


def test_only_frozen_classes() -> None:
    """There is no other kind between two stages."""
    with pytest.raises(ValueError, match="frozen"):
        records.dataclass(frozen=False)
