"""Seats: stable, never shared, never given away while somebody sits there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.router.table import ATTACHED, DRAINING, SERVING, Seat, Table
from orchestrator.protocol.codec import decode, encode
from orchestrator.protocol.routing import Member

SLOTS = 4
moves = st.lists(
    st.tuples(
        st.sampled_from(["attach", "shift", "leave"]),
        st.integers(1, 3),
        st.sampled_from(["r1", "r2"]),
        st.integers(0, 256),
    ),
    max_size=20,
)


@given(moves)
def test_a_seat_is_kept_and_never_shared(steps):
    """Whatever is done, in whatever order."""
    table = Table()
    for what, slot, release, weight in steps:
        before = {seat.key: seat.server for seat in table.seats}
        if what == "attach" and table.find("web", slot, release) is None:
            server = table.free("web", SLOTS)
            if server:
                table = table.put(Seat("web", slot, release, "c", "10.0.0.1", server))
        elif what == "shift":
            table = table.shifted("web", [Member(slot, release, weight)])
        elif what == "leave":
            table = table.without("web", slot, release)
        servers = [seat.server for seat in table.seats]
        assert len(set(servers)) == len(servers)
        assert all(1 <= server <= SLOTS for server in servers)
        assert all(before.get(seat.key, seat.server) == seat.server for seat in table.seats)
        assert all((seat.weight > 0) == (seat.state == SERVING) for seat in table.seats)
        assert decode(Table, encode(table)) == table


def test_a_free_server_that_still_has_sessions_is_passed_over():
    """The lowest one that is really free."""
    assert Table().free("web", SLOTS, busy=[1, 2]) == 3
    assert Table().free("web", 2, busy=[1, 2]) == 0


def test_a_shift_drains_whoever_is_not_named():
    """One that has never served stays attached: it has nothing to drain."""
    table = Table(
        tuple(Seat("web", n, "r1", "c", "10.0.0.1", n, *state) for n, state in enumerate(
            [(SERVING, 256), (ATTACHED, 0), (DRAINING, 0)], 1))
    )  # fmt: skip
    other = Seat("db", 1, "r1", "c", "10.0.0.1", 1, SERVING, 256)
    shifted = table.put(other).shifted("web", [Member(3, "r1", 100)])
    assert [(seat.state, seat.weight) for seat in shifted.of("web")] == [
        (DRAINING, 0), (ATTACHED, 0), (SERVING, 100)
    ]  # fmt: skip
    assert shifted.of("db") == (other,)


def test_maintenance_is_remembered_by_route():
    """On twice is on; off is off."""
    on = Table().maintained("a", on=True).maintained("a", on=True).maintained("b", on=True)
    assert on.maintenance == ("a", "b")
    assert on.maintained("a", on=False).maintenance == ("b",)
