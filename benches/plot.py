"""Draws the table that the bench prints: `plot.py < OUTPUT > PLOT.svg`. A row for each query, a dot for each system, milliseconds on a
logarithmic axis; several tables, of several runs, are drawn over each other.
"""

import math
import sys

COLOURS = ["#0b6e4f", "#e07a1f", "#8a4fbe", "#2f6fb5"]
LEFT, ROW, TOP, WIDTH = 190, 22, 46, 620


def tables(lines):
    """System names, and rows of (query, milliseconds by system)."""
    names, rows = [], []
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[:2] == ["query", "rows"]:
            names = cells[2:-1]
        elif names and len(cells) == len(names) + 3 and not cells[0].startswith("---"):
            rows.append((cells[0], [float(cell) for cell in cells[2:-1]]))
    return names, rows


def svg(names, rows):
    queries = list(dict.fromkeys(query for query, _ in rows))
    times = [time for _, times in rows for time in times]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    place = lambda ms: LEFT + (math.log10(ms) - low) / (high - low) * WIDTH
    height = TOP + ROW * len(queries) + 30
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 30}" height="{height}" '
           f'font-family="sans-serif" font-size="12">')
    yield '<rect width="100%" height="100%" fill="white"/>'
    for at, (name, colour) in enumerate(zip(names, COLOURS)):
        yield f'<circle cx="{LEFT + at * 110}" cy="16" r="5" fill="{colour}"/><text x="{LEFT + at * 110 + 10}" y="20">{name}</text>'
    for power in range(low, high + 1):
        x = place(10**power)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 12}" y2="{height - 26}" stroke="#dddddd"/>'
        yield f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle">{10**power:g} ms</text>'
    for at, query in enumerate(queries):
        y = TOP + ROW * at
        yield f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{query}</text>'
        yield f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y}" y2="{y}" stroke="#eeeeee"/>'
        for found, times in rows:
            if found == query:
                for time, colour in zip(times, COLOURS):
                    yield f'<circle cx="{place(time):.1f}" cy="{y}" r="4" fill="{colour}" fill-opacity="0.75"/>'
    yield "</svg>"


if __name__ == "__main__":
    names, rows = tables(sys.stdin)
    if not rows:
        sys.exit("plot.py: no table on standard input")
    print("\n".join(svg(names, rows)))
