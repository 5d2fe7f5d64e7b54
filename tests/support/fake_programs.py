"""What runs inside the fake engine's containers: the few busybox applets that the tests use.

Each program writes to a log, ends with an exit status, and can be asked to end. They speak as the real
ones do, so that one suite of tests runs against the fake and against a real engine.
"""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class Process:
    """One run of a container's command, in threads of this process."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        address: str,
        files: Mapping[str, str],
        write: Callable[[str], None],
        ended: Callable[[int], None],
    ) -> None:
        self._words = [word for word in words if word not in ("/bin/busybox", "busybox")]
        self._address = address
        self._files = files
        self._write = write
        self._ended = ended
        self._stop = threading.Event()
        self.ignores_stop = "trap" in " ".join(words)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Run."""
        self.thread.start()

    def stop(self) -> None:
        """Ask the process to end; it then has exit status 143."""
        self._stop.set()

    def _run(self) -> None:
        self._ended(self._main(self._words))

    def _main(self, words: Sequence[str]) -> int:
        if words[:1] == ["httpd"]:
            return self._httpd(int(words[words.index("-p") + 1]))
        if words[:1] == ["sleep"]:
            return 143 if self._stop.wait(float(words[1])) else 0
        if words[:2] == ["sh", "-c"]:
            status = 0
            for part in re.split(r"[;&]+", words[2]):
                exit_word = re.fullmatch(r"\s*exit (\d+)\s*", part)
                if exit_word:
                    return int(exit_word[1])
                status = self._main(part.replace("exec ", "").replace("busybox ", "").split())
            return status
        output, status = run_command(words, b"", self._files)
        if output:
            self._write(output.decode().rstrip("\n"))
        return status

    def _httpd(self, port: int) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = b"ok\n" if self.path in ("/", "/health") else b"no\n"
                self.send_response(200 if body == b"ok\n" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with http.server.ThreadingHTTPServer((self._address, port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            self._stop.wait()
            server.shutdown()
            thread.join()
        return 143


def run_command(words: Sequence[str], given: bytes, files: Mapping[str, str]) -> tuple[bytes, int]:
    """Run one command and return its output and exit status.

    Args:
        words: The command, with or without ``busybox`` before it.
        given: Its input.
        files: Path inside the container -> path on this machine, of mounted files.
    """
    words = [word for word in words if word not in ("/bin/busybox", "busybox")]
    if words == ["cat"]:
        return given, 0
    if words[:1] == ["cat"]:
        source = files.get(words[1])
        return (Path(source).read_bytes(), 0) if source else (b"cat: can't open\n", 1)
    if words[:1] == ["echo"]:
        return (" ".join(words[1:]) + "\n").encode(), 0
    if words[:2] == ["sh", "-c"]:
        found = re.fullmatch(r"(?:echo ([^;]*); *)?exit (\d+)", words[2])
        if found:
            return (f"{found[1]}\n".encode() if found[1] else b""), int(found[2])
    if words[:1] in (["true"], ["trap"], [":"]) or not words:
        return b"", 0
    return (b"", 1) if words[:1] == ["false"] else (b"not found\n", 127)
