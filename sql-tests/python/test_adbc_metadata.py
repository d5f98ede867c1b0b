"""ADBC's metadata: objects at every depth, schemas of tables, the session's database, the server's own words."""

import adbc_driver_manager
import pyarrow as pa
import pytest

from shared import NS, connect, create, filled


def objects(connection, depth, **filters):
    return connection.adbc_get_objects(depth=depth, **filters).read_all().to_pylist()


def only(rows, key, value):
    [found] = [row for row in rows if row[key] == value]
    return found


def tables(catalogs, catalog="main", schema="public"):
    schemas = only(catalogs, "catalog_name", catalog)["catalog_db_schemas"]
    return only(schemas, "db_schema_name", schema)["db_schema_tables"]


# Objects

def test_catalogs_are_listed(connection, cursor, table):
    cursor.execute(f"CREATE DATABASE d_{table}")
    found = objects(connection, "catalogs")
    assert {"main", f"d_{table}"} <= {row["catalog_name"] for row in found}
    assert all(row["catalog_db_schemas"] is None for row in found)
    found = objects(connection, "catalogs", catalog_filter=f"d_{table[:-1]}%")
    assert f"d_{table}" in [row["catalog_name"] for row in found]
    assert "main" not in [row["catalog_name"] for row in found]
    cursor.execute(f"DROP DATABASE d_{table}")


def test_schemas_are_listed(connection):
    schemas = only(objects(connection, "db_schemas"), "catalog_name", "main")["catalog_db_schemas"]
    assert [row["db_schema_name"] for row in schemas] == ["information_schema", "public", "system"]
    assert all(row["db_schema_tables"] is None for row in schemas)
    schemas = only(objects(connection, "db_schemas", db_schema_filter="p%"), "catalog_name", "main")
    assert [row["db_schema_name"] for row in schemas["catalog_db_schemas"]] == ["public"]


def test_tables_are_listed(connection, cursor, table):
    create(cursor, table)
    found = only(tables(objects(connection, "tables")), "table_name", table)
    assert found == {"table_name": table, "table_type": "TABLE", "table_columns": None, "table_constraints": None}
    system = tables(objects(connection, "tables"), schema="system")
    assert only(system, "table_name", "tables")["table_type"] == "SYSTEM TABLE"
    assert tables(objects(connection, "tables", table_name_filter=table, table_types_filter=["VIEW"])) == []
    create(cursor, f"{table}x")
    found = tables(objects(connection, "tables", table_name_filter=f"{table}_", table_types_filter=["TABLE"]))
    assert [row["table_name"] for row in found] == [f"{table}x"]
    assert objects(connection, "tables", catalog_filter="nowhere") == []


@pytest.mark.parametrize("depth", ["columns", "all"])
def test_columns_are_listed(connection, cursor, table, depth):
    create(cursor, table)
    [found] = tables(objects(connection, depth, table_name_filter=table))
    columns = [(column["column_name"], column["ordinal_position"], column["xdbc_type_name"])
               for column in found["table_columns"]]
    assert columns == [("time", 1, "TIMESTAMP(9) WITH TIME ZONE"), ("host", 2, "VARCHAR"), ("value", 3, "DOUBLE"),
                       ("n", 4, "BIGINT")]
    # Chosen by the driver from the Arrow types: TIMESTAMP, VARCHAR, FLOAT (for a DOUBLE, too), BIGINT.
    assert [column["xdbc_data_type"] for column in found["table_columns"]] == [93, 12, 6, -5]


def test_columns_are_chosen_by_a_pattern(connection, cursor, table):
    create(cursor, table)
    [found] = tables(objects(connection, "columns", table_name_filter=table, column_name_filter="h%"))
    assert [column["column_name"] for column in found["table_columns"]] == ["host"]


def test_the_driver_lists_no_primary_keys(connection, cursor, table):
    create(cursor, table)
    [found] = tables(objects(connection, "all", table_name_filter=table))
    # Driver 1.13 asks Flight SQL servers for no keys; a test of pyarrow.flight sees that this one has them.
    assert found["table_constraints"] == []


def test_table_types_are_listed(connection):
    assert {"TABLE", "VIEW", "SYSTEM TABLE"} == set(connection.adbc_get_table_types())


# Schemas of tables

def test_a_table_has_the_schema_that_its_query_has(connection, cursor, table):
    filled(cursor, table)
    described = connection.adbc_get_table_schema(table)
    cursor.execute(f"SELECT * FROM {table}")
    queried = cursor.fetch_arrow_table().schema
    assert described.names == queried.names
    assert described.types == queried.types == [NS, pa.string(), pa.float64(), pa.int64()]
    assert [field.nullable for field in described] == [False, True, True, True]
    assert [field.metadata[b"ARROW:FLIGHT:SQL:REMARKS"] for field in described] == [b"time", b"tag", b"field", b"field"]


def test_the_schema_of_a_table_elsewhere(connection, cursor, table):
    assert "table_name" in connection.adbc_get_table_schema("tables", db_schema_filter="information_schema").names
    cursor.execute(f"CREATE DATABASE d_{table}")
    cursor.execute(f"CREATE TABLE d_{table}.public.{table} (time TIMESTAMP, odd DOUBLE)")
    assert connection.adbc_get_table_schema(table, catalog_filter=f"d_{table}").names == ["time", "odd"]
    for filters in ({}, {"catalog_filter": "nowhere"}):
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="No table found"):
            connection.adbc_get_table_schema(f"{table}x", **filters)
    cursor.execute(f"DROP DATABASE d_{table}")


# The server and the session

def test_the_server_names_itself(connection):
    info = connection.adbc_get_info()
    assert info["vendor_name"] == "Quorate"
    assert info["vendor_version"].count(".") == 2


def test_statistics_are_not_in_flight_sql(connection):
    with pytest.raises(adbc_driver_manager.NotSupportedError):
        connection.adbc_connection.get_statistics(catalog="main", db_schema="public", table_name="x", approximate=True)


def run(connection, statement):
    """Runs a statement and closes it: the driver reads the headers of an update's answer, the cookie too, no sooner."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_current_catalog_follows_the_session(table):
    with connect(cookies=True) as connection:
        database = f"d_{table}"
        run(connection, f"CREATE DATABASE {database}")
        assert (connection.adbc_current_catalog, connection.adbc_current_db_schema) == ("main", "public")
        connection.adbc_current_catalog = database
        assert connection.adbc_current_catalog == database
        with connection.cursor() as cursor:
            create(cursor, table)
            cursor.execute(f"SELECT count(*) FROM {database}.public.{table}")
            assert cursor.fetchone() == (0,)
        with pytest.raises(adbc_driver_manager.Error):
            connection.adbc_current_catalog = "nowhere"
        assert connection.adbc_current_catalog == database
        run(connection, "SET timezone = '+02:00'")
        with connection.cursor() as cursor:
            cursor.execute("SHOW timezone")
            assert cursor.fetchall() == [("timezone", "+02:00")]
        run(connection, "USE main")
        assert connection.adbc_current_catalog == "main"
        run(connection, f"DROP DATABASE {database}")


def test_set_is_refused_where_nothing_holds_it(connection, cursor):
    with pytest.raises(adbc_driver_manager.Error, match="timezone"):
        cursor.execute("SET timezone = '+02:00'")
    with pytest.raises(adbc_driver_manager.Error, match="cookies"):
        connection.adbc_current_db_schema = "public"


def test_the_header_database_is_where_names_are_looked_up(cursor, table):
    database = f"d_{table}"
    cursor.execute(f"CREATE DATABASE {database}")
    with connect(database=database) as connection, connection.cursor() as inside:
        filled(inside, table)
        inside.execute(f"SELECT count(*) FROM {table}")
        assert inside.fetchone() == (3,)
    with pytest.raises(adbc_driver_manager.Error, match=table):
        cursor.execute(f"SELECT * FROM {table}")
    cursor.execute(f"DROP DATABASE {database}")


def test_headers_of_a_connection_hold_for_all_of_its_calls():
    headers = [("timezone", "Europe/Berlin"), ("query-timeout", "100ms")]
    with connect(headers=headers) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT CAST(CAST('2024-01-01' AS TIMESTAMP WITH TIME ZONE) AS VARCHAR)")
        assert cursor.fetchall() == [("2024-01-01T00:00:00+01:00",)]
        with pytest.raises(adbc_driver_manager.OperationalError, match="query_timeout of 100ms"):
            cursor.execute("SELECT sum(value % 3) FROM generate_series(1, 1000000000000000)")
            cursor.fetchall()
