"""What a Dockerfile stands on, and the same Dockerfile standing on other images.

Owns finding the image references of a Dockerfile (`FROM`, `COPY --from=`, `RUN --mount=from=`) and
replacing them in place. It understands only as much of the language as that needs: parser directives,
continued lines, comments inside them, here-documents, and `ARG` before the first `FROM`. Everything
else is the builder's business, so a Dockerfile is never rejected here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*$")
_HEREDOC = re.compile(r"<<(-?)([\"']?)([A-Za-z_][A-Za-z0-9_]*)\2")
_VARIABLE = re.compile(r"\\\$|\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^}]*))?\})")
_WORD = re.compile(r"\S+")
_MOUNT_FROM = re.compile(r"--mount=(?:\S*,)?from=([^,\s]+)")
_COPY_FROM = re.compile(r"--from=(\S+)")


@dataclass(frozen=True)
class Reference:
    """One place that names an image."""

    image: str
    """The name with build arguments filled in."""
    start: int
    """Offset into the text of the first character that is replaced."""
    end: int
    """Offset after the last one."""
    line: int
    """1-based."""
    stage: str = ""
    """``AS`` name of the stage a `FROM` begins."""


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile and the images outside of it that it names."""

    text: str
    references: tuple[Reference, ...]
    """Names of earlier stages and ``scratch`` are not among them."""
    lines: tuple[int, ...] = ()
    """1-based line of each instruction, in order: what a builder's step numbers count."""

    @property
    def images(self) -> tuple[str, ...]:
        """The names, each once, in order of appearance."""
        return tuple(dict.fromkeys(reference.image for reference in self.references))

    def rewritten(self, instead: Mapping[str, str]) -> str:
        """Return the text with every reference that is a key of ``instead`` replaced by its value."""
        pieces, at = [], 0
        for reference in self.references:
            if reference.image in instead:
                pieces += [self.text[at : reference.start], instead[reference.image]]
                at = reference.end
        return "".join([*pieces, self.text[at:]])


def parse(text: str, args: Mapping[str, str] | None = None) -> Dockerfile:
    """Find the images that ``text`` names.

    Args:
        text: The Dockerfile.
        args: Build arguments; they win over the defaults of `ARG` before the first `FROM`.
    """
    reader = _Reader(args or {})
    lines = []
    for instruction in _instructions(text):
        reader.read(instruction)
        lines.append(instruction.line)
    return Dockerfile(text, tuple(reader.references), tuple(lines))


@dataclass(frozen=True)
class _Instruction:
    """One instruction with its continued lines joined."""

    keyword: str
    """Upper case."""
    text: str
    """What follows the keyword."""
    offsets: tuple[int, ...]
    """For each character of ``text``, where it stands in the file."""
    line: int


class _Reader:
    """Goes through the instructions and remembers stages and arguments."""

    def __init__(self, args: Mapping[str, str]) -> None:
        self.references: list[Reference] = []
        self._given = args
        self._args: dict[str, str] = {}
        self._stages: set[str] = set()
        self._count = 0

    def read(self, instruction: _Instruction) -> None:
        if instruction.keyword == "FROM":
            self._from(instruction)
        elif instruction.keyword == "ARG" and not self._count:
            self._arg(instruction)
        elif instruction.keyword in {"COPY", "ADD"}:
            self._flags(instruction, _COPY_FROM)
        elif instruction.keyword == "RUN":
            self._flags(instruction, _MOUNT_FROM)

    def _arg(self, instruction: _Instruction) -> None:
        for word in _WORD.findall(instruction.text):
            name, _, default = word.partition("=")
            value = self._given.get(name, self._expand(default.strip("\"'")))
            self._args[name] = value

    def _from(self, instruction: _Instruction) -> None:
        words = [match for match in _WORD.finditer(instruction.text) if not match[0].startswith("--")]
        if not words:
            return
        stage = words[2][0] if len(words) >= 3 and words[1][0].lower() == "as" else ""
        self._add(instruction, words[0].start(), words[0].end(), stage)
        self._stages.add(str(self._count))
        if stage:
            self._stages.add(stage.lower())
        self._count += 1

    def _flags(self, instruction: _Instruction, pattern: re.Pattern[str]) -> None:
        for word in _WORD.finditer(instruction.text):
            if not word[0].startswith("--"):
                return
            found = pattern.fullmatch(word[0]) or pattern.match(word[0])
            if found is not None:
                self._add(instruction, word.start() + found.start(1), word.start() + found.end(1), "")

    def _add(self, instruction: _Instruction, start: int, end: int, stage: str) -> None:
        image = self._expand(instruction.text[start:end].strip("\"'"))
        if image.lower() in self._stages or image == "scratch" or not image:
            return
        first, last = instruction.offsets[start], instruction.offsets[end - 1] + 1
        self.references.append(Reference(image, first, last, instruction.line, stage))

    def _expand(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name is None:
                return "$"
            known, operator, word = self._args.get(name, ""), match[3] or "", match[4] or ""
            if operator.endswith("-"):
                return known or word
            if operator.endswith("+"):
                return word if known else ""
            return known

        return _VARIABLE.sub(value, text)


def _instructions(text: str) -> Iterator[_Instruction]:
    lines = text.splitlines(keepends=True)
    escape = _escape(lines)
    number, offset = 0, 0
    while number < len(lines):
        joined: list[str] = []
        offsets: list[int] = []
        first, more = number + 1, True
        while more and number < len(lines):
            line = lines[number]
            body = line.rstrip()
            if body.lstrip().startswith("#") or (not body and joined):
                more = bool(joined)
            else:
                more = body.endswith(escape) and bool(body)
                kept = body[:-1] if more else body
                joined.append(kept)
                offsets.extend(range(offset, offset + len(kept)))
            number, offset = number + 1, offset + len(line)
        instruction = _instruction("".join(joined), tuple(offsets), first)
        if instruction is None:
            continue
        yield instruction
        if instruction.keyword in {"RUN", "COPY", "ADD"}:
            for dash, _quote, name in _HEREDOC.findall(instruction.text):
                while number < len(lines):
                    line = lines[number]
                    number, offset = number + 1, offset + len(line)
                    if (line.lstrip("\t") if dash else line).rstrip("\r\n") == name:
                        break


def _instruction(joined: str, offsets: tuple[int, ...], line: int) -> _Instruction | None:
    match = re.match(r"\s*([A-Za-z]+)(?:\s+|$)", joined)
    if match is None:
        return None
    return _Instruction(match[1].upper(), joined[match.end() :], offsets[match.end() :], line)


def _escape(lines: list[str]) -> str:
    for line in lines:
        directive = _DIRECTIVE.match(line.strip())
        if directive is None:
            break
        if directive[1].lower() == "escape":
            return directive[2]
    return "\\"
