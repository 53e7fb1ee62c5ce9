"""What the engine costs, with bare asyncio in the same run: `make bench`. The ratios are checked by `make test`."""
