"""The benchmark: every number is a ratio to a base that ran in the same minutes."""
