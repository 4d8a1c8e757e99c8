#!/usr/bin/env bash
# A Python with orpy, the command-line client of the INDIGO PaaS Orchestrator: made once, in the cache directory.
#   orpy.sh   prints the path of the client
set -euo pipefail

version=1.0.4
# It asks for pkg_resources, which newer ones are without.
needs=("orpy==$version" "setuptools<81")

fail() { echo "orpy.sh: $*" >&2; exit 1; }

works() { "$1/bin/orpy" --version >/dev/null 2>&1; }

dir=${XDG_CACHE_HOME:-$HOME/.cache}/ostler/orpy/$version
if ! works "$dir"; then
    command -v python3 >/dev/null || fail "Python 3 is missing: apt-get install python3 python3-venv"
    echo "installing orpy" >&2
    mkdir -p "$(dirname "$dir")"
    # Its scripts know where they are: it cannot be made elsewhere and moved. Another one at work waits.
    exec 9>"$dir.lock"
    flock 9
    if ! works "$dir"; then
        rm -rf "$dir"
        python3 -m venv "$dir" >&2 || fail "cannot make a virtual environment: apt-get install python3-venv"
        "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "${needs[@]}" >&2 || fail "cannot install ${needs[*]}"
        works "$dir" || fail "orpy is there and does not run"
    fi
fi
echo "$dir/bin/orpy"
