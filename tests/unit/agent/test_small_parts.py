"""The smaller parts of the agent, each by itself."""

import ast
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_engine import FakeEngine

from orchestrator.agent import failures, handlers, ports
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.handler import Refusal, failure_of
from orchestrator.agent.lease import Leases
from orchestrator.agent.logs import since
from orchestrator.agent.paths import Paths, default_root
from orchestrator.protocol.instance import Port
from orchestrator.protocol.messages import METHODS

PACKAGE = Path(handlers.__file__).parents[1]
SHIPPED = sorted([*(PACKAGE / "agent").rglob("*.py"), *(PACKAGE / "protocol").rglob("*.py")])


def test_every_method_has_a_handler(tmp_path):
    """And there is no handler without a method."""
    assert set(handlers.table(Leases(Paths(tmp_path)))) == set(METHODS)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_only_the_standard_library_is_imported(path):
    """What is shipped to hosts finds there what it needs."""
    for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 9))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            assert node.level == 0
        for name in names:
            top = name.split(".")[0]
            allowed = top in sys.stdlib_module_names or name.startswith(
                ("orchestrator.agent", "orchestrator.protocol")
            )
            assert allowed, f"{path.name} imports {name}"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", ""),
        ("1700000000", "1700000000"),
        ("1700000000.5", "1700000000.5"),
        ("10m", "400.000"),
        ("1h", "-2600.000"),
        ("1970-01-01T00:01:00Z", "60.000"),
        ("1970-01-01T01:01:00+01:00", "60.000"),
    ],
)
def test_times_of_logs(text, result):
    """Seconds, durations back from now, RFC 3339."""
    assert since(text, 1000.0) == result


@given(st.text(max_size=30))
def test_any_other_time_is_refused(text):
    """No other exception, and never the text itself to the engine."""
    try:
        result = since(text, 1000.0)
    except Refusal as refusal:
        result = refusal.failure.code
    assert result == "bad-request" or set(result) <= set("0123456789.-")


def test_secrets_are_blotted_out_longest_first():
    """A secret that contains another leaves no rest."""
    hidden = failures.hide(["a abcd1234 b", "abcd x"], [b"abcd", b"abcd1234\n", b"b"])
    assert hidden == ("a ******** b", "******** x")


@given(st.lists(st.text(max_size=60)), st.lists(st.binary(min_size=1, max_size=20)))
def test_no_line_shows_a_secret(lines, secrets):
    """Whatever is logged; values shorter than four characters are nobody's secret."""
    hidden = "\n".join(failures.hide(lines, secrets))
    for value in secrets:
        for part in value.decode("utf-8", "replace").splitlines():
            word = part.strip()
            if len(word) >= 4 and "*" not in word:
                assert word not in hidden


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EngineError(500, "write /x: no space left on device"), "no-space"),
        (EngineError(404, "no such container"), "not-found"),
        (EngineError(500, "boom"), "engine"),
        (EngineError(0, "nobody there"), "no-engine"),
        (OSError(28, "No space left on device"), "no-space"),
        (OSError(5, "I/O error"), "internal"),
        (ZeroDivisionError("x"), "internal"),
        (Refusal("stale-epoch", "x"), "stale-epoch"),
    ],
)
def test_every_error_has_a_stable_code(error, code):
    """Controllers branch on it, never on words."""
    assert failure_of(error).code == code


PROC_TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4242 1
   1: 0100007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000 0 0 4243 1
"""


def test_the_holder_of_a_port_among_processes(tmp_path):
    """Found by the kernel's table and the process that has the socket open."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(PROC_TCP)
    (tmp_path / "77" / "fd").mkdir(parents=True)
    (tmp_path / "77" / "comm").write_text("nginx\n")
    (tmp_path / "77" / "fd" / "3").symlink_to("socket:[4242]")
    with FakeEngine() as fake:
        engine = Engine(fake.socket_path)
        assert ports.holder(engine, Port(80, 8080), tmp_path) == "nginx (pid 77)"
        assert ports.holder(engine, Port(80, 8081), tmp_path) is None
        assert ports.holder(engine, Port(80, 0), tmp_path) is None
        assert ports.holder(engine, Port(80, 8080, "udp"), tmp_path) is None
        engine.close()


def test_the_state_directory_depends_on_the_user():
    """Root's is the system's, others keep theirs at home."""
    assert default_root(0) == Path("/var/lib/deploy")
    assert default_root(7, "/home/x") == Path("/home/x/.local/share/deploy")
