"""The page about the protocol says what the code does."""

import re
from pathlib import Path

from orchestrator.protocol.frames import LIMITS, MAX_STREAMS, PREFACE, WINDOW, Kind
from orchestrator.remote import bootstrap
from orchestrator.remote.session import PING_INTERVAL, SILENCE_LIMIT
from orchestrator.remote.ssh import WINDOW as SSH_WINDOW

TEXT = (Path(__file__).parents[3] / "docs" / "agent-protocol.md").read_text()


def test_every_kind_of_frame_is_described_with_its_limit() -> None:
    """By number and name, in order, with the bytes it may have."""
    rows = re.findall(r"^\| (\d+) \| ([A-Z]+) \| \w+ \| (.*) \|$", TEXT, re.MULTILINE)
    assert [(int(number), name) for number, name, _ in rows] == [(kind.value, kind.name) for kind in Kind]
    for number, _, payload in rows:
        limit = LIMITS[int(number)]
        if limit > 4:
            assert f"{limit} bytes" in payload


def test_every_marker_is_described() -> None:
    """The words a host can answer are those that are explained."""
    rows = set(re.findall(r"^\| `([a-z0-9-]+)` \|", TEXT, re.MULTILINE))
    agent = PREFACE.decode().strip("\0\n").partition(":")[2]
    assert rows == {agent, "need", *bootstrap.EXPLANATIONS}


def test_the_numbers_are_the_codes() -> None:
    """Windows, streams and seconds."""
    assert f"window of {WINDOW} bytes" in TEXT
    assert f"{SSH_WINDOW >> 20} MiB below all that" in TEXT
    assert re.search(rf"at most\s+{MAX_STREAMS} are open", TEXT)
    assert f"every {PING_INTERVAL:g} seconds" in TEXT
    assert SILENCE_LIMIT == 20
    assert "Twenty seconds" in TEXT
    assert f"up to {bootstrap.MAX_NOISE >> 10} KiB" in TEXT
