"""What HAProxy says on its socket, recorded from 2.6.12, and what counts as a refusal."""

from __future__ import annotations

import socket
import threading

import pytest

from orchestrator.agent.router.runtime import RouterRefused, RouterSilent, Runtime, parse_stats

HEAD = (
    "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,"
    "weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,"
    "rate_lim,rate_max,check_status,check_code,check_duration,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,"
    "hrsp_other,hanafail,req_rate,req_rate_max,req_tot,cli_abrt,srv_abrt,comp_in,comp_out,comp_byp,comp_rsp,"
    "lastsess,last_chk,last_agt,qtime,ctime,rtime,ttime,agent_status,agent_code,agent_duration,check_desc,"
    "agent_desc,check_rise,check_fall,check_health,agent_rise,agent_fall,agent_health,addr,cookie,mode,algo,"
    "conn_rate,conn_rate_max,conn_tot,intercepted,dcon,dses,wrew,connect,reuse,cache_lookups,cache_hits,"
    "srv_icur,src_ilim,qtime_max,ctime_max,rtime_max,ttime_max,eint,idle_conn_cur,safe_conn_cur,"
    "used_conn_cur,need_conn_est,uweight,"
)


def line(**values: object) -> str:
    """A line of ``show stat`` with these fields."""
    return ",".join(str(values.get(name, "")) for name in HEAD[2:].split(","))


def test_stats_are_read_by_name():
    """Whatever the order and number of columns; totals of frontends and backends are left out."""
    up = line(
        pxname="web_80", svname="s1", scur=2, qcur=1, stot=40, econ=1, eresp=2, status="UP 1/3", weight=85,
        check_status="* L7OK", hrsp_5xx=4, req_tot=41, rtime=12, addr="10.0.0.2:80", uweight=86,
    )  # fmt: skip
    total = line(pxname="web_80", svname="BACKEND", status="UP")
    (stat,) = parse_stats(f"{HEAD}\n{up}\n{total}")
    assert (stat.backend, stat.server, stat.check, stat.address) == ("web_80", "s1", "L7OK", "10.0.0.2:80")
    assert (stat.sessions, stat.queued, stat.total, stat.requests) == (2, 1, 40, 41)
    assert (stat.errors, stat.responses_5xx, stat.response_time, stat.weight) == (3, 4, 0.012, 86)
    assert stat.up


@pytest.mark.parametrize(
    ("status", "up"),
    [("UP", True), ("UP 2/3", True), ("no check", True), ("DOWN", False), ("DOWN 1/2", False),
     ("DRAIN", False), ("MAINT", False), ("MAINT (via a/s1)", False), ("NOLB", False)],
)  # fmt: skip
def test_only_some_states_get_new_traffic(status, up):
    """As HAProxy names them."""
    (stat,) = parse_stats("\n".join([HEAD, line(pxname="a", svname="s1", status=status)]))
    assert stat.up is up


class Haproxy:
    """Answers each connection with the next of some answers."""

    def __init__(self, path, *answers: bytes) -> None:
        self.asked: list[str] = []
        self._answers = answers
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self._answers:
            peer, _ = self._socket.accept()
            with peer:
                self.asked.append(peer.recv(65536).decode())
                peer.sendall(answer)

    def close(self) -> None:
        """End it, whatever is left to answer."""
        self._thread.join(5)
        self._socket.close()


@pytest.fixture
def talk(tmp_path):
    """Return a runtime, and the fake it speaks with."""
    made = []

    def start(*answers: bytes):
        path = tmp_path / "admin.sock"
        made.append(Haproxy(path, *answers))
        return Runtime(path), made[0]

    yield start
    for one in made:
        one.close()


@pytest.mark.parametrize(
    "answer",
    [b"IP changed from '127.0.0.1' to '10.0.0.2', port changed from '9' to '80' by 'stats socket command'\n",
     b"no need to change the addr, no need to change the port by 'stats socket command'\n\n",
     b"no need to change the addr, port changed from '9' to '80' by 'stats socket command'\n\n"],
)  # fmt: skip
def test_a_changed_address_is_acknowledged(talk, answer):
    """In HAProxy's words, also when there was nothing to change."""
    runtime, fake = talk(answer)
    runtime.set_address("web_80", "s1", "10.0.0.2", 80)
    assert fake.asked == ["set server web_80/s1 addr 10.0.0.2 port 80\n"]


def test_a_refusal_is_an_error_with_its_words(talk):
    """Never taken for an acknowledgement."""
    runtime, _ = talk(b"No such server.\n\n", b"No such backend.\n\n", b"Unknown map identifier.\n")
    with pytest.raises(RouterRefused, match="No such server"):
        runtime.set_state("web_80", "s9", "ready")
    with pytest.raises(RouterRefused, match="No such backend"):
        runtime.set_address("x", "s1", "10.0.0.2", 80)
    with pytest.raises(RouterRefused, match="Unknown map"):
        runtime.replace_map("/m", ())


def test_nobody_there_is_another_error(tmp_path):
    """So that what is down is told from what refuses."""
    with pytest.raises(RouterSilent):
        Runtime(tmp_path / "nothing.sock").stats()


def test_a_certificate_is_sent_without_blank_lines(talk):
    """A blank line would end it too early."""
    runtime, fake = talk(b"Transaction created for certificate x!\n\n", b"Committing x.\nSuccess!\n\n")
    runtime.set_certificate("/c/x.pem", "-----BEGIN\n\nabc\r\n-----END\n")
    assert fake.asked == [
        "set ssl cert /c/x.pem <<\n-----BEGIN\nabc\n-----END\n\n",
        "commit ssl cert /c/x.pem\n",
    ]


def test_a_path_longer_than_a_socket_may_have_works(tmp_path):
    """State directories may be anywhere."""
    folder = tmp_path / ("d" * 100)
    folder.mkdir()
    short = tmp_path / "s"
    short.symlink_to(folder)
    fake = Haproxy(short / "admin.sock", b"description: x\n\n")
    assert Runtime(folder / "admin.sock").info() == {"description": "x"}
    fake.close()
