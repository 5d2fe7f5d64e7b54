"""An SSH server in this process, on a loopback port, that runs what it is asked to by ``/bin/sh``."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

import paramiko
from paramiko.common import cMSG_CHANNEL_SUCCESS


class _Policy(paramiko.ServerInterface):
    """Who may log in, and what for."""

    def __init__(self, server: SshServer) -> None:
        self._server = server

    def get_allowed_auths(self, _username: str) -> str:
        return self._server.methods

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self._server.tried.append((username, key.asbytes()))
        accepted = username == self._server.user and key.asbytes() in self._server.accepted
        return paramiko.AUTH_SUCCESSFUL if accepted else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, _chanid: int) -> int:
        allowed = kind == "session" and self._server.sessions
        return paramiko.OPEN_SUCCEEDED if allowed else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_direct_tcpip_request(self, chanid: int, _origin: object, where: tuple[str, int]) -> int:
        self._server.forwarded.append(where)
        self._server.destinations[chanid] = where
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server.commands.append(command.decode())
        channel.transport.accepted.append((channel, command.decode()))
        return True


class _Transport(paramiko.Transport):
    """Starts a command when the client has been told that it will run, as a real server does."""

    def __init__(self, connection: socket.socket, server: SshServer) -> None:
        super().__init__(connection)
        self.accepted: list[tuple[paramiko.Channel, str]] = []
        self._server = server

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)
        if data.asbytes().startswith(cMSG_CHANNEL_SUCCESS):
            while self.accepted:
                threading.Thread(target=self._server.run, args=self.accepted.pop(), daemon=True).start()


class SshServer:
    """One server with one user.

    Args:
        host_key: What it identifies itself with.
        accepted: Public keys that may log in.
        env: Environment of the commands it runs.
        drop: How many connections it closes before it says anything.
    """

    def __init__(
        self,
        host_key: paramiko.PKey,
        accepted: tuple[paramiko.PKey, ...] = (),
        env: Mapping[str, str] | None = None,
        drop: int = 0,
    ) -> None:
        self.host_key = host_key
        self.accepted = {key.asbytes() for key in accepted}
        self.env = dict(env or os.environ)
        self.user = "deploy"
        self.methods = "publickey"
        self.sessions = True
        self.drop = drop
        self.connections = 0
        self.tried: list[tuple[str, bytes]] = []
        self.commands: list[str] = []
        self.forwarded: list[tuple[str, int]] = []
        self.destinations: dict[int, tuple[str, int]] = {}
        self.transports: list[paramiko.Transport] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._outside: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def known_hosts_line(self, name: str | None = None) -> str:
        """Return the entry that makes this server known."""
        shown = name or f"[127.0.0.1]:{self.port}"
        return f"{shown} {self.host_key.get_name()} {self.host_key.get_base64()}\n"

    def close(self) -> None:
        """Stop listening and drop every connection."""
        with contextlib.suppress(OSError, EOFError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.disconnect()
        for outside in self._outside:
            with contextlib.suppress(OSError, EOFError):
                outside.shutdown(socket.SHUT_RDWR)
            outside.close()
        for thread in self._threads:
            thread.join(5)

    def disconnect(self) -> None:
        """Drop every connection, as a network would."""
        for transport in self.transports:
            transport.close()
            transport.join(5)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.connections <= self.drop:
                connection.close()
                continue
            transport = _Transport(connection, self)
            transport.add_server_key(self.host_key)
            self.transports.append(transport)
            # A client that does not trust us leaves in the middle of the handshake.
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                transport.start_server(server=_Policy(self))
                self._start(self._serve, transport)

    def _serve(self, transport: paramiko.Transport) -> None:
        """Carry what is forwarded; commands have threads of their own."""
        while transport.is_active():
            channel = transport.accept(0.05)
            where = self.destinations.get(channel.chanid) if channel is not None else None
            if where is not None:
                outside = socket.create_connection(where)
                self._outside.append(outside)
                self._start(_copy, channel.recv, outside.sendall, outside)
                self._start(_copy, outside.recv, channel.sendall, channel)

    def run(self, channel: paramiko.Channel, command: str) -> None:
        """Run a command with the channel as its streams."""
        with subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            bufsize=0,
        ) as process:

            def feed() -> None:
                with contextlib.suppress(OSError), process.stdin:
                    while data := channel.recv(65536):
                        process.stdin.write(data)

            def complain() -> None:
                with contextlib.suppress(OSError, EOFError):
                    while data := process.stderr.read(4096):
                        channel.sendall_stderr(data)

            helpers = [threading.Thread(target=target, daemon=True) for target in (feed, complain)]
            for helper in helpers:
                helper.start()
            with contextlib.suppress(OSError, EOFError):
                while data := process.stdout.read(65536):
                    channel.sendall(data)
            process.wait()
            helpers[1].join(5)
            with contextlib.suppress(OSError, EOFError):
                channel.send_exit_status(process.returncode)
            with contextlib.suppress(OSError, EOFError):
                channel.close()
            helpers[0].join(5)


def _copy(receive: object, send: object, end: object) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := receive(65536):
            send(data)
    with contextlib.suppress(OSError, EOFError):
        # A close alone would not wake whoever reads from it.
        end.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError, EOFError):  # the transport may be gone before its channel
        end.close()


def new_key() -> paramiko.PKey:
    """Return a fresh key; elliptic curves are the fastest to make."""
    return paramiko.ECDSAKey.generate()


def write_key(path: Path, key: paramiko.PKey, password: str | None = None) -> Path:
    """Store a private key, and the public one beside it, as ``ssh-keygen`` does."""
    key.write_private_key_file(str(path), password=password)
    path.with_name(f"{path.name}.pub").write_text(f"{key.get_name()} {key.get_base64()}\n")
    return path
