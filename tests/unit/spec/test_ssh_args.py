"""OpenSSH arguments and host ranges in inventories."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.spec.host_ranges import MAX_HOSTS, expand
from orchestrator.spec.ssh_args import HONOURED, parse_ssh_args


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", ()),
        ("-o Port=22", (("Port", "22"),)),
        ("-oPort=22 -oport=23", (("Port", "22"),)),
        ("-o 'ProxyCommand ssh -W %h:%p jump'", (("ProxyCommand", "ssh -W %h:%p jump"),)),
        ("-o 'ProxyCommand = a=b c'", (("ProxyCommand", "a=b c"),)),
        ("-J a@b:1,c -i ~/k -i k2 -p 5 -l me", (
            ("ProxyJump", "a@b:1,c"), ("IdentityFile", "~/k"), ("IdentityFile", "k2"),
            ("Port", "5"), ("User", "me"),
        )),
        ("-o StrictHostKeyChecking=yes", (("StrictHostKeyChecking", "yes"),)),
        ("-o ControlMaster=auto -o ControlPersist=60s", ()),
    ],
)  # fmt: skip
def test_honoured(text, options):
    """Every way to write an option; the first value wins, except of identity files."""
    parsed = parse_ssh_args(text)
    assert parsed.options == options
    assert parsed.warnings == ()


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("-o StrictHostKeyChecking=accept-new", "host keys are always checked"),
        ("-o UserKnownHostsFile=/dev/null", "host keys are always checked"),
        ("-o ForwardAgent=yes", "the ssh option ForwardAgent is not honoured"),
        ("-C", "the argument '-C' is not honoured"),
    ],
)
def test_not_honoured(text, warning):
    """What is ignored is said; nothing weakens the check of host keys."""
    parsed = parse_ssh_args(text)
    assert parsed.options == ()
    assert warning in parsed.warnings[0][0]


@pytest.mark.parametrize(
    "text",
    [
        "-o",
        "-o Port",
        "-o Port=x",
        "-J '-oProxyCommand=x'",
        "-l 'a b'",
        "-o IdentitiesOnly=x",
        "'",
        "-o 'User=a\nb'",
    ],
)
def test_refused(text):
    """Malformed values are errors."""
    with pytest.raises(ValueError, match=r"."):
        parse_ssh_args(text)


@given(st.text(alphabet="-oJipl= \"'PortUse1%\n\\", max_size=40))
def test_never_anything_but_value_error(text):
    """Arbitrary text gives honoured options or a ValueError."""
    try:
        parsed = parse_ssh_args(text)
    except ValueError:
        return
    assert {name for name, _ in parsed.options} <= set(HONOURED.values())


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("plain", ["plain"]),
        ("w[1:3]", ["w1", "w2", "w3"]),
        ("w[01:03].x", ["w01.x", "w02.x", "w03.x"]),
        ("w[08:10]", ["w08", "w09", "w10"]),
        ("w[9:11]", ["w9", "w10", "w11"]),
        ("w[0:10:5]", ["w0", "w5", "w10"]),
        ("w[:2]", ["w0", "w1", "w2"]),
        ("d-[a:e:2]", ["d-a", "d-c", "d-e"]),
        ("[a:b][1:2]", ["a1", "a2", "b1", "b2"]),
    ],
)
def test_ranges(pattern, names):
    """Ansible's ranges, both ends included."""
    assert list(expand(pattern)) == names


@pytest.mark.parametrize(
    "pattern",
    [
        "w[]",
        "w[1]",
        "w[1:]",
        "w[3:1]",
        "w[a:3]",
        "w[1:3:0]",
        "w[01:100]",
        "w[1-3]",
        "w[1:99999]",
        "[1:999]" * 3,
    ],
)
def test_bad_ranges(pattern):
    """Malformed and enormous ranges are refused, at once."""
    with pytest.raises(ValueError, match=r"range|stands for"):
        expand(pattern)


@given(st.text(alphabet="w[]:0123456789ab", max_size=30))
def test_ranges_are_bounded(pattern):
    """Whatever is written, it is refused or stands for a bounded number of names."""
    with contextlib.suppress(ValueError):
        assert len(expand(pattern)) <= MAX_HOSTS
