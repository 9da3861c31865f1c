"""How the documentation is built."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from trio_websocket._version import __version__  # noqa: E402

project = "trio_websocket"
copyright = "the trio_websocket authors"
author = "the trio_websocket authors"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
    "_ext.reference",
    "_ext.state_diagram",
]
exclude_patterns = ["_build", "newsfragments"]
html_theme = "furo"
html_title = f"trio_websocket {release}"
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "native"

# Docstrings name things of Python in single backticks.
default_role = "py:obj"
nitpicky = True

# Nothing is ever fetched. Where the documentation of Python is installed, its names
# become links; elsewhere, and for Trio, reference.py looks whether they exist.
inventories = sorted(Path("/usr/share/doc").glob("python3*/html/objects.inv"))
intersphinx_mapping = {}
if inventories:
    intersphinx_mapping["python"] = ("https://docs.python.org/3", str(inventories[0]))

autoclass_content = "class"
autodoc_member_order = "bysource"
autodoc_type_aliases = {
    name: name
    for name in ("Handler", "HeadersLike", "Kind", "OnHandlerError", "Parameters")
}
autodoc_typehints_format = "short"
autodoc_use_legacy_class_based = True  # sphinxcontrib_trio changes those classes
python_maximum_signature_line_length = 72
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # they would name private modules
napoleon_use_ivar = True
napoleon_custom_sections = ["Cancellation", "Concurrency"]
