#!/usr/bin/env bash
# A Python with tosca-parser, with which the templates' tests compare: made once, in the cache directory.
#   tosca-parser.sh   prints the path of the interpreter
set -euo pipefail

version=2.15.0
# It asks for pkg_resources, which newer ones are without.
needs=("tosca-parser==$version" "setuptools<81")

fail() { echo "tosca-parser.sh: $*" >&2; exit 1; }

works() { "$1/bin/python" -c 'import toscaparser.tosca_template' >/dev/null 2>&1; }

dir=${XDG_CACHE_HOME:-$HOME/.cache}/ostler/tosca-parser/$version
if ! works "$dir"; then
    command -v python3 >/dev/null || fail "Python 3 is missing: apt-get install python3 python3-venv"
    echo "installing tosca-parser" >&2
    mkdir -p "$(dirname "$dir")"
    # Aside, and moved when it is whole: others may be at it at the same time.
    new=$(mktemp -d "$dir.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    python3 -m venv "$new" >&2 || fail "cannot make a virtual environment: apt-get install python3-venv"
    "$new/bin/python" -m pip install --quiet --disable-pip-version-check "${needs[@]}" >&2 || fail "cannot install ${needs[*]}"
    works "$new" || fail "tosca-parser is there and does not load"
    if ! works "$dir"; then
        rm -rf "$dir"
        mv -T "$new" "$dir"
    fi
fi
echo "$dir/bin/python"
