"""Which extensions both ends use (RFC 6455 section 9.1).

Theory of operation
===================

A client offers; several offers of one name are alternatives, the best first. The server
goes through them in the client's order and accepts the first alternative that it can,
unless what it needs is taken already: the name, or a reserved bit, by an extension that
came earlier. So in a conflict the first in the client's order wins. What the server
cannot read or does not know it declines, which is no error.

The client cannot decline. An answer with anything that it did not offer, or that does
not fit together, fails the handshake.

permessage-deflate (RFC 7692) is one extension among others here: it has one name, one
bit, and a place in the order. A client offers it behind those of the program.

The order of the answer is the order in which the extensions are run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .._errors import InvalidHandshake
from .._options import PerMessageDeflate
from .deflate import (
    NAME as DEFLATE,
    BadAgreement,
    Codec,
    DeflateAgreement,
    answer_offers,
    build_codec,
    build_offers,
    judge_answer,
)
from .extension import Extension, find_mask
from .extension_header import BadExtensions, ExtensionUse, build_use, read_parameters
from .extension_stack import Deflation, ExtensionStack

_DEFLATE_MASK = 4  # RSV1
_MAX_SHOWN = 100  # characters: the sentence ends up in logs


@dataclass(frozen=True, slots=True)
class Accepted:
    """What both ends use.

    Attributes:
        order: The extensions in the order of the answer; for compression, what was
            agreed on.
        deflate: How this end compresses, if it does.

    """

    order: tuple[Extension | DeflateAgreement, ...] = ()
    deflate: PerMessageDeflate | None = None

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """Those of the program's."""
        return tuple(each for each in self.order if isinstance(each, Extension))

    @property
    def compression(self) -> DeflateAgreement | None:
        """What was agreed on about compression."""
        for each in self.order:
            if isinstance(each, DeflateAgreement):
                return each
        return None

    def build(self, *, is_client: bool) -> tuple[Codec | None, ExtensionStack | None]:
        """Build what an engine works with: a codec if that is all, or a stack."""
        codec = None
        if self.compression is not None:
            assert self.deflate is not None
            codec = build_codec(self.deflate, self.compression, is_client=is_client)
        if not self.extensions:
            return codec, None
        stack: list[Extension] = []
        for each in self.order:
            if isinstance(each, Extension):
                stack.append(each)
            else:
                assert codec is not None
                stack.append(Deflation(codec))
        return None, ExtensionStack(stack)


class Negotiation:
    """What one end would use, and what comes of it.

    Args:
        extensions: Those of the program's, made for one connection.
        deflate: How to compress, if at all.

    Raises:
        ValueError: If there are two of one name.

    """

    def __init__(
        self, extensions: Sequence[Extension], deflate: PerMessageDeflate | None
    ) -> None:
        self._extensions = {each.name: each for each in extensions}
        self._deflate = deflate
        names = [each.name for each in extensions]
        names += [] if deflate is None else [DEFLATE]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"there are two extensions of the name {name}")
        self._offered: set[str] = set()

    # The client.

    def offer(self) -> list[ExtensionUse]:
        """Tell what to offer.

        Raises:
            ValueError: If it cannot be written.

        """
        uses = [
            build_use(name, parameters)
            for name, extension in self._extensions.items()
            for parameters in extension.offer()
        ]
        if self._deflate is not None:
            uses += build_offers(self._deflate)
        self._offered = {use.name for use in uses}
        return uses

    def judge(self, uses: Iterable[ExtensionUse]) -> Accepted:
        """Find out what the server has accepted.

        Raises:
            InvalidHandshake: If that cannot be agreed to.

        """
        order: list[Extension | DeflateAgreement] = []
        masks: dict[str, int] = {}
        for use in uses:
            name = use.name
            if name not in self._offered:
                shown = name[:_MAX_SHOWN]
                problem = (
                    f"the server chose the extension {shown}, which was not offered"
                )
                raise InvalidHandshake(problem)
            if name in masks:
                raise InvalidHandshake("the server chose an extension twice")
            mask = self._find_mask(name)
            for other, taken in masks.items():
                if mask & taken:
                    problem = (
                        f"the server chose the extensions {other} and {name}, which"
                        " use the same reserved bit"
                    )
                    raise InvalidHandshake(problem)
            masks[name] = mask
            order.append(self._confirm(use))
        return Accepted(tuple(order), self._deflate)

    def _confirm(self, use: ExtensionUse) -> Extension | DeflateAgreement:
        extension = self._extensions.get(use.name)
        if extension is None:
            assert self._deflate is not None
            try:
                return judge_answer(self._deflate, use)
            except BadAgreement as error:
                raise InvalidHandshake(error.problem) from None
        try:
            parameters = read_parameters(use)
        except BadExtensions as error:
            raise InvalidHandshake(str(error)) from None
        try:
            extension.confirm(parameters)
        except ValueError as error:
            shown = str(use)[:_MAX_SHOWN]
            problem = f"the server chose the extension {shown}: {error}"
            raise InvalidHandshake(problem) from error
        return extension

    # The server.

    def answer(
        self, offers: Sequence[ExtensionUse]
    ) -> tuple[Accepted, list[ExtensionUse]]:
        """Accept what can be accepted.

        Args:
            offers: What the client offers, in its order.

        Returns:
            What is used, and how to say so.

        Raises:
            ValueError: If an extension accepts with parameters that cannot be written.

        """
        order: list[Extension | DeflateAgreement] = []
        uses: list[ExtensionUse] = []
        names: set[str] = set()
        taken = 0
        for offer in offers:
            mask = self._find_mask(offer.name)
            if offer.name in names or mask & taken:
                continue
            accepted = self._accept(offer)
            if accepted is not None:
                order.append(accepted[0])
                uses.append(accepted[1])
                names.add(offer.name)
                taken |= mask
        return Accepted(tuple(order), self._deflate), uses

    def _accept(
        self, offer: ExtensionUse
    ) -> tuple[Extension | DeflateAgreement, ExtensionUse] | None:
        """Accept one offer; None if it is declined."""
        extension = self._extensions.get(offer.name)
        if extension is None:
            if self._deflate is None:
                return None
            return answer_offers(self._deflate, [offer])
        try:
            parameters = extension.accept(read_parameters(offer))
        except ValueError:
            return None
        if parameters is None:
            return None
        return extension, build_use(offer.name, parameters)

    def _find_mask(self, name: str) -> int:
        extension = self._extensions.get(name)
        if extension is not None:
            return find_mask(extension)
        return _DEFLATE_MASK if name == DEFLATE else 0
