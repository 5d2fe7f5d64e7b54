"""No view shows a secret, a rendered file or a variable's value, wherever it is planted."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support.report_samples import NOW, config, container, failure, observed, plan, record, run, ship, start

from orchestrator import events as ev
from orchestrator.planning.types import Observed, ObservedHost, Step, StepKind
from orchestrator.protocol.instance import Config, SecretRef
from orchestrator.report import status_view
from orchestrator.report.console import ConsoleListener
from orchestrator.report.jsonlines import JsonListener
from orchestrator.report.output import Output
from orchestrator.report.plain import PlainListener

SECRETS = st.text(st.characters(categories=["Lu", "Ll", "Nd"]), min_size=8, max_size=24).map(
    lambda s: f"S3{s}"
)
"""Printable, and long enough to stand nowhere by chance."""


def planted(secret):
    """Return an instance with ``secret`` in every place an instance has for such things."""
    value = secret.encode()
    sha, mac = hashlib.sha256(value).hexdigest(), f"hmac{secret}"
    full = config(
        environment=(("TOKEN", secret),),
        command=("serve", secret),
        labels=(("note", secret),),
        configs=(Config("/etc/app.conf", sha),),
        secrets=(SecretRef("DB", "/run/secrets/DB", mac),),
    )
    instance = start().desired
    return replace(instance, config=full, contents=((sha, value),), secrets=((mac, value),))


def events_with(secret):
    """Return a whole run whose every instance holds ``secret``."""
    instance = planted(secret)
    changed = plan()
    changes = tuple(
        replace(change, desired=instance if change.desired else None) for change in changed.changes
    )
    desired = replace(changed.desired, instances=(instance,))
    step = start(desired=instance)
    commit = Step("commit", StepKind.COMMIT, "web-1", record=record(configs=(instance.config,)))
    return (
        ev.Planned(replace(changed, changes=changes, desired=desired)),
        ev.StepStarted(step),
        ev.StepProgress(step, "checking"),
        ev.StepFinished(step, 1.0),
        ev.StepFailed(step, "exited", failure(), 1.0),
        ev.StepSkipped(step, "interrupted"),
        ev.StepStarted(commit),
        ev.StepFinished(commit, 0.1),
        *run()[-3:],
    )


def shown_by_all_views(events):
    """Return everything every listener writes for ``events``."""
    stream = io.StringIO()
    output = Output(stream)
    views = (
        PlainListener(output, verbose=True),
        JsonListener(output, lambda: NOW),
        ConsoleListener(output, clock=lambda: NOW, verbose=True),
    )
    for view in views:
        for event in events:
            view(event)
        view.close()
    return stream.getvalue()


@given(SECRETS)
def test_no_listener_shows_a_planted_value(secret):
    """Plain lines, JSON lines and the console keep to what is listed for them."""
    shown = shown_by_all_views(events_with(secret))
    assert secret not in shown
    assert base64.b64encode(secret.encode()).decode() not in shown


@given(SECRETS)
def test_no_document_or_table_shows_a_planted_value(secret):
    """Status, history and show list names, never values; nor does the key of a host appear."""
    instance = planted(secret)
    fleet = observed()
    report = replace(
        fleet.hosts[0].report,
        key=secret,
        containers=(container(config=instance.config),),
        releases=(record(configs=(instance.config,)),),
    )
    looked = Observed((ObservedHost("web-1", report),))
    records = report.releases
    shown = (
        status_view.render_status(looked, now=NOW),
        json.dumps(status_view.status_document(looked, now=NOW)),
        status_view.render_history(records, current="r4", now=NOW),
        json.dumps(status_view.history_document(records, current="r4")),
        status_view.render_release(records),
        json.dumps(status_view.release_document(records)),
    )
    assert not any(secret in text for text in shown)
    assert "TOKEN" in shown[4]


@given(SECRETS)
def test_the_repr_of_an_instance_hides_its_secrets(secret):
    """A debugger's or a traceback's repr shows neither contents nor secret values."""
    bare = replace(planted(secret), config=config())
    for value in (bare, start(desired=bare), ev.StepStarted(start(desired=bare))):
        assert secret not in repr(value)


@given(SECRETS)
def test_a_program_that_prints_its_secret_is_masked(secret):
    """The last log lines of a failed start go to CI logs: values we delivered are masked there."""
    step = start(desired=planted(secret))
    told = replace(failure(), logs=(f"cannot log in with {secret}!",), probes=(f"GET /?token={secret}",))
    events = (
        ev.StepProgress(step, "checking", detail=f"got {secret}"),
        ev.StepFailed(step, f"exited: {secret}", told, 1.0),
        ev.HostFailed("web-1", f"said {secret}"),
        ev.RestoreFinished(ok=False, states=(("web-1", f"left with {secret}"),)),
        ev.Finished(ok=False, exit_code=3, error=secret, hint=secret, context=(secret,)),
    )
    shown = shown_by_all_views((*events_with(secret), ev.StepStarted(ship()), *events))
    assert secret not in shown
    assert "cannot log in with ***!" in shown
