"""The compiled lane: the part of the build that pyproject.toml cannot say.

It is optional: where it cannot be compiled, a warning is all that comes of it, and the
lane in Python serves instead. It is for CPython only: to PyPy, a call into C is dear.

Ordinary CPython gets the stable ABI, so that one build serves every version from 3.11
on. Free-threaded CPython has none.
"""

from __future__ import annotations

import os
import platform
import sysconfig

from setuptools import Extension, setup

_IS_CPYTHON = platform.python_implementation() == "CPython"
_HAS_STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")

_speedups = Extension(
    "trio_websocket._protocol._speedups",
    ["trio_websocket/_protocol/_speedups.c"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if _HAS_STABLE_ABI else [],
    extra_compile_args=["-std=c11", "-O3"] if os.name == "posix" else [],
    optional=True,
    py_limited_api=_HAS_STABLE_ABI,
)

setup(
    ext_modules=[_speedups] if _IS_CPYTHON else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}}
    if _IS_CPYTHON and _HAS_STABLE_ABI
    else {},
)
