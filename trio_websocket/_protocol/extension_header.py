"""The Sec-WebSocket-Extensions header (RFC 6455 section 9.1).

A list of extensions, each a name and parameters; a parameter may have a value, written
as a token or as a quoted string that holds one. wsproto cuts the list at every comma,
also at one within quotes; so it is read here.

Reading takes one pass and time in proportion to the length, whatever is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SPACE = re.compile(r"[ \t]*")
# A quoted string whose content, without its backslashes, is to be a token.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_MAX_SHOWN = 40  # characters of what is wrong: the sentence ends up in logs


class BadExtensions(ValueError):
    """The header breaks its grammar. The text is the end of a sentence."""


@dataclass(frozen=True, slots=True)
class ExtensionUse:
    """One extension as it is offered or accepted.

    Attributes:
        name: A token.
        parameters: Names and values in the order of the wire, with repetitions; the
            value is None if there is none.

    """

    name: str
    parameters: tuple[tuple[str, str | None], ...] = ()

    def __str__(self) -> str:
        parts = [self.name]
        parts += [
            name if value is None else f"{name}={value}"
            for name, value in self.parameters
        ]
        return "; ".join(parts)


def parse_extensions(values: Iterable[bytes]) -> list[ExtensionUse]:
    """Read the values of all headers of that name, as one list.

    Raises:
        BadExtensions: If they break the grammar.

    """
    try:
        text = b",".join(values).decode("ascii")
    except UnicodeDecodeError:
        raise BadExtensions("the extensions are not ASCII") from None
    return _Reader(text).read_list()


def read_parameters(use: ExtensionUse) -> dict[str, str | None]:
    """Read the parameters of an extension as a mapping.

    Raises:
        BadExtensions: If one is there twice.

    """
    parameters = dict(use.parameters)
    if len(parameters) < len(use.parameters):
        shown = str(use)[:_MAX_SHOWN]
        raise BadExtensions(f"the extensions have a parameter twice in {shown!r}")
    return parameters


def build_use(
    name: str, parameters: Mapping[str, str | int | bool | None]
) -> ExtensionUse:
    """Build an extension as it is offered or accepted.

    Args:
        name: A token.
        parameters: True has the name stand alone, None and False leave it out, and an
            int is written as its digits.

    Raises:
        ValueError: If a name or value is not a token.

    """
    written: list[tuple[str, str | None]] = []
    for parameter, value in parameters.items():
        if value is None or value is False:
            continue
        text = None if value is True else str(value)
        if not is_token(parameter) or not (text is None or is_token(text)):
            shown = parameter if text is None else f"{parameter}={text}"
            raise ValueError(
                f"the extension {name} cannot have the parameter {shown!r}"
            )
        written.append((parameter, text))
    return ExtensionUse(name, tuple(written))


def is_token(text: str) -> bool:
    """Whether a text can be a name or a value (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def build_extensions(uses: Iterable[ExtensionUse]) -> bytes:
    """Write extensions as the value of one header."""
    return ", ".join(map(str, uses)).encode("ascii")


class _Reader:
    """Reads the text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def read_list(self) -> list[ExtensionUse]:
        uses: list[ExtensionUse] = []
        while True:
            # RFC 9110 section 5.6.1 allows empty members.
            while self._skip(","):
                pass
            if self._position == len(self._text):
                return uses
            uses.append(self._read_use())
            if self._position < len(self._text) and not self._skip(","):
                raise self._complain("a comma or semicolon")

    def _read_use(self) -> ExtensionUse:
        name = self._read_token("the name of an extension")
        parameters: list[tuple[str, str | None]] = []
        while self._skip(";"):
            parameter = self._read_token("the name of a parameter")
            value = self._read_value() if self._skip("=") else None
            parameters.append((parameter, value))
        return ExtensionUse(name, tuple(parameters))

    def _read_value(self) -> str:
        quoted = _QUOTED.match(self._text, self._position)
        if quoted is None:
            return self._read_token("a value")
        value = _ESCAPED.sub(r"\1", quoted[1])
        if not _TOKEN.fullmatch(value):
            raise self._complain("a token within the quotes")
        self._position = quoted.end()
        self._skip_space()
        return value

    def _read_token(self, what: str) -> str:
        token = _TOKEN.match(self._text, self._position)
        if token is None:
            raise self._complain(what)
        self._position = token.end()
        self._skip_space()
        return token[0]

    def _skip(self, sign: str) -> bool:
        """Pass over a sign and the white space round it, if it is there."""
        self._skip_space()
        if not self._text.startswith(sign, self._position):
            return False
        self._position += len(sign)
        self._skip_space()
        return True

    def _skip_space(self) -> None:
        space = _SPACE.match(self._text, self._position)
        assert space is not None
        self._position = space.end()

    def _complain(self, wanted: str) -> BadExtensions:
        found = self._text[self._position :][:_MAX_SHOWN]
        return BadExtensions(f"the extensions have {found!r} where {wanted} belongs")
