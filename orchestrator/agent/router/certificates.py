"""Certificates as HAProxy finds them: one PEM file each, in a folder only we can read.

Owns writing, renewing without a reload, and dropping them. Where a bundle comes from is the journal's.
"""

from __future__ import annotations

from orchestrator.agent import durable
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.journal import Journal
from orchestrator.agent.router.home import Home
from orchestrator.agent.router.runtime import Runtime
from orchestrator.agent.router.words import Site
from orchestrator.protocol.routing import Certificate, RouterConfig


def write(home: Home, journal: Journal, config: RouterConfig) -> None:
    """Write what changed.

    Raises:
        OperationFailed: ``not-found``: the journal has lost one.
    """
    for certificate in config.certificates:
        bundle = _bundle(journal, certificate)
        path = home.certificates / f"{certificate.name}.pem"
        if not path.exists() or path.read_bytes() != bundle:
            durable.write(path, bundle)


def renew(journal: Journal, runtime: Runtime, config: RouterConfig, before: RouterConfig, site: Site) -> None:
    """Have the router that runs serve what changed, for new connections.

    Raises:
        OperationFailed: ``not-found``: the journal has lost one.
        RouterSilent, RouterRefused: It does not take one.
    """
    known = {certificate.name: certificate.hmac for certificate in before.certificates}
    for certificate in config.certificates:
        if known.get(certificate.name, certificate.hmac) != certificate.hmac:
            text = _bundle(journal, certificate).decode("utf-8", "replace")
            runtime.set_certificate(f"{site.home}/certs/{certificate.name}.pem", text)


def drop(home: Home, config: RouterConfig) -> None:
    """Remove the files of certificates that are no longer used."""
    wanted = {f"{certificate.name}.pem" for certificate in config.certificates}
    for path in list(home.certificates.iterdir()):
        if path.name not in wanted:
            durable.remove(path)


def _bundle(journal: Journal, certificate: Certificate) -> bytes:
    bundle = journal.secret(certificate.hmac)
    if bundle is None:
        raise OperationFailed(
            "not-found", f"the host no longer has certificate {certificate.name!r}: apply brings it again"
        )
    return bundle
