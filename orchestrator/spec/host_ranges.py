"""Ansible's host ranges: ``web[01:20]``, ``db-[a:f]``, ``n[0:100:10]``, several in one name.

Owns their expansion. It must not know inventories.
"""

from __future__ import annotations

import itertools
import re
import string

MAX_HOSTS = 20_000
"""Most names one pattern may stand for."""

_RANGE = re.compile(r"\[([^\]\[]*)\]")
_BOUNDS = re.compile(r"([0-9]{1,9}|[A-Za-z])?:([0-9]{1,9}|[A-Za-z])(?::([0-9]{1,9}))?")


def expand(pattern: str) -> tuple[str, ...]:
    """Return the names that ``pattern`` stands for, the last range running fastest.

    As Ansible has it, both ends are included, a missing start is 0, and a start with leading zeros
    gives every number that width.

    Raises:
        ValueError: A range is malformed or too large.
    """
    pieces = _RANGE.split(pattern)
    choices: list[tuple[str, ...]] = []
    total = 1
    for index, piece in enumerate(pieces):
        choices.append(_range(piece) if index % 2 else (piece,))
        total *= len(choices[-1])
        if total > MAX_HOSTS:
            raise ValueError(f"the pattern {pattern!r} stands for more than {MAX_HOSTS} hosts")
    return tuple("".join(parts) for parts in itertools.product(*choices))


def _range(text: str) -> tuple[str, ...]:
    match = _BOUNDS.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a range such as [01:20], [a:f] or [0:100:10], got [{text}]")
    start, end, step = match[1] or "0", match[2], int(match[3] or 1)
    if step == 0:
        raise ValueError(f"the range [{text}] has a stride of 0")
    if start.isdigit() != end.isdigit():
        raise ValueError(f"the range [{text}] mixes digits and letters")
    width = 0
    if start.isdigit():
        if len(start) > 1 and start[0] == "0":
            width = len(start)
            if len(end) != width:
                raise ValueError(f"the ends of the range [{text}] must be of the same width")
        first, last = int(start), int(end)
    else:
        first, last = string.ascii_letters.index(start), string.ascii_letters.index(end)
    if first > last:
        raise ValueError(f"the range [{text}] ends before it starts")
    if (last - first) // step >= MAX_HOSTS:
        raise ValueError(f"the range [{text}] stands for more than {MAX_HOSTS} hosts")
    numbers = range(first, last + 1, step)
    if start.isdigit():
        return tuple(str(number).zfill(width) for number in numbers)
    return tuple(string.ascii_letters[number] for number in numbers)
