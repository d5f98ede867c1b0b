"""Compares what was sent with what a table holds.

    check_set.py POINTS TABLE

POINTS has one JSON object a line for each point that was sent:

    {"series": "w0", "time": 1704067200000000000, "value": 1.5, "acknowledged": true}

TABLE is CSV with a header and the columns series, time, value, by place. A point that was acknowledged must be in the
table once, with its value; one that was not may be missing; no other may be there.

Prints one line for each point that is lost, doubled, changed or a phantom. The exit status is 0 if there is none, 1 if
there are any, 2 if the files cannot be understood. Written apart from the checker of the Rust tests, on purpose.
"""

import collections
import csv
import json
import struct
import sys


def read_points(path):
    """(series, time) -> the values that were sent, as bits; and those (series, time) that were acknowledged."""
    values = collections.defaultdict(set)
    acknowledged = set()
    with open(path, encoding="utf-8") as file:
        for line in file:
            point = json.loads(line)
            place = (point["series"], int(point["time"]))
            values[place].add(bits(point["value"]))
            if point["acknowledged"]:
                acknowledged.add(place)
    return values, acknowledged


def read_table(path):
    """(series, time) -> the values found, as bits, in order."""
    found = collections.defaultdict(list)
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for series, time, value in rows:
            found[(series, int(time))].append(bits(value))
    return found


def bits(value):
    return struct.pack("<d", float(value))


def number(value):
    return struct.unpack("<d", value)[0]


def findings(values, acknowledged, found):
    for place in sorted(acknowledged - found.keys()):
        yield "lost", place, ""
    for place, got in sorted(found.items()):
        if place not in values:
            yield "phantom", place, f": {number(got[0])} was never sent"
            continue
        if len(got) > 1:
            yield "doubled", place, f": {len(got)} times"
        wrong = [number(value) for value in got if value not in values[place]]
        if wrong:
            sent = sorted(number(value) for value in values[place])
            yield "changed", place, f": {wrong} instead of {sent}"


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        values, acknowledged = read_points(arguments[0])
        found = read_table(arguments[1])
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        print(f"cannot understand the files: {error!r}", file=sys.stderr)
        return 2
    status = 0
    for what, (series, time), detail in findings(values, acknowledged, found):
        print(f"{what} {series} at {time}{detail}")
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
