#!/bin/sh
# The wheel, in a fresh environment, in an empty folder: the bundled conversation has to be held there too. Leaves nothing behind.
#   sh tests/wheel.sh [OPTION…]       more options of `flow run`
set -eu
here=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
unset PYTHONPATH PYTHONHOME # or the sources might be found
pip="-m pip --disable-pip-version-check --quiet"

# Setuptools leaves what it makes beside the sources, and takes what it finds there for theirs: so it gets a copy.
mkdir "$work/source" "$work/empty"
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$work/source"
"$here/.venv/bin/python" $pip wheel --no-deps --wheel-dir "$work" "$work/source"
"$here/.venv/bin/python" -m venv "$work/venv"
"$work/venv/bin/python" $pip install --no-compile -c "$here/constraints.txt" "$work"/*.whl
rm -r "$work/source"

cd "$work/empty"
"$work/venv/bin/python" -c '
import sys, flowgraph, graphs, nodes
for package in (flowgraph, graphs, nodes):
    [folder] = package.__path__
    assert folder.startswith(sys.prefix), f"{package.__name__} is imported from {folder}"
'
# Nobody speaks to it, whatever sound hardware this machine has.
if ! "$work/venv/bin/flow" run optimized --input demo --set speaker.device=null "$@" >"$work/said" 2>&1; then
    cat "$work/said" >&2
    echo "The wheel doesn't hold the bundled conversation." >&2
    exit 1
fi
left=$(ls -A)
if [ -n "$left" ]; then
    echo "It leaves in the folder where it is run: $left" >&2
    exit 1
fi
echo "The wheel holds the bundled conversation, in an empty folder."
