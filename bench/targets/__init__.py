"""One module per group of targets; each has `async def run(bench) -> None`. See ../README.md."""
