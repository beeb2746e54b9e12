"""`python -m bench [--quick] [--json FILE] [group …]`: run the targets, print the table."""

import argparse
import importlib
import json
import os
import pkgutil
import sys
from pathlib import Path

import uvloop

from . import load, targets
from .harness import Bench


def main() -> int:
    groups = sorted(module.name for module in pkgutil.iter_modules(targets.__path__))
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="group", help=f"of: {', '.join(groups)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and variants")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument(
        "--profile", type=Path, metavar="FOLDER", help="what py-spy sees of the programs, there"
    )
    asked = parser.parse_args()
    unknown = set(asked.groups) - set(groups)
    if unknown:
        parser.error(f"no group {', '.join(sorted(unknown))}; there are: {', '.join(groups)}")
    bench = Bench(quick=asked.quick, profiles=asked.profile)
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {load.tool()}, "
        f"{bench.rounds} rounds of {bench.seconds} s, median of the ratios of each round"
    )
    try:
        for group in asked.groups or groups:
            uvloop.run(importlib.import_module(f"bench.targets.{group}").run(bench))
        if asked.json is not None:
            asked.json.write_text(json.dumps(bench.report(), ensure_ascii=False, indent=1) + "\n")
    finally:
        bench.close()
    return 1 if any(result.ok is False for result in bench.results) else 0


if __name__ == "__main__":
    sys.exit(main())
