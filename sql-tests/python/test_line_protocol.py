"""Line protocol over HTTP, as Telegraf and scripts send it: paths, precisions, packing, greetings, refusals."""

import json

import pytest

from shared import http, packed, sql

SECOND = 1_700_000_040    # 2023-11-14T22:14:00Z
V1, V2, V3 = "/write?db=main", "/api/v2/write?bucket=main&org=any", "/api/v3/write_lp?db=main"
PRECISIONS = [
    (V1, None, SECOND * 10**9), (V1, "ns", SECOND * 10**9), (V1, "n", SECOND * 10**9), (V1, "us", SECOND * 10**6),
    (V1, "u", SECOND * 10**6), (V1, "ms", SECOND * 1000), (V1, "s", SECOND), (V1, "m", SECOND // 60),
    (V2, None, SECOND * 10**9), (V2, "ns", SECOND * 10**9), (V2, "us", SECOND * 10**6), (V2, "ms", SECOND * 1000),
    (V2, "s", SECOND),
    (V3, None, SECOND), (V3, "auto", SECOND), (V3, "auto", SECOND * 1000), (V3, "auto", SECOND * 10**6),
    (V3, "auto", SECOND * 10**9), (V3, "second", SECOND), (V3, "millisecond", SECOND * 1000),
    (V3, "microsecond", SECOND * 10**6), (V3, "nanosecond", SECOND * 10**9),
]


def write(path, lines, **headers):
    return http("POST", path, lines if isinstance(lines, bytes) else lines.encode(), **headers)


@pytest.mark.parametrize("path, precision, time", PRECISIONS)
def test_every_precision_of_every_path(table, path, precision, time):
    chosen = path if precision is None else f"{path}&precision={precision}"
    answer = write(chosen, f"{table},host=a v=1 {time}\n{table},host=b v=2 {time}")
    assert (answer.status, answer.body) == (204, b"")
    receipt = json.loads(answer.headers["Quorate-Receipt"])
    assert sum(shard["accepted"] for shard in receipt) == 2
    assert sql(f"SELECT DISTINCT time FROM {table}") == [{"time": "2023-11-14T22:14:00Z"}]


def test_hours_and_times_that_the_server_gives(table):
    assert write(f"{V1}&precision=h", f"{table} v=1 472222").status == 204
    assert sql(f"SELECT time FROM {table}") == [{"time": "2023-11-14T22:00:00Z"}]
    assert write(V1, f"{table} v=2").status == 204
    [row] = sql(f"SELECT now() - max(time) < INTERVAL '1 minute' AS new FROM {table}")
    assert row == {"new": True}


@pytest.mark.parametrize("path, precision", [(V1, "x"), (V2, "m"), (V2, "h"), (V3, "m")])
def test_a_wrong_precision_names_the_right_ones(table, path, precision):
    answer = write(f"{path}&precision={precision}", f"{table} v=1 1")
    assert answer.status == 400
    assert f'precision is "{precision}", none of' in answer.json["message"]


def test_what_telegraf_sends(table):
    """Batches of metrics with tags and fields of every kind, packed, by the outputs for InfluxDB 1 and 2."""
    lines = (f'{table}_cpu,cpu=cpu-total,host=web\\ 1 usage_idle=97.5,usage_user=2.5 {SECOND}000000000\n'
             f'{table}_disk,device=sda1,host=web\\ 1,mode=rw,path=/ free=10u,used_percent=12.5 {SECOND}000000000\n'
             f'{table}_system,host=web\\ 1 load1=0.5,n_cpus=2i,up=true,uptime_format="1 day, 2:03" {SECOND}000000000\n')
    for path in ("/write?consistency=any&db=main&precision=ns&rp=", "/api/v2/write?bucket=main&org=any"):
        answer = write(path, packed(lines), Content_Encoding="gzip", Content_Type="text/plain; charset=utf-8",
                       User_Agent="Telegraf/1.30", Authorization="Token any")
        assert answer.status == 204, answer.text
    assert sql(f"SELECT host, usage_idle FROM {table}_cpu WHERE cpu = 'cpu-total'") == [
        {"host": "web 1", "usage_idle": 97.5}]
    assert sql(f"SELECT path, mode, free FROM {table}_disk") == [{"path": "/", "mode": "rw", "free": 10}]
    assert sql(f"SELECT n_cpus, up, uptime_format FROM {table}_system") == [
        {"n_cpus": 2, "up": True, "uptime_format": "1 day, 2:03"}]


def test_telegraf_makes_its_database(table):
    statement = f"q=CREATE+DATABASE+%22d_{table}%22".encode()
    for _ in range(2):
        answer = http("POST", "/query", statement, Content_Type="application/x-www-form-urlencoded")
        assert (answer.status, answer.json) == (200, {"results": [{"statement_id": 0}]})
    assert write(f"/write?db=d_{table}", f"{table} v=1 1").status == 204
    sql(f"DROP DATABASE d_{table}")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping(method):
    answer = http(method, "/ping")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["X-Influxdb-Version"] == "1.8.10"
    assert answer.headers["X-Influxdb-Build"].startswith("Quorate ")


def test_ping_with_a_body_and_health():
    assert http("GET", "/ping?verbose=true").json == {"version": "1.8.10"}
    health = http("GET", "/health")
    assert (health.status, health.json["status"], health.json["name"]) == (200, "pass", "quorate")
    ready = http("GET", "/ready")
    assert (ready.status, ready.json["status"]) == (200, "ready")


# Packing

@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "identity"])
def test_bodies_may_be_packed(table, encoding):
    line = f"{table} v=1 1"
    body = line if encoding == "identity" else packed(line)
    assert write(V1, body, Content_Encoding=encoding).status == 204
    assert sql(f"SELECT v FROM {table}") == [{"v": 1.0}]


def test_a_body_may_have_several_members(table):
    body = packed(f"{table},host=a v=1 1\n") + packed(f"{table},host=b v=1 1\n")
    assert write(V1, body, Content_Encoding="gzip").status == 204
    assert sql(f"SELECT count(*) AS c FROM {table}") == [{"c": 2}]


@pytest.mark.parametrize("damage, status, message", [
    (lambda body: b"t v=1 1\n", 400, "not gzip"),
    (lambda body: body[:-9], 400, "cut off; nothing of it was stored"),
    # TODO server: the body is whole, and something follows it.
    (lambda body: body + b"junk", 400, "cut off; nothing of it was stored"),
    (lambda body: b"", 400, "the body is empty, and no gzip"),
], ids=["not packed", "cut off", "with a tail", "empty"])
def test_damaged_bodies_store_nothing(table, damage, status, message):
    lines = "".join(f"{table},host=h{i} v=1 1\n" for i in range(10_000))
    answer = write(V1, damage(packed(lines)), Content_Encoding="gzip")
    assert answer.status == status and message in answer.json["message"]
    assert sql(f"SELECT count(*) AS c FROM system.tables WHERE table_name = '{table}'") == [{"c": 0}]


def test_other_packings_are_refused(table):
    answer = write(V1, f"{table} v=1 1", Content_Encoding="zstd")
    assert answer.status == 415 and "gzip and identity are taken" in answer.json["message"]


def test_a_body_that_unpacks_to_too_much_is_refused():
    answer = write(V1, packed(b"\n" * (65 << 20)), Content_Encoding="gzip")
    assert answer.status == 413 and "max_body" in answer.json["message"]


# Lines

def test_bad_lines_are_listed_and_the_others_stored(table):
    answer = write(V1, f"{table},host=a v=1 1\n{table}\n{table} v=x 2\n{table},host=b v=2 3".encode())
    assert answer.status == 400
    assert (answer.json["points_stored"], answer.json["lines_rejected"]) == (2, 2)
    assert [line["line_number"] for line in answer.json["data"]] == [2, 3]
    assert answer.json["data"][0]["original_line"] == table
    assert "Quorate-Receipt" in answer.headers
    assert sql(f"SELECT count(*) AS c FROM {table}") == [{"c": 2}]


def test_nothing_is_stored_where_all_or_nothing_is_asked_for(table):
    answer = write(f"{V3}&accept_partial=false", f"{table} v=1 1\nbad")
    assert (answer.status, answer.json["points_stored"]) == (400, 0)
    assert "Quorate-Receipt" not in answer.headers
    assert write(f"{V3}&accept_partial=false", f"{table} v=1 1").status == 204


def test_a_line_that_is_no_text_is_rejected(table):
    answer = write(V1, f'{table} v="'.encode() + b'\xff" 1\n' + f"{table} v=\"x\" 2".encode())
    assert answer.json["data"][0]["error_message"] == "the line is not valid UTF-8"
    assert sql(f"SELECT v FROM {table}") == [{"v": "x"}]


def test_an_idempotency_key_holds_the_time_of_the_first_try(table):
    for _ in range(2):
        assert write(V1, f"{table} v=1", Idempotency_Key=f"key-{table}").status == 204
    assert sql(f"SELECT count(*) AS c FROM {table}") == [{"c": 1}]
    answer = write(V1, f"{table} v=2", Idempotency_Key=f"key-{table}")
    assert answer.status == 400 and "used before" in answer.json["message"]


# Where to

@pytest.mark.parametrize("method, path, status, message", [
    ("POST", "/write", 400, "parameter db is missing"), ("POST", "/write?db=", 400, "parameter db is missing"),
    ("POST", "/api/v2/write", 400, "parameter bucket is missing"),
    ("POST", "/write?db=nowhere", 404, "nowhere"), ("POST", "/api/v2/write?bucket=nowhere", 404, "nowhere"),
    ("POST", "/api/v3/write_lp?db=nowhere", 404, "nowhere"), ("GET", "/write?db=main", 405, "does not take GET"),
    ("POST", "/write?db=main&consistency=much", 400, "consistency is"),
    ("POST", "/wrte?db=main", 404, "nothing at /wrte"),
    ("POST", "/query?q=SELECT+1", 400, "/api/v1/sql"),
])
def test_wrong_requests_are_told_what_is_wrong(method, path, status, message):
    answer = http(method, path, b"t v=1 1" if method == "POST" else None)
    assert answer.status == status and message in answer.json["message"]
    assert answer.json["error"] == answer.json["message"]


def test_a_bucket_with_a_retention_policy_is_its_database(table):
    assert write("/api/v2/write?bucket=main/autogen", f"{table} v=1 1").status == 204
    assert write("/write?db=main&rp=autogen&u=any&p=any", f"{table} v=1 2").status == 204
    assert sql(f"SELECT count(*) AS c FROM {table}") == [{"c": 2}]
