"""The part of the engine suite that starts, stops and removes instances."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from support.agent_world import PROJECT, RUNNING, SLEEP, AgentWorld, content

from orchestrator.agent.containers import Identity
from orchestrator.agent.engine import EngineError
from orchestrator.agent.execute import execute
from orchestrator.agent.instances import Instances
from orchestrator.agent.stage import Stage
from orchestrator.protocol.instance import Config, Healthcheck, Mount, Port, SecretRef
from orchestrator.protocol.messages import Exec, Operation, ReleaseRecord


class InstanceSuite:
    """A subclass provides the fixture ``world``, an :class:`~support.agent_world.AgentWorld`."""

    # --- start ---

    def test_a_started_instance_is_proven_healthy_and_observed(self, world: AgentWorld):
        """The whole of a start: created, started, probed, labelled, fingerprinted, reported."""
        config = world.config(environment=(("LOG_LEVEL", "info"),))
        outcome = world.start(config)
        assert outcome.failure is None
        assert outcome.phase == "done"
        report = world.observe()
        (container,) = report.containers
        assert container.id == outcome.container
        assert container.name == "shop-api-1-r1"
        assert (container.service, container.slot, container.release) == ("api", 1, "r1")
        assert container.digest == config.digest
        assert container.config == config
        assert container.image == world.image
        assert container.state == "running"
        assert container.health == "healthy"
        assert container.intact
        assert [image.id for image in report.images if image.id == world.image]

    def test_security_defaults_reach_the_engine(self, world: AgentWorld):
        """Read-only root, no new privileges, bounded logs, no check by the image, our restart policy."""
        inspect = world.inspect(world.start().container)
        host = inspect["HostConfig"]
        assert host["ReadonlyRootfs"] is True
        assert "no-new-privileges" in host["SecurityOpt"]
        assert host["LogConfig"]["Config"]["max-size"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert inspect["Config"]["Healthcheck"]["Test"] == ["NONE"]
        assert "api-1" in inspect["NetworkSettings"]["Networks"][PROJECT]["Aliases"]

    def test_progress_names_every_phase(self, world: AgentWorld):
        """A person who watches sees what the host is at."""
        world.start()
        phases = [progress.phase for progress in world.channel.progressed]
        assert phases[:2] == ["creating", "starting"]
        assert "checking" in phases
        assert phases[-1] == "done"

    def test_a_failing_probe_is_recorded_with_logs(self, world: AgentWorld):
        """``unhealthy`` says what was tried, what came back, and the container's own words."""
        check = Healthcheck(type="http", port=8080, path="/nothing", interval=0.05, timeout=1.0, deadline=0.4)
        command = ("/bin/busybox", "sh", "-c", "echo listening; exec busybox httpd -f -p 8080 -h /www")
        outcome = world.start(world.config(command=command, healthcheck=check))
        assert outcome.failure is not None
        assert outcome.failure.code == "unhealthy"
        assert any("/nothing: 404" in line for line in outcome.failure.probes)
        assert outcome.failure.logs == ("listening",)
        assert 0.3 < outcome.failure.seconds < 5
        assert world.inspect(outcome.container)["State"]["Running"] is False

    def test_a_refused_port_is_recorded(self, world: AgentWorld):
        """A process that never listens is unhealthy, with the system's reason."""
        check = Healthcheck(type="tcp", port=8080, interval=0.05, timeout=1.0, deadline=0.3)
        failure = world.start(world.config(command=SLEEP, healthcheck=check)).failure
        assert failure is not None
        assert failure.code == "unhealthy"
        assert any("connection refused" in line for line in failure.probes)

    def test_an_update_may_say_how_long_a_start_takes(self, world: AgentWorld):
        """Its deadline goes before the health check's, for a start and a resume; the digest knows nothing."""
        check = Healthcheck(type="tcp", port=8080, interval=0.05, timeout=1.0, deadline=60.0)
        config = world.config(command=SLEEP, healthcheck=check)
        [outcome] = world.perform(replace(world.start_operation(config), seconds=0.3))
        assert outcome.failure is not None
        assert outcome.failure.message == "not healthy within 0.3 s"
        assert world.observe().containers[0].digest == config.digest
        [again] = world.perform(Operation(0, "resume", container=outcome.container, seconds=0.2))
        assert again.failure is not None
        assert again.failure.message == "not healthy within 0.2 s"

    def test_an_exit_is_noticed_at_once(self, world: AgentWorld):
        """Nobody waits for the deadline of a process that has ended."""
        command = ("/bin/busybox", "sh", "-c", "echo no database; exit 3")
        check = Healthcheck(type="tcp", port=8080, interval=30.0, timeout=1.0, deadline=60.0)
        started = time.monotonic()
        failure = world.start(world.config(command=command, healthcheck=check)).failure
        assert time.monotonic() - started < 10
        assert failure is not None
        assert failure.code == "exited"
        assert "no database" in failure.logs

    def test_a_command_that_does_not_exist_fails_the_start(self, world: AgentWorld):
        """Whether the engine or the process says so, the start fails and nothing runs."""
        outcome = world.start(world.config(command=("/bin/busybox", "no-such-applet"), healthcheck=RUNNING))
        assert outcome.failure is not None
        assert outcome.failure.code in ("exited", "engine")
        assert world.observe().containers[0].state in ("exited", "created")

    def test_a_command_check_runs_inside(self, world: AgentWorld):
        """Exit status 0 of a command in the container is health; its words are kept when it is not."""
        good = Healthcheck(type="command", command=("/bin/busybox", "true"), interval=0.05, deadline=10.0)
        assert world.start(world.config(healthcheck=good)).failure is None
        words = ("/bin/busybox", "sh", "-c", "echo not yet; exit 7")
        bad = Healthcheck(type="command", command=words, interval=0.05, deadline=0.3)
        failure = world.start(world.config(healthcheck=bad), slot=2).failure
        assert failure is not None
        assert any("exit status 7: not yet" in line for line in failure.probes)

    def test_an_image_that_is_not_there(self, world: AgentWorld):
        """The plan named an image the host lacks: nothing is created."""
        config = world.config()
        missing = type(config)(**{**config.__dict__, "image": f"sha256:{'0' * 64}"})
        outcome = world.start(missing)
        assert outcome.failure is not None
        assert outcome.failure.code == "not-found"
        assert world.observe().containers == ()

    # --- adoption and replacement of leftovers ---

    def test_a_half_started_container_is_adopted(self, world: AgentWorld):
        """After a crash between create and start the next start goes on with what is there."""
        first = world.start()
        again = world.start()
        assert again.failure is None
        assert again.container == first.container
        assert again.detail == "adopted"

    def test_a_created_container_is_adopted_and_started(self, world: AgentWorld):
        """The crash came between create and start."""
        config = world.config()
        created = Instances(world.engine, world.journal, threading.Event())
        Stage(world.engine, world.journal).network()
        container = created._create(Identity(PROJECT, "api", 1, "r1"), config)
        outcome = world.start(config)
        assert outcome.failure is None
        assert (outcome.container, outcome.detail) == (container, "adopted")

    def test_a_failed_leftover_makes_room(self, world: AgentWorld):
        """The name of a failed start is free for the next try."""
        failed = world.start(world.config(command=("/bin/busybox", "false"), healthcheck=RUNNING))
        assert failed.failure is not None
        assert world.start().failure is None
        assert len(world.observe().containers) == 1

    def test_a_running_leftover_of_no_release_makes_room(self, world: AgentWorld):
        """An interrupted run left a green of another configuration, under the name the next one needs."""
        world.start()
        outcome = world.start(world.config(environment=(("A", "2"),)))
        assert outcome.failure is None
        assert [container.id for container in world.observe().containers] == [outcome.container]

    def test_a_running_instance_of_a_release_is_never_in_the_way(self, world: AgentWorld):
        """What a committed release runs is not removed to make room."""
        world.start()
        world.journal.commit(ReleaseRecord("r1", 0.0, "me", "x"))
        outcome = world.start(world.config(environment=(("A", "2"),)))
        assert outcome.failure is not None
        assert outcome.failure.code == "conflict"

    def test_a_foreign_container_of_that_name_is_left_alone(self, world: AgentWorld):
        """A name that somebody else took is a conflict, not a licence to remove."""
        body = {"Image": world.image, "Cmd": list(SLEEP), "HostConfig": {}}
        foreign = world.engine.post("/containers/create", {"name": "shop-api-1-r1"}, body)["Id"]
        outcome = world.start()
        assert outcome.failure is not None
        assert outcome.failure.code == "conflict"
        world.engine.delete(f"/containers/{foreign}")

    # --- files and volumes ---

    def test_configs_and_secrets_are_files_inside_and_nowhere_else(self, world: AgentWorld):
        """The container reads them; no inspect, label or environment has the secret."""
        sha, contents = content(b"greeting = hello\n")
        keyed, secrets = world.secret(b"correct horse battery")
        config = world.config(
            command=SLEEP,
            healthcheck=RUNNING,
            configs=(Config("/etc/app.conf", sha),),
            secrets=(SecretRef("DB", "/run/secrets/DB", keyed),),
        )
        (outcome,) = world.perform(world.start_operation(config), contents=contents, secrets=secrets)
        assert outcome.failure is None
        for path, expected in (
            ("/etc/app.conf", b"greeting = hello\n"),
            ("/run/secrets/DB", b"correct horse battery"),
        ):
            context = world.context()
            execute(Exec(PROJECT, outcome.container, ("/bin/busybox", "cat", path)), context)
            assert world.channel.sent == expected
        assert "correct horse" not in str(world.inspect(outcome.container))

    def test_a_secret_in_the_logs_is_hidden_in_the_failure(self, world: AgentWorld):
        """A container that prints its secret before it dies must not put it on the operator's screen."""
        keyed, secrets = world.secret(b"correct horse battery")
        config = world.config(
            command=("/bin/busybox", "sh", "-c", "echo password correct horse battery; exit 1"),
            healthcheck=RUNNING,
            secrets=(SecretRef("DB", "/run/secrets/DB", keyed),),
        )
        (outcome,) = world.perform(world.start_operation(config), secrets=secrets)
        assert outcome.failure is not None
        assert "password ********" in outcome.failure.logs
        assert "correct horse" not in repr(outcome)

    def test_a_volume_is_made_labelled_and_kept(self, world: AgentWorld):
        """Volumes outlive their containers and go only when asked for, and never while in use."""
        config = world.config(mounts=(Mount("volume", "/data", "shop_data"),))
        container = world.start(config).container
        assert [volume.name for volume in world.observe().volumes] == ["data"]
        in_use = world.change("remove_volume", name="data")
        assert in_use.failure is not None
        assert in_use.failure.code == "conflict"
        world.change("stop", container)
        world.change("remove", container)
        assert [volume.name for volume in world.observe().volumes] == ["data"]
        assert world.change("remove_volume", name="data").failure is None
        assert world.observe().volumes == ()

    def test_an_external_volume_is_used_as_it_is(self, world: AgentWorld):
        """It is neither made nor counted as ours; where there is none, the instance does not start."""
        config = world.config(mounts=(Mount("volume", "/data", "Elsewhere.data", external=True),))
        failure = world.start(config).failure
        assert failure is not None
        assert failure.code == "not-found"
        assert "'Elsewhere.data'" in failure.message
        world.engine.post("/volumes/create", body={"Name": "Elsewhere.data"})
        assert world.start(config).failure is None
        assert world.observe().volumes == ()

    def test_a_port_in_use_names_its_holder(self, world: AgentWorld):
        """A conflict is told with who holds the port, not in the engine's words."""
        config = world.config(ports=(Port(8080, 28080),))
        assert world.start(config).failure is None
        failure = world.start(config, slot=2).failure
        assert failure is not None
        assert failure.code == "conflict"
        assert failure.message == "port 28080 is held by container shop-api-1-r1"

    # --- stop, resume, remove ---

    def test_stop_keeps_and_resume_brings_back_the_same(self, world: AgentWorld):
        """A rollback starts the very container that ran before."""
        container = world.start().container
        assert world.change("stop", container).failure is None
        assert world.observe().containers[0].state == "exited"
        assert world.observe().containers[0].health == "none"
        resumed = world.change("resume", container)
        assert resumed.failure is None
        assert world.observe().containers[0].health == "healthy"

    def test_stop_twice_and_of_nothing_is_no_failure(self, world: AgentWorld):
        """Level-triggered: what is asked for holds already."""
        container = world.start().container
        world.change("stop", container)
        assert world.change("stop", container).detail == "was stopped already"
        assert world.change("stop", "0" * 64).detail == "was gone already"

    def test_a_process_that_ignores_its_signal_is_killed_after_its_grace(self, world: AgentWorld):
        """The grace period is the container's own, not a default."""
        command = ("/bin/busybox", "sh", "-c", "trap : TERM; while :; do busybox sleep 1000 & wait; done")
        if world.engine.describe()["Version"].endswith("fake"):
            command = ("/bin/busybox", "sh", "-c", "trap; sleep 1000")
        container = world.start(world.config(command=command, healthcheck=RUNNING)).container
        started = time.monotonic()
        assert world.change("stop", container).failure is None
        assert 0.9 < time.monotonic() - started < 8

    def test_resume_of_a_changed_container_is_refused(self, world: AgentWorld):
        """``exactly as it was`` is checked, not assumed."""
        container = world.start().container
        world.change("stop", container)
        world.engine.post(f"/containers/{container}/rename", {"name": "renamed"})
        assert world.observe().containers[0].intact is False
        failure = world.change("resume", container).failure
        assert failure is not None
        assert failure.code == "drift"

    def test_what_was_faulty_before_is_only_started(self, world: AgentWorld):
        """Putting the old state back does not demand that it be better than it was."""
        container = world.start().container
        world.change("stop", container)
        world.engine.post(f"/containers/{container}/rename", {"name": "renamed"})
        resumed = world.change("resume", container, faulty=True)
        assert resumed.failure is None
        assert "not proven healthy" in resumed.detail
        assert world.observe().containers[0].state == "running"
        assert world.change("resume", container, faulty=True).detail == "was running already"

    def test_a_running_instance_of_a_release_is_not_removed(self, world: AgentWorld):
        """``remove`` is for what has been stopped."""
        container = world.start().container
        world.journal.commit(ReleaseRecord("r1", 0.0, "me", "x"))
        failure = world.change("remove", container).failure
        assert failure is not None
        assert failure.code == "conflict"
        world.change("stop", container)
        assert world.change("remove", container).failure is None
        assert world.observe().containers == ()

    def test_containers_of_others_are_not_touched(self, world: AgentWorld):
        """An id from elsewhere in a request of this project does nothing."""
        body = {"Image": world.image, "Cmd": list(SLEEP), "HostConfig": {}}
        foreign = world.engine.post("/containers/create", {"name": "foreign"}, body)["Id"]
        for kind in ("stop", "resume", "remove"):
            failure = world.change(kind, foreign).failure
            assert failure is not None
            assert failure.code == "conflict"
        world.engine.delete(f"/containers/{foreign}")

    def test_an_image_in_use_is_kept(self, world: AgentWorld):
        """Even a stopped container holds its image: a rollback needs it."""
        container = world.start().container
        world.change("stop", container)
        failure = world.change("remove_image", name=world.image).failure
        assert failure is not None
        assert failure.code == "conflict"
        assert world.change("remove_image", name=f"sha256:{'1' * 64}").detail == "was gone already"

    # --- garbage ---

    def test_what_nothing_refers_to_is_dropped(self, world: AgentWorld):
        """Removing the container and forgetting the release takes the secret off the disk."""
        keyed, secrets = world.secret(b"correct horse battery")
        config = world.config(secrets=(SecretRef("DB", "/run/secrets/DB", keyed),))
        (outcome,) = world.perform(world.start_operation(config), secrets=secrets)
        world.journal.commit(ReleaseRecord("r1", 0.0, "me", "x", configs=(config,)))
        world.change("stop", outcome.container)
        world.change("remove", outcome.container)
        assert world.journal.secret(keyed) == b"correct horse battery"
        world.change("forget", name="r1")
        assert world.journal.secret(keyed) is None
        assert world.journal.instance(config.digest) is None
        left = [path.name for path in world.journal.files.base.rglob("*") if path.is_file()]
        assert left == []
        with pytest.raises(EngineError, match=r"not found|no such network"):
            world.engine.get(f"/networks/{PROJECT}")
