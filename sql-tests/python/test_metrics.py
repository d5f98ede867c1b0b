"""What `/metrics` says, by the rules of Prometheus, and that the Grafana dashboard asks for nothing else."""

import json
import re
import threading

import pytest

from shared import ROOT, connect, http, server, sql

DASHBOARD = ROOT / "docs" / "grafana" / "quorate.json"
NAME = re.compile(r"\bquorate_[a-z0-9_]+")
SAMPLE = re.compile(r'([a-z_][a-z0-9_]*)(?:\{([^}]*)\})? (-?[0-9.e+-]+|NaN|[+-]?Inf)')


@pytest.fixture(scope="module")
def metrics():
    """The text of a server that has had writes and queries, some of them wrong, from several clients at once."""
    with server("--udp-addr", "127.0.0.1:0") as running:
        def load(number):
            for i in range(20):
                http("POST", "/write?db=main", f"load,client=c{number} v={i} {i}\nbad".encode(), url=running.http)
                sql("SELECT count(*) FROM load", url=running.http)

        threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with connect(uri=running.flight) as connection, connection.cursor() as cursor:
            cursor.execute("CHECKPOINT")
            cursor.execute("SELECT * FROM load")
            cursor.fetch_arrow_table()
            with pytest.raises(Exception, match="nonsense"):
                cursor.execute("SELECT nonsense FROM load")
        http("GET", "/nowhere", url=running.http)
        answer = http("GET", "/metrics", url=running.http)
        assert answer.headers["Content-Type"].startswith("text/plain")
        yield answer.text


@pytest.fixture(scope="module")
def samples(metrics):
    """name -> [(labels, value)]"""
    found = {}
    for line in metrics.splitlines():
        if not line.startswith("#"):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            found.setdefault(name, []).append((dict(re.findall(r'(\w+)="([^"]*)"', labels or "")), float(value)))
    return found


def family(name, kinds):
    """The metric that a sample belongs to: a histogram has samples of three names."""
    head, _, tail = name.rpartition("_")
    return head if tail in ("bucket", "sum", "count") and kinds.get(head) == "histogram" else name


@pytest.fixture(scope="module")
def kinds(metrics):
    return dict(re.findall(r"^# TYPE (\w+) (\w+)$", metrics, re.MULTILINE))


# Names

def test_every_metric_is_described(metrics, samples, kinds):
    assert {family(name, kinds) for name in samples} <= set(kinds)
    assert set(re.findall(r"^# HELP (\w+) \S", metrics, re.MULTILINE)) == set(kinds)


def test_counters_and_only_they_end_in_total(kinds):
    assert {name for name, kind in kinds.items() if kind == "counter"} == {
        name for name in kinds if name.endswith("_total")}


def test_units_are_base_units(kinds):
    assert not [name for name in kinds if re.search(r"_(ms|us|micros|millis|milliseconds|kb|mb|percent)(_|$)", name)]


def test_durations_are_histograms(samples, kinds):
    assert {name for name, kind in kinds.items() if kind == "histogram"} == {
        "quorate_wal_sync_seconds", "quorate_query_seconds"}
    for name in ("quorate_wal_sync_seconds", "quorate_query_seconds"):
        limits, counts = zip(*((float(labels["le"]), count) for labels, count in samples[name + "_bucket"]))
        assert list(limits) == sorted(limits) and limits[-1] == float("inf")
        assert list(counts) == sorted(counts)
        [(_, count)], [(_, total)] = samples[name + "_count"], samples[name + "_sum"]
        assert counts[-1] == count > 0 and 0 < total < 600
    # The counts of the load, and the SELECT.
    assert samples["quorate_query_seconds_count"][0][1] == 81
    assert samples["quorate_queries_running"] == [({}, 0)]


def test_calls_of_flight_are_counted(samples):
    def calls(**wanted):
        return sum(count for labels, count in samples["quorate_grpc_calls_total"] if wanted.items() <= labels.items())

    # CHECKPOINT, and the query.
    assert calls(method="GetFlightInfo", status="OK") == 2
    assert calls(method="DoGet", status="OK") == 2
    # The driver prepares what it runs, and this one could not be.
    assert calls(status="NOT_FOUND") == calls(method="DoAction", status="NOT_FOUND") == 1
    assert calls(method="other") == 0
    assert samples["quorate_grpc_calls_running"] == [({}, 0)]


def test_counts_are_what_was_done(samples):
    def one(name, **wanted):
        return sum(value for labels, value in samples[name] if wanted.items() <= labels.items())

    assert one("quorate_http_points_stored_total") == 80
    assert one("quorate_http_lines_rejected_total") == 80
    assert one("quorate_rows_accepted_total") >= 80
    assert one("quorate_http_requests_total", path="/write", status="400") == 80
    assert one("quorate_http_requests_total", path="/api/v1/sql", status="200") == 80
    assert one("quorate_http_requests_total", path="other", status="404") == 1
    # CHECKPOINT flushed all of them.
    assert one("quorate_shard_memtable_bytes") == 0
    assert one("quorate_shard_segments") >= 1
    assert one("quorate_ready") == 1


# The documentation

def test_the_documentation_lists_all_of_them(kinds):
    text = (ROOT / "docs" / "operations.md").read_text()
    text = text.partition("\n## Watch\n")[2].partition("\n## ")[0]
    assert {family(name, kinds) for name in NAME.findall(text)} == set(kinds)


# The dashboard

@pytest.fixture(scope="module")
def dashboard():
    return json.loads(DASHBOARD.read_text())


def expressions(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def test_the_dashboard_asks_for_metrics_that_exist(dashboard, samples, kinds):
    asked = {name for expression in expressions(dashboard) for name in NAME.findall(expression)}
    variables = {name for variable in dashboard["templating"]["list"] for name in NAME.findall(json.dumps(variable))}
    assert asked | variables <= set(samples)
    shown = {family(name, kinds) for name in asked}
    assert {family(name, kinds) for name in samples} <= shown, "a metric is on no panel"


def test_the_dashboard_asks_for_labels_that_exist(dashboard, samples):
    given = {"instance", "job"}    # Prometheus adds these to what it collects.
    for expression in expressions(dashboard):
        for name, labels in re.findall(r"(quorate_\w+)\{([^}]*)\}", expression):
            known = given | set(samples[name][0][0])
            assert set(re.findall(r"(\w+)=~?\"", labels)) <= known
            assert set(re.findall(r"by \((\w+)\)", expression)) <= known


def test_counters_are_rates_and_gauges_are_not(dashboard, kinds):
    # The place in the log of a shard is a gauge, because a restored node may be behind, and yet it only grows.
    grows = {name for name, kind in kinds.items() if kind == "counter"} | {"quorate_shard_applied_index"}
    histograms = [name for name, kind in kinds.items() if kind == "histogram"]
    grows |= {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    for expression in expressions(dashboard):
        rated = set(re.findall(r"rate\((quorate_\w+)", expression))
        assert set(NAME.findall(expression)) & grows == rated


def test_the_panels_have_places_of_their_own(dashboard):
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells
    assert all(panel.get("description") for panel in panels if panel["type"] != "row")
