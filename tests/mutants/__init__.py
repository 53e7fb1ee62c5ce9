"""Each rule of the engine, broken in turn: `make mutants` fails if the tests don't notice."""
