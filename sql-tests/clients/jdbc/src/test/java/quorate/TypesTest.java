package quorate;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** What values are after they were stored and read, and how results describe their columns. */
class TypesTest extends ClientTest {
    private ResultSet only(String sql) throws SQLException {
        ResultSet rows = statement.executeQuery(sql);
        assertTrue(rows.next());
        return rows;
    }

    @Test
    void doublesKeepEveryValue() throws SQLException {
        create();
        List<String> values =
                List.of("NaN", "Infinity", "-Infinity", "-0.0", "4.9E-324", "1.7976931348623157E308", "0.1");
        for (int i = 0; i < values.size(); i++) {
            statement.executeUpdate(
                    "INSERT INTO " + table + " (time, host, d) VALUES (" + i + ", 'a', '" + values.get(i) + "')");
        }
        try (ResultSet rows = statement.executeQuery("SELECT d FROM " + table + " ORDER BY time")) {
            for (String value : values) {
                assertTrue(rows.next());
                double want = Double.parseDouble(value);
                assertEquals(Double.doubleToLongBits(want), Double.doubleToLongBits(rows.getDouble("d")));
                assertEquals(want, rows.getObject(1));
                assertEquals(value, rows.getString(1));
                assertFalse(rows.wasNull());
                if (Double.isFinite(want)) {
                    assertEquals(0, new BigDecimal(value).compareTo(rows.getBigDecimal(1)));
                } else {
                    assertFails(() -> rows.getBigDecimal(1), "Infinite/NaN");
                }
            }
            assertFalse(rows.next());
        }
    }

    @Test
    void integersKeepTheirExtremes() throws SQLException {
        create();
        statement.executeUpdate("INSERT INTO " + table + " (time, host, i) VALUES (0, 'a', " + Long.MIN_VALUE
                + "), (1, 'a', " + Long.MAX_VALUE + "), (2, 'a', 0), (3, 'a', NULL)");
        try (ResultSet rows = statement.executeQuery("SELECT i FROM " + table + " ORDER BY time")) {
            for (long want : new long[] {Long.MIN_VALUE, Long.MAX_VALUE, 0}) {
                assertTrue(rows.next());
                assertEquals(want, rows.getLong(1));
                assertEquals(want, rows.getObject(1));
                assertEquals(want, rows.getObject("i", Long.class));
                assertEquals(BigDecimal.valueOf(want), rows.getBigDecimal(1));
                assertEquals(Long.toString(want), rows.getString(1));
                // The driver cuts off what does not fit, where JDBC wants an error.
                assertEquals((int) want, rows.getInt(1));
            }
            assertTrue(rows.next());
            assertNull(rows.getObject(1));
            assertNull(rows.getString(1));
            assertEquals(0, rows.getLong(1));
            assertTrue(rows.wasNull());
        }
    }

    @Test
    void unsignedIntegersAreWholeOnlyAsText() throws SQLException {
        create();
        statement.executeUpdate("INSERT INTO " + table + " (time, host, u) VALUES (0, 'a', 18446744073709551615), "
                + "(1, 'a', 9223372036854775807), (2, 'a', 0)");
        try (ResultSet rows = statement.executeQuery("SELECT u FROM " + table + " ORDER BY time")) {
            assertTrue(rows.next());
            assertEquals("18446744073709551615", rows.getString(1));
            // The driver takes all other forms from the signed long of the same bits, even the one that could hold it.
            assertEquals(-1, rows.getLong(1));
            assertEquals(-1L, rows.getObject(1));
            assertEquals(new BigDecimal(-1), rows.getBigDecimal(1));
            assertTrue(rows.next());
            assertEquals(Long.MAX_VALUE, rows.getLong(1));
            assertTrue(rows.next());
            assertEquals(0, rows.getLong(1));
        }
    }

    @Test
    void booleansAndTexts() throws SQLException {
        create();
        String large = "x".repeat(100_000);
        statement.executeUpdate("INSERT INTO " + table + " (time, host, b, text) VALUES "
                + "(0, 'a', true, 'zoé 🎈 \"''\"'), "
                + "(1, 'a', false, ''), (2, 'a', NULL, NULL), "
                + "(3, '', NULL, '" + large + "')");
        try (ResultSet rows = statement.executeQuery("SELECT host, b, text FROM " + table + " ORDER BY time")) {
            assertTrue(rows.next());
            assertTrue(rows.getBoolean("b"));
            assertEquals(true, rows.getObject("b"));
            assertEquals("zoé 🎈 \"'\"", rows.getString("text"));
            assertEquals("zoé 🎈 \"'\"", rows.getObject("text", String.class));
            assertTrue(rows.next());
            assertFalse(rows.getBoolean("b"));
            assertFalse(rows.wasNull());
            assertEquals("", rows.getString("text"));
            assertTrue(rows.next());
            assertFalse(rows.getBoolean("b"));
            assertTrue(rows.wasNull());
            assertNull(rows.getObject("b"));
            assertNull(rows.getObject("text"));
            assertTrue(rows.next());
            // An empty tag is an absent one.
            assertNull(rows.getString("host"));
            assertEquals(large, rows.getString("text"));
        }
    }

    @Test
    void timesAreReadAsInstants() throws SQLException {
        create();
        String time = "2024-01-01T00:00:00.123456789Z";
        statement.executeUpdate("INSERT INTO " + table + " (time, host, seen) VALUES ('" + time + "', 'a', NULL), "
                + "('1677-09-21T00:12:44Z', 'a', '2262-04-11T23:47:16.854775807Z')");
        try (ResultSet rows = only("SELECT time, seen FROM " + table + " ORDER BY time DESC")) {
            assertEquals("2024-01-01 00:00:00.123456789", rows.getString(1));
            assertNull(rows.getString(2));
            assertNull(rows.getTimestamp(2));
            if (KNOWS_ZONES) {
                assertEquals(OffsetDateTime.parse(time), rows.getObject(1, OffsetDateTime.class));
                assertEquals(Instant.parse(time), rows.getObject("time", Instant.class));
                assertEquals(
                        ZonedDateTime.ofInstant(Instant.parse(time), ZoneId.of("UTC")),
                        rows.getObject(1, ZonedDateTime.class));
                assertEquals(LocalDateTime.parse(time.replace("Z", "")), rows.getObject(1, LocalDateTime.class));
                assertNull(rows.getObject(2, OffsetDateTime.class));
                // Avatica, inside the driver, has no case for the type that the driver gives the column.
                RuntimeException error = assertThrows(RuntimeException.class, () -> rows.getObject(1));
                assertEquals("not implemented", error.getMessage());
            } else {
                assertThrows(ClassCastException.class, () -> rows.getObject(1, OffsetDateTime.class));
                assertEquals(rows.getTimestamp(1), rows.getObject(1));
            }
            assertTrue(rows.next());
            assertEquals("1677-09-21 00:12:44.0", rows.getString(1));
            assertEquals("2262-04-11 23:47:16.854775807", rows.getString(2));
        }
    }

    @Test
    void timestampsHaveTheWallTimeOfTheConnectionsZone() throws SQLException {
        // A Timestamp ought to be the instant; the driver makes one that prints as the wall time. The two agree where
        // the zone of the virtual machine is UTC. These tests run in New York, five hours behind.
        create();
        statement.executeUpdate(
                "INSERT INTO " + table + " (time, host) VALUES ('2024-01-01T00:00:00.123456789Z', 'a')");
        try (ResultSet rows = only("SELECT time FROM " + table)) {
            Timestamp wall = Timestamp.valueOf("2024-01-01 00:00:00.123456789");
            assertEquals(wall, rows.getTimestamp(1));
            assertEquals(Instant.parse("2024-01-01T05:00:00.123456789Z"), rows.getTimestamp(1).toInstant());
        }
        // Without the property "timezone" the driver moves it by the virtual machine's zone once more.
        try (Connection bare = DriverManager.getConnection(url(Server.flight()));
                Statement other = bare.createStatement();
                ResultSet rows = other.executeQuery("SELECT time FROM " + table)) {
            assertTrue(rows.next());
            assertEquals(Timestamp.valueOf("2024-01-01 05:00:00.123456789"), rows.getTimestamp(1));
        }
    }

    @Test
    void aSessionInAnotherZoneShowsItsTimes() throws SQLException {
        create();
        statement.executeUpdate("INSERT INTO " + table + " (time, host) VALUES ('2024-07-01T00:00:00Z', 'a')");
        try (Connection berlin = connect("timezone=Europe/Berlin");
                Statement other = berlin.createStatement();
                ResultSet rows = other.executeQuery("SELECT time, date_part('hour', time) AS h FROM " + table)) {
            assertTrue(rows.next());
            assertEquals("2024-07-01 02:00:00.0", rows.getString("time"));
            assertEquals("2", rows.getString("h"));
            if (KNOWS_ZONES) {
                assertEquals(OffsetDateTime.parse("2024-07-01T02:00+02:00"), rows.getObject(1, OffsetDateTime.class));
                assertEquals(Instant.parse("2024-07-01T00:00:00Z"), rows.getObject(1, Instant.class));
            }
        }
    }

    @Test
    void naiveTimesCanBeReadByToolsThatTakeObjects() throws SQLException {
        create();
        statement.executeUpdate(
                "INSERT INTO " + table + " (time, host) VALUES ('2024-01-01T00:00:00.123456789Z', 'a')");
        try (Connection naive = connect("timestamps=naive");
                Statement other = naive.createStatement();
                ResultSet rows = other.executeQuery("SELECT time FROM " + table)) {
            assertTrue(rows.next());
            assertEquals(Types.TIMESTAMP, rows.getMetaData().getColumnType(1));
            assertEquals(Timestamp.valueOf("2024-01-01 00:00:00.123456789"), rows.getObject(1));
            assertEquals("2024-01-01 00:00:00.123456789", rows.getString(1));
            if (KNOWS_ZONES) {
                assertEquals(
                        LocalDateTime.parse("2024-01-01T00:00:00.123456789"), rows.getObject(1, LocalDateTime.class));
                assertFails(() -> rows.getObject(1, OffsetDateTime.class), "without timezones");
            }
        }
    }

    @Test
    void typesThatOnlyQueriesHave() throws SQLException {
        try (ResultSet rows = only("SELECT CAST('2024-02-29' AS DATE) AS d, CAST('12:34:56' AS TIME) AS t, "
                + "CAST(1.25 AS DECIMAL(10, 2)) AS de, [1, 2, 3] AS a, named_struct('x', 1) AS s, X'0102' AS bin, "
                + "NULL AS n, CAST(1 AS TINYINT) AS ti, CAST(1.5 AS FLOAT) AS f, INTERVAL '1 day' AS iv")) {
            ResultSetMetaData columns = rows.getMetaData();
            List<Integer> types = IntStream.rangeClosed(1, columns.getColumnCount())
                    .map(i -> {
                        try {
                            return columns.getColumnType(i);
                        } catch (SQLException error) {
                            throw new AssertionError(error);
                        }
                    })
                    .boxed()
                    .toList();
            assertEquals(
                    List.of(Types.DATE, Types.TIME, Types.DECIMAL, Types.ARRAY, Types.JAVA_OBJECT, Types.VARBINARY,
                            Types.NULL, Types.TINYINT, Types.FLOAT, Types.JAVA_OBJECT),
                    types);
            assertEquals(LocalDate.parse("2024-02-29"), Date.valueOf(rows.getString("d")).toLocalDate());
            // The driver moves even a time of day by the zone of the virtual machine.
            assertEquals("07:34:56", rows.getString("t"));
            assertEquals(new BigDecimal("1.25"), rows.getBigDecimal("de"));
            assertEquals("[1,2,3]", rows.getString("a"));
            assertArrayEquals(new Object[] {1L, 2L, 3L}, (Object[]) rows.getArray("a").getArray());
            assertEquals("{\"x\":1}", rows.getString("s"));
            assertArrayEquals(new byte[] {1, 2}, rows.getBytes("bin"));
            assertNull(rows.getObject("n"));
            assertEquals((byte) 1, rows.getObject("ti"));
            assertEquals(1.5, rows.getDouble("f"));
            assertEquals("P1D", rows.getString("iv"));
        }
    }

    @Test
    void columnsAreDescribed() throws SQLException {
        create();
        statement.executeUpdate("INSERT INTO " + table + " (time, host) VALUES (0, 'a')");
        try (ResultSet rows = statement.executeQuery("SELECT time, host AS \"The Host\", d, i, u, b FROM " + table)) {
            ResultSetMetaData columns = rows.getMetaData();
            assertEquals(6, columns.getColumnCount());
            assertEquals("time", columns.getColumnName(1));
            assertEquals("The Host", columns.getColumnLabel(2));
            int[] types = {KNOWS_ZONES ? Types.TIMESTAMP_WITH_TIMEZONE : Types.TIMESTAMP, Types.VARCHAR, Types.DOUBLE,
                Types.BIGINT, Types.BIGINT, Types.BOOLEAN};
            String[] names = {KNOWS_ZONES ? "TIMESTAMP_WITH_TIMEZONE" : "TIMESTAMP", "VARCHAR", "DOUBLE", "BIGINT",
                "BIGINT", "BOOLEAN"};
            for (int i = 0; i < types.length; i++) {
                assertEquals(types[i], columns.getColumnType(i + 1));
                assertEquals(names[i], columns.getColumnTypeName(i + 1));
                // The driver does not look at what the schema says of null: every column is said to have none.
                assertEquals(ResultSetMetaData.columnNoNulls, columns.isNullable(i + 1));
            }
            assertTrue(rows.next());
            assertEquals("a", rows.getString("the host"));
            assertEquals(2, rows.findColumn("The Host"));
            assertFails(() -> rows.getString("nothing"), "column 'nothing' not found");
            assertFails(() -> rows.getString(7), "invalid column ordinal: 7");
        }
    }

    @Test
    void columnsOfAnEmptyResult() throws SQLException {
        create();
        // The driver adds the columns of a plain statement twice and corrects that only with the first row.
        try (ResultSet rows = statement.executeQuery("SELECT host, d FROM " + table)) {
            assertEquals(4, rows.getMetaData().getColumnCount());
            assertFalse(rows.next());
        }
        try (var prepared = connection.prepareStatement("SELECT host, d FROM " + table);
                ResultSet rows = prepared.executeQuery()) {
            assertEquals(2, rows.getMetaData().getColumnCount());
            assertEquals("d", rows.getMetaData().getColumnName(2));
            assertFalse(rows.next());
        }
    }

    @Test
    void twoColumnsOfOneName() throws SQLException {
        // TODO server: a result may have two columns of one name; the planner refuses it.
        assertFails(() -> query("SELECT 1 AS a, 2 AS a"), "unique expression names");
    }

    @Test
    void offsetsAreThoseOfTheZone() {
        // What the tests about times rest on.
        Instant winter = Instant.parse("2024-01-01T00:00:00Z");
        assertEquals(ZoneOffset.ofHours(-5), ZoneId.systemDefault().getRules().getOffset(winter));
    }
}
