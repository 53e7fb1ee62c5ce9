#!/bin/sh
# The wheel, in a fresh environment, in an empty folder: the bundled conversation has to be held there too.
set -eu
here=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

rm -rf build
.venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir "$work" .
.venv/bin/python -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet -c "$here/constraints.txt" "$work"/*.whl
mkdir "$work/empty"
cd "$work/empty"
"$work/venv/bin/flow" run optimized "$@"
