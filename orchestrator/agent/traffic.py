"""What ``observe`` says of a project's router and of a held release, where there is any.

Owns the question whether there is: :mod:`.router` is imported only then, because every host of every run
pays for what an observation imports. It must not know how traffic is moved.
"""

from __future__ import annotations

from typing import List, Optional

from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.journal import Journal
from orchestrator.agent.say import say
from orchestrator.protocol.messages import Held
from orchestrator.protocol.routing import RoutingReport


def settle(engine: Engine, journal: Journal) -> None:
    """Bring an unconfirmed cutover to its end; when that fails, looking must still be possible."""
    if not _has_router(journal):
        return
    from orchestrator.agent.router import guard  # noqa: PLC0415 - see above

    try:
        guard.settle(engine, journal)
    except (OperationFailed, EngineError, OSError) as error:
        say(f"cannot go back to what was served before: {error}")


def routing(engine: Engine, journal: Journal) -> Optional[RoutingReport]:
    """Return what the router serves, or ``None`` when the project never had one here."""
    if not _has_router(journal):
        return None
    from orchestrator.agent.router import report  # noqa: PLC0415 - see above

    return report.routing(engine, journal)


def held(journal: Journal) -> Optional[Held]:
    """Return the release that is held, or ``None``."""
    if not (journal.files.base / "held.json").exists():
        return None
    from orchestrator.agent.router import holding  # noqa: PLC0415 - see above

    return holding.held(journal)


def marks(journal: Journal) -> List[str]:
    """Return what a plan depends on: the router's picture and the held release, empty where there is none."""
    waiting, picture = held(journal), None
    if _has_router(journal):
        from orchestrator.agent.router.home import Home  # noqa: PLC0415 - see above

        picture = Home(journal.files).picture()
    return [picture.digest if picture else "", waiting.record.id if waiting else ""]


def _has_router(journal: Journal) -> bool:
    return (journal.files.base / "router").is_dir()
