"""Have the reference say what a program can use.

autodoc finds objects where they are defined, which is in private modules; programs
import them from a public one. And without an inventory (none is ever fetched) Sphinx
knows no name of Trio, so each is looked up in what is installed: one that exists is
printed without a link, one that does not is reported, as Sphinx does in nitpicky mode.
Signatures lose what is of no use to a reader.
"""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from types import ModuleType
from typing import cast

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.typing import ExtensionMetadata

import trio_websocket
import trio_websocket.extensions
import trio_websocket.frames
import trio_websocket.testing
from trio_websocket._client.connect import ConnectArgs
from trio_websocket._connection.arguments import CommonArgs
from trio_websocket._server.serve import WrapArgs
from trio_websocket._server.server import ServerArgs

_PUBLIC_MODULES = (
    trio_websocket,
    trio_websocket.extensions,
    trio_websocket.frames,
    trio_websocket.testing,
)

# What only the library constructs: its arguments are nobody's business.
_NOT_CONSTRUCTED: tuple[object, ...] = (
    trio_websocket.ByteStream,
    trio_websocket.BytesReader,
    trio_websocket.MessageWriter,
    trio_websocket.TextReader,
    trio_websocket.WebSocketConnection,
    trio_websocket.WebSocketRequest,
)

# Keywords that a signature does not spell out.
_MORE = {
    kind.__name__: kind for kind in (CommonArgs, ConnectArgs, WrapArgs, ServerArgs)
}
_UNPACK = re.compile(r"\*\*more: ~?(?:\w+\.)*Unpack\[~?(?:\w+\.)*(\w+)\]")

# How Sphinx prints a type that autodoc_type_aliases is to keep, inside of another.
_ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")

# What a reader calls by the name behind "as".
_CONTEXT = re.compile(r"~?(?:\w+\.)*(?:AsyncGenerator|AbstractAsyncContextManager)\[.*")

_STANDARD = {"trio", *sys.stdlib_module_names}


def find_public_names(modules: tuple[ModuleType, ...]) -> Iterator[tuple[str, str]]:
    """Find where each public object is defined, and by which name it is public."""
    for module in modules:
        for name, value in cast("Mapping[str, object]", vars(module)).items():
            home = getattr(value, "__module__", None)
            if isinstance(home, str) and not name.startswith("_"):
                yield f"{home}.{name}", f"{module.__name__}.{name}"


def exists(target: str) -> bool:
    """Tell whether a dotted name is a builtin, or in the standard library or Trio."""
    if target.partition(".")[0] not in _STANDARD:
        target = f"builtins.{target}"
    try:
        pkgutil.resolve_name(target)
    except (AttributeError, ImportError, ValueError):
        return False
    return True


_PUBLIC = dict(find_public_names(_PUBLIC_MODULES))


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Element | None:
    """Resolve a reference that Sphinx could not."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py":
        return None
    public = _PUBLIC.get(target)
    if public is not None:
        domain = env.domains.python_domain
        document = str(node["refdoc"])
        return domain.resolve_xref(
            env, document, app.builder, "obj", public, node, contnode
        )
    return contnode if exists(target) else None


def shorten_signature(
    _app: Sphinx,
    _what: str,
    _name: str,
    obj: object,
    _options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str, str] | None:
    """Put into a signature what a reader can use."""
    is_enum = isinstance(obj, type) and issubclass(obj, Enum)
    if is_enum or obj in _NOT_CONSTRUCTED:
        return "", ""
    if signature is None:
        return None
    if returns is not None and _CONTEXT.fullmatch(returns):
        returns = ""
    signature = _ALIAS.sub(r"\1", signature)
    returns = _ALIAS.sub(r"\1", returns or "")
    return _UNPACK.sub(_list_keywords, signature), returns


def keep_sentence(
    _app: Sphinx,
    what: str,
    _name: str,
    _obj: object,
    _options: object,
    lines: list[str],
) -> None:
    """Keep Napoleon from reading "The target: path and query" as a type and a text."""
    if what in {"attribute", "property"}:
        lines[:0] = ["..", ""]  # an empty comment


def _list_keywords(match: re.Match[str]) -> str:
    keywords = [
        f"{name}: {_show(kind)} = ..."
        for name, kind in _MORE[match[1]].__annotations__.items()
    ]
    star = [] if ", *, " in match.string else ["*"]
    return ", ".join([*star, *keywords])


def _show(annotation: object) -> str:
    return str(getattr(annotation, "__forward_arg__", annotation))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Tell Sphinx."""
    app.connect("missing-reference", resolve, priority=900)  # behind intersphinx
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-process-docstring", keep_sentence, priority=400)  # before it
    return {"parallel_read_safe": True, "parallel_write_safe": True}
