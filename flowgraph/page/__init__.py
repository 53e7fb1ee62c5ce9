"""The report of a comparison: one page, with everything in it."""
