"""Asks many more queries than a test run does, and prints every difference.

    QUORATE_BINARY=… python -m differential --seed 7 --histories 20 --queries 300
"""

import argparse
import sys

from . import runner


def main():
    parser = argparse.ArgumentParser(prog="differential", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", default="1")
    parser.add_argument("--first", type=int, default=0, help="number of the first history")
    parser.add_argument("--histories", type=int, default=6)
    parser.add_argument("--queries", type=int, default=60, help="per comparison; a history has nine")
    parser.add_argument("--limit", type=int, default=5, help="differences per history after which it is left")
    parser.add_argument("--keep-rows", action="store_true", help="do not cut down the rows of a difference")
    options = parser.parse_args()
    asked, in_duckdb, found = 0, 0, 0
    with runner.store() as store:
        names = runner.known(store)
        for number in range(options.first, options.first + options.histories):
            run = runner.Run(store, options.seed, number, names)
            try:
                for difference in run.queries(options.queries, options.limit, not options.keep_rows):
                    found += 1
                    print(difference, flush=True)
            except AssertionError as error:
                found += 1
                print(error, flush=True)
            run.drop()
            asked, in_duckdb = asked + run.asked, in_duckdb + run.in_duckdb
            print(f"{run.label}: {asked} queries, {in_duckdb} of them in DuckDB too, {found} differences", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
