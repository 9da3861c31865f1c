#!/usr/bin/env bash
# Compile _speedups.c with every warning, and with AddressSanitizer, LeakSanitizer and
# UndefinedBehaviorSanitizer, and run the tests of the protocol on it. Works on a copy, so
# that the module in the checkout is neither used nor replaced.
#
# tests/sanitize.sh [ARGUMENT OF PYTEST...]; PYTHON and CC may be set.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
cc=${CC:-cc}

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R "$root/pyproject.toml" "$root/trio_websocket" "$root/tests" "$copy"
cd "$copy"
rm -f trio_websocket/_protocol/_speedups*.so
module=$copy/trio_websocket/_protocol/_speedups$("$python" -c \
  'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')

# compile ARGUMENT...: with the stable ABI, as setup.py does it, and without it.
compile() {
  local api
  for api in -UPy_LIMITED_API -DPy_LIMITED_API=0x030B0000; do
    "$cc" -std=c11 -fPIC -shared -isystem "$include" "$api" -Wall -Wextra -Wpedantic \
      -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes -Wvla -Werror "$@" \
      trio_websocket/_protocol/_speedups.c -o "$module"
  done
}
compile -O3
compile -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
  -fno-sanitize-recover=all

# The interpreter is not instrumented, so the sanitizers must be there before it; and it
# must hand every object to malloc, where they see it. It never gives back all it has
# when it ends, so only leaks count that were allocated in our module itself; objects are
# counted by test_lane.py. What UndefinedBehaviorSanitizer says goes to stderr, so pytest
# must not keep that.
run() {
  env LD_PRELOAD="$("$cc" -print-file-name=libasan.so) $("$cc" -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=1:log_path="$copy/report" LSAN_OPTIONS=exitcode=0 \
    UBSAN_OPTIONS=print_stacktrace=1 \
    PYTHONMALLOC=malloc PYTHONPATH="$copy" TRIO_WEBSOCKET_LANE=c "$python" "$@"
}

status=0
run - "$module" -p no:cacheprovider --capture=sys -q "${@:-tests/protocol}" <<'EOF' || status=$?
import sys

import pytest

from trio_websocket._protocol import _speedups

module, *arguments = sys.argv[1:]
if _speedups.__file__ != module:
    sys.exit(f"{_speedups.__file__} was imported, and not the sanitized module")
sys.exit(pytest.main(arguments))
EOF
cat report* 2>/dev/null | grep -B 20 -A 20 _speedups && status=1
[ "$status" = 0 ] && echo "nothing was found"
exit "$status"
