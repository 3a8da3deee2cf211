#!/bin/sh
# Make .venv and install thalweg into it: install.sh [EXTRA]. Says in one line what is missing.
set -eu
fail() { echo "thalweg: $1" >&2; exit 1; }
python=
for name in ${PYTHON:-} python3.13 python3.12 python3.11 python3 python; do
    if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$name
        break
    fi
done
[ -n "$python" ] || fail "needs Python 3.11 or later; none was found (PYTHON=/path/to/python3.11 make demo names one)"
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf .venv
    log=$("$python" -m venv .venv 2>&1) || fail "cannot make a virtual environment with $python (Debian: apt-get install python3-venv python3-pip): $(echo "$log" | tail -n 1)"
fi
echo "thalweg: installing into .venv (once; PyTorch is large)" >&2
# The tests of the page look at it in a real browser.
if [ "${1:-}" = test ] && ! command -v chromium >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
    root=
    [ "$(id -u)" = 0 ] || root="sudo -n"
    echo "thalweg: installing Chromium (once)" >&2
    { $root apt-get update && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1 ||
        echo "thalweg: no Chromium could be installed; the tests of the page need one (CHROMIUM=/path/to/it names it)" >&2
fi
log=$(.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${1:+[$1]}" 2>&1) ||
    fail "pip could not install (is there a network?): $(echo "$log" | grep -i 'error' | head -n 1)"
