"""From a host's merged variables to a :class:`~orchestrator.spec.inventory_types.Host`.

Owns which Ansible variables are honoured and how. It must not know how variables were merged, or
OpenSSH's own configuration, which ``remote/`` resolves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import Problem
from orchestrator.spec.inventory_types import Host
from orchestrator.spec.location import Location
from orchestrator.spec.positions import Positions
from orchestrator.spec.ssh_args import parse_ssh_args
from orchestrator.spec.values import kind
from orchestrator.spec.yaml_data import Map

_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9_.:-]{0,252}(%[A-Za-z0-9_.-]{1,15})?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_MAGIC = re.compile(r"\{\{\s*(inventory_dir|inventory_hostname)\s*\}\}")
_CONNECTIONS: dict[str, Literal["ssh", "local"]] = {
    "ssh": "ssh",
    "smart": "ssh",
    "paramiko": "ssh",
    "paramiko_ssh": "ssh",
    "ansible.builtin.ssh": "ssh",
    "ansible.builtin.paramiko_ssh": "ssh",
    "local": "local",
    "ansible.builtin.local": "local",
}
_SUDO_HINT = "let sudo -n work for this user, or use one that may use the engine"
_NOT_HONOURED = {
    "ansible_password": "use a key, or the ssh-agent",
    "ansible_ssh_pass": "use a key, or the ssh-agent",
    "ansible_ssh_password": "use a key, or the ssh-agent",
    "ansible_become_pass": _SUDO_HINT,
    "ansible_become_password": _SUDO_HINT,
    "ansible_ssh_executable": "connections are made without the ssh program",
    "ansible_shell_type": "the agent needs no particular shell",
}


@dataclass
class Findings:
    """What reading the variables of all hosts brought up; each place is reported once."""

    problems: dict[tuple[Location, str], Problem] = field(default_factory=dict)
    warnings: dict[tuple[Location, str], Problem] = field(default_factory=dict)


def read_host(
    name: str,
    variables: Map,
    *,
    labels: Mapping[str, Any],
    groups: tuple[str, ...],
    position: Location,
    directory: Path,
    findings: Findings,
) -> Host:
    """Return the host that ``variables`` describe; what is wrong is added to ``findings``.

    Args:
        name: In the inventory.
        variables: Merged by precedence.
        labels: Merged from all levels, a :class:`Map` where they were read from a file.
        groups: Sorted, without ``all``.
        position: Where the host is first written.
        directory: Absolute folder of the inventory.
        findings: Collects problems and warnings.
    """
    reader = _Reader(name, variables, directory, findings)
    options = reader.ssh_options()
    identities = [reader.text("ansible_ssh_private_key_file", "ansible_private_key_file")]
    identities += [value for option, value in options if option == "IdentityFile"]
    single = dict(option for option in options if option[0] != "IdentityFile")
    port, user = single.pop("Port", None), single.pop("User", None)
    become_user = reader.text("ansible_become_user") or "root"
    become = reader.flag("ansible_become")
    if become and become_user != "root":
        reader.problem("ansible_become_user", f"the agent becomes root or nobody, not {become_user!r}")
    for variable, hint in _NOT_HONOURED.items():
        if variable in variables:
            reader.warn(variable, f"{variable} is not honoured", hint)
    return Host(
        name=name,
        address=reader.text("ansible_host", "ansible_ssh_host", pattern=_ADDRESS, what="an address") or name,
        port=reader.port() or (int(port) if port else None),
        user=reader.text("ansible_user", "ansible_ssh_user", pattern=_USER, what="a user") or user,
        identity_files=tuple(reader.file(identity) for identity in identities if identity),
        connection=reader.connection(),
        options=tuple(sorted(single.items())),
        become=become,
        groups=groups,
        labels=reader.labels(labels),
        vars=variables,
        position=position,
    )


class _Reader:
    """Reads single variables of one host."""

    def __init__(self, name: str, variables: Map, directory: Path, findings: Findings) -> None:
        self._name = name
        self._variables = variables
        self._directory = directory
        self._findings = findings
        self._places = Positions(variables)

    def _add(self, to: dict[tuple[Location, str], Problem], variable: str, message: str, hint: str) -> None:
        place = self._places.at((variable,))
        to.setdefault((place, message), place.problem(message, path=f"{self._name}.{variable}", hint=hint))

    def problem(self, variable: str, message: str, hint: str = "") -> None:
        self._add(self._findings.problems, variable, message, hint)

    def warn(self, variable: str, message: str, hint: str = "") -> None:
        self._add(self._findings.warnings, variable, message, hint)

    def _given(self, *variables: str) -> str | None:
        return next((each for each in variables if self._variables.get(each) is not None), None)

    def text(self, *variables: str, pattern: re.Pattern[str] | None = None, what: str = "text") -> str | None:
        """Return the first of ``variables`` that is given, with Ansible's two plainest templates replaced."""
        variable = self._given(*variables)
        if variable is None:
            return None
        value = self._variables[variable]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self.problem(variable, f"{variable} expects {what}, got a {kind(value)}")
            return None
        text = _MAGIC.sub(
            lambda match: str(self._directory) if match[1] == "inventory_dir" else self._name, str(value)
        )
        if "{{" in text or "{%" in text:
            message = f"the template in {variable} cannot be resolved"
            self.problem(
                variable, message, "only {{ inventory_dir }} and {{ inventory_hostname }} are known here"
            )
            return None
        if (pattern is not None and not pattern.fullmatch(text)) or re.search(r"[\x00-\x1f\x7f]", text):
            self.problem(variable, f"{variable} expects {what}, got {text!r}")
            return None
        return text

    def port(self) -> int | None:
        variable = self._given("ansible_port", "ansible_ssh_port")
        text = self.text(variable) if variable else None
        if variable is None or text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
            self.problem(variable, f"{variable} expects a port between 1 and 65535, got {text!r}")
            return None
        return int(text)

    def flag(self, variable: str) -> bool:
        value = self._variables.get(variable)
        word = str(value).lower()
        if value is not None and word not in ("true", "false", "yes", "no", "on", "off", "1", "0"):
            self.problem(variable, f"{variable} expects true or false, got {value!r}")
        return word in ("true", "yes", "on", "1")

    def connection(self) -> Literal["ssh", "local"]:
        variable = self._given("ansible_connection", "connection")
        text = self.text(variable) if variable else "ssh"
        if text not in _CONNECTIONS:
            self.problem(variable or "", f"the connection {text!r} is not known here", "use ssh or local")
            return "ssh"
        return _CONNECTIONS[text]

    def file(self, path: str) -> str:
        """Return an identity file: ``~`` and OpenSSH's ``%`` tokens stay, anything relative starts here."""
        return path if path.startswith(("/", "~", "%")) else str(self._directory / path)

    def ssh_options(self) -> tuple[tuple[str, str], ...]:
        options: list[tuple[str, str]] = []
        for variable in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"):
            text = self.text(variable, what="arguments of ssh")
            if not text:
                continue
            try:
                parsed = parse_ssh_args(text)
            except ValueError as error:
                self.problem(variable, str(error))
                continue
            for message, hint in parsed.warnings:
                self.warn(variable, message, hint)
            taken = {name for name, _ in options}
            options += [item for item in parsed.options if item[0] == "IdentityFile" or item[0] not in taken]
        return tuple(options)

    def labels(self, labels: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        for key, value in labels.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if (
                _LABEL_KEY.fullmatch(key)
                and isinstance(value, str | int | float)
                and _LABEL_VALUE.fullmatch(text)
            ):
                found[key] = text
                continue
            place = Positions(labels).at((key,)) if isinstance(labels, Map) else Location()
            message = f"expected a label such as zone: a (letters, digits, . _ and -), got {key}: {value!r}"
            problem = place.problem(message, path=f"{self._name}.labels.{key}")
            self._findings.problems.setdefault((place, message), problem)
        return tuple(sorted(found.items()))
