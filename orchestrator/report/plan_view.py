"""A plan as text: what happens to what, where and why.

Owns the layout and the symbols. Pure: a plan in, lines out. It reads names, hosts and reasons of a
plan and never the values an instance is configured with.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.planning.types import Action, Artifact, Change, Plan, RouterChange
from orchestrator.report.style import Role, Style, unstyled
from orchestrator.report.text import clean, plural, short_id
from orchestrator.report.wording import counts

_SYMBOLS: Mapping[Action, tuple[str, str, Role]] = {
    Action.KEEP: ("=", "keep", "dim"),
    Action.CREATE: ("+", "create", "create"),
    Action.REPLACE: ("±", "replace", "replace"),
    Action.REPLACE_STOP_FIRST: ("±", "replace", "replace"),
    Action.RESUME: ("±", "resume", "replace"),
    Action.REMOVE: ("-", "remove", "remove"),
    Action.DISCARD: ("-", "discard", "dim"),
}


def render_plan(
    plan: Plan, *, verbose: bool = False, width: int | None = None, style: Style = unstyled
) -> str:
    """Return :func:`lines` as one text that ends with a line end."""
    return "\n".join((*lines(plan, verbose=verbose, width=width, style=style), ""))


def lines(
    plan: Plan, *, verbose: bool = False, width: int | None = None, style: Style = unstyled
) -> tuple[str, ...]:
    """Return the whole plan as lines.

    Args:
        plan: What to show.
        verbose: List unchanged instances too, and why each instance is on its host.
        width: Columns to wrap at; ``None`` keeps one line per change, for ``grep``.
        style: Dresses symbols and words.
    """
    blocks = [
        _header(plan, style),
        tuple(line for item in plan.builds for line in _entry(*_build(item), width, style)),
        tuple(
            line
            for change in plan.changes
            if verbose or change.action is not Action.KEEP
            for line in _entry(*_change(change), width, style)
        ),
        tuple(
            line
            for symbol, sentence, role in traffic(plan)
            for line in _entry(symbol, sentence, role, width, style)
        ),
        tuple(line for host, why in plan.skipped for line in _entry(*_skip(host, why), width, style)),
        _explanations(plan, width, style) if verbose else (),
        (summary(plan, style),),
    ]
    return _join(blocks)


def summary(plan: Plan, style: Style = unstyled) -> str:
    """Return ``Plan: 2 to create, 1 to replace, 0 to remove, 7 unchanged``, or that nothing changes."""
    number = counts(plan)
    leftovers = sum(change.action is Action.DISCARD for change in plan.changes)
    if plan.empty:
        return style("No changes", "strong") + f": {plural(number['keep'], 'instance')} as wanted"
    parts = [
        f"{number['create']} to create",
        f"{number['replace']} to replace",
        f"{number['remove']} to remove",
        f"{number['keep']} unchanged",
    ]
    if plan.routers:
        parts.append(f"{plural(len(plan.routers), 'router')} to change")
    if leftovers:
        parts.append(f"{plural(leftovers, 'leftover')} to discard")
    if plan.forgets:
        parts.append(f"{plural(len({release for _, release in plan.forgets}), 'old release')} to forget")
    return style("Plan", "strong") + ": " + ", ".join(parts)


def describe(change: Change) -> str:
    """Return one change as a sentence: ``replace api[1] on web-2: environment LOG_LEVEL changed``."""
    _, text, _ = _change(change)
    return text


def traffic(plan: Plan) -> Iterator[tuple[str, str, Role]]:
    """Yield (symbol, sentence, role) of what happens to routers and traffic beside the instances."""
    for change in plan.routers:
        symbol, word, role = _router_words(change)
        reasons = "; ".join(reason.message for reason in change.reasons)
        sentence = f"{word} the router on {change.host}"
        yield symbol, clean(f"{sentence}: {reasons}" if reasons else sentence), role
    for host, service in plan.unserved:
        yield "±", clean(f"move the traffic of {service} on {host} back to where it should be"), "replace"
    for host, cutover in plan.armed:
        yield "!", clean(f"{host} still waits for the confirm of {cutover}: it is settled first"), "warning"
    for host in plan.unholds:
        yield "-", clean(f"end the hold of a release on {host}"), "dim"
    if plan.hold:
        yield "!", clean(f"stops before the cutover; deploy promote {plan.release} goes on"), "warning"


def _router_words(change: RouterChange) -> tuple[str, str, Role]:
    if change.desired is None:
        return "-", "remove", "remove"
    return ("±", "change", "replace") if change.current is not None else ("+", "start", "create")


def document(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON values, by a list of what may be shown: no configuration, no content."""
    return {
        "project": clean(plan.project),
        "release": clean(plan.release),
        "reason": clean(plan.reason),
        "changes": [_change_document(change) for change in plan.changes],
        "builds": [
            {"image": clean(item.name), "build": clean(item.build), "reference": clean(item.reference)}
            for item in plan.builds
        ],
        "skipped": [{"host": clean(host), "reason": clean(why)} for host, why in plan.skipped],
        "forgets": [{"host": clean(host), "release": clean(release)} for host, release in plan.forgets],
        "routers": [
            {"host": clean(change.host), "action": _router_words(change)[1], "reasons": _reasons(change)}
            for change in plan.routers
        ],
        "hold": plan.hold,
        "counts": counts(plan),
        "empty": plan.empty,
    }


def _change_document(change: Change) -> dict[str, Any]:
    return {
        "action": change.action.value,
        "service": clean(change.service),
        "slot": change.slot,
        "host": clean(change.host),
        "image": clean(change.desired.image) if change.desired else "",
        "reasons": _reasons(change),
    }


def _reasons(change: Change | RouterChange) -> list[dict[str, str]]:
    return [
        {"code": clean(reason.code), "message": clean(reason.message), "path": clean(reason.path)}
        for reason in change.reasons
    ]


def _header(plan: Plan, style: Style) -> tuple[str, ...]:
    return (style(clean(f"{plan.project} {plan.release}"), "strong") + clean(f" ({plan.reason})"),)


def _build(artifact: Artifact) -> tuple[str, str, Role]:
    if artifact.reference:
        return "+", clean(f"pull image {artifact.name}: {artifact.reference}"), "create"
    return "+", clean(f"build image {artifact.name}: inputs {short_id(artifact.build)}"), "create"


def _change(change: Change) -> tuple[str, str, Role]:
    symbol, word, role = _SYMBOLS[change.action]
    reasons = "; ".join(reason.message for reason in change.reasons)
    if change.action is Action.REPLACE_STOP_FIRST:
        reasons = f"{reasons} (stops before it starts)" if reasons else "stops before it starts"
    sentence = f"{word} {change.name} on {change.host}"
    return symbol, clean(f"{sentence}: {reasons}" if reasons else sentence), role


def _skip(host: str, why: str) -> tuple[str, str, Role]:
    return "!", clean(f"skip {host}: {why}"), "warning"


def _entry(symbol: str, text: str, role: Role, width: int | None, style: Style) -> tuple[str, ...]:
    rows = _wrap(text, width)
    return (f"  {style(symbol, role)} {rows[0]}", *(f"      {row}" for row in rows[1:]))


def _wrap(text: str, width: int | None) -> list[str]:
    if width is None:
        return [text]
    room = max(16, width - 6)
    return textwrap.wrap(text, room, subsequent_indent="", break_on_hyphens=False) or [""]


def _explanations(plan: Plan, width: int | None, style: Style) -> tuple[str, ...]:
    rows = plan.desired.explanations
    if not rows:
        return ()
    shown = (row for name, why in rows for row in _wrap(clean(f"{name}: {why}"), width))
    return (style("Placement", "strong"), *(f"    {row}" for row in shown))


def _join(blocks: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Put an empty line between blocks that have something."""
    result: list[str] = []
    for block in blocks:
        if block:
            result += ["", *block] if result else block
    return tuple(result)
