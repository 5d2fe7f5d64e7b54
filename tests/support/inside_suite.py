"""The part of the engine suite that waits, cancels, observes and looks inside."""

from __future__ import annotations

import threading
import time

import pytest
from support.agent_world import PROJECT, RUNNING, SLEEP, AgentWorld, content

from orchestrator.agent.execute import execute
from orchestrator.agent.fingerprint import fingerprint
from orchestrator.agent.handler import Refusal
from orchestrator.agent.logs import logs
from orchestrator.protocol.instance import Config, Healthcheck, Mount, Port
from orchestrator.protocol.messages import Exec, Logs, Operation, ReleaseRecord


def until(condition, seconds: float = 5.0) -> None:
    """Wait until ``condition`` holds."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it never came true"
        threading.Event().wait(0.01)


class InsideSuite:
    """A subclass provides the fixture ``world``, an :class:`~support.agent_world.AgentWorld`."""

    # --- order and cancelling ---

    def test_operations_wait_for_what_they_come_after(self, world: AgentWorld):
        """A failed predecessor fails what waits for it as upstream, and nothing else."""
        bad = world.config(service="db", command=("/bin/busybox", "false"), healthcheck=RUNNING)
        good = world.config(service="web")
        outcomes = world.perform(
            world.start_operation(bad, number=1),
            Operation(2, "start", (1,), "api", 1, "r1", world.config()),
            Operation(3, "start", (2,), "front", 1, "r1", world.config(service="front")),
            world.start_operation(good, number=4),
        )
        assert [outcome.failure.code if outcome.failure else "" for outcome in outcomes] == [
            "exited",
            "upstream",
            "upstream",
            "",
        ]

    def test_a_cancelled_start_leaves_nothing(self, world: AgentWorld):
        """What was under way is undone."""
        check = Healthcheck(type="tcp", port=9, interval=0.1, deadline=60.0)
        config = world.config(command=SLEEP, healthcheck=check)
        results: list[object] = []
        thread = threading.Thread(target=lambda: results.append(world.start(config)))
        thread.start()
        until(lambda: any(p.phase == "checking" for p in list(world.channel.progressed)))
        world.cancelled.set()
        thread.join(20)
        (outcome,) = results
        assert outcome.failure.code == "cancelled"
        assert world.observe().containers == ()

    # --- looking inside ---

    def test_logs_are_streamed(self, world: AgentWorld):
        """The last lines, without the engine's framing."""
        command = ("/bin/busybox", "sh", "-c", "echo one; echo two; exec busybox sleep 1000")
        container = world.start(world.config(command=command, healthcheck=RUNNING)).container
        logs(Logs(PROJECT, container, tail=1), world.context())
        assert world.channel.sent == b"two\n"

    def test_following_logs_end_when_cancelled(self, world: AgentWorld):
        """A silent container does not keep a request for ever."""
        command = ("/bin/busybox", "sh", "-c", "echo one; exec busybox sleep 1000")
        container = world.start(world.config(command=command, healthcheck=RUNNING)).container
        context, caught = world.context(), []

        def follow() -> None:
            with pytest.raises(Refusal) as refused:
                logs(Logs(PROJECT, container, follow=True), context)
            caught.append(refused.value.failure.code)

        thread = threading.Thread(target=follow)
        thread.start()
        until(lambda: b"one\n" in world.channel.sent)
        world.cancelled.set()
        thread.join(5)
        assert caught == ["cancelled"]

    def test_exec_carries_input_output_and_status(self, world: AgentWorld):
        """The input's end reaches the command, its output and status come back."""
        container = world.start().container
        result = execute(
            Exec(PROJECT, container, ("/bin/busybox", "cat")), world.context(b"hello ", b"world\n")
        )
        assert world.channel.sent == b"hello world\n"
        assert result.exit_code == 0
        result = execute(Exec(PROJECT, container, ("/bin/busybox", "sh", "-c", "exit 5")), world.context())
        assert result.exit_code == 5

    def test_exec_on_a_terminal(self, world: AgentWorld):
        """With a terminal the output is raw."""
        container = world.start().container
        request = Exec(PROJECT, container, ("/bin/busybox", "echo", "hi"), tty=True, columns=100, rows=40)
        execute(request, world.context())
        assert world.channel.sent.replace(b"\r\n", b"\n") == b"hi\n"

    def test_nobody_looks_into_other_projects(self, world: AgentWorld):
        """Logs and exec need the project's own container."""
        with pytest.raises(Refusal) as refused:
            logs(Logs("other", world.start().container), world.context())
        assert refused.value.failure.code == "not-found"

    # --- observing ---

    def test_the_state_digest_moves_with_what_a_plan_depends_on(self, world: AgentWorld):
        """It is stable while nothing changes, and changes with containers and releases."""
        container = world.start().container
        first = world.observe().state
        assert world.observe(probe=False).state == first
        world.change("stop", container)
        second = world.observe().state
        assert second != first
        world.journal.commit(ReleaseRecord("r1", 0.0, "me", "x"))
        assert world.observe().state not in (first, second)

    def test_an_unhealthy_instance_says_why(self, world: AgentWorld):
        """Status shows what was tried, not only a colour."""
        check = Healthcheck(type="tcp", port=9, interval=0.05, timeout=1.0, deadline=60.0)
        thread = threading.Thread(target=world.start, args=(world.config(healthcheck=check),))
        thread.start()
        until(lambda: any(p.phase == "checking" for p in list(world.channel.progressed)))
        cancelled = world.cancelled
        (container,) = world.observe().containers
        cancelled.set()
        thread.join(20)
        assert container.health == "unhealthy"
        assert container.health_detail.endswith(":9: connection refused")

    def test_the_fingerprint_survives_stop_and_start(self, world: AgentWorld):
        """What the engine changes by itself does not count as drift."""
        sha, contents = content(b"x")
        config = world.config(
            configs=(Config("/etc/app.conf", sha),),
            mounts=(Mount("volume", "/data", "shop_data"), Mount("tmpfs", "/tmp", size=1 << 20)),
            ports=(Port(8080, 28081),),
            environment=(("A", "b"),),
        )
        (outcome,) = world.perform(world.start_operation(config), contents=contents)
        assert outcome.failure is None
        before = fingerprint(world.inspect(outcome.container))
        assert world.journal.fingerprint(outcome.container) == before
        world.change("stop", outcome.container)
        assert fingerprint(world.inspect(outcome.container)) == before
        assert world.change("resume", outcome.container).failure is None
        assert fingerprint(world.inspect(outcome.container)) == before
