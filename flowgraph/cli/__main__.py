"""`python -m flowgraph.cli` is `flow`."""

from flowgraph.cli import main

main()
