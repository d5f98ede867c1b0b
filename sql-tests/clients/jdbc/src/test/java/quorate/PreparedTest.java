package quorate;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.ParameterMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLFeatureNotSupportedException;
import java.sql.Statement;
import java.sql.Time;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.Calendar;
import java.util.List;
import java.util.TimeZone;
import org.junit.jupiter.api.Test;

/** Prepared statements: parameters of every type, batches, and what the driver makes of them. */
class PreparedTest extends ClientTest {
    private static final Instant NOON = Instant.parse("2025-06-01T12:00:00.123Z");

    private PreparedStatement insert() throws SQLException {
        return connection.prepareStatement(
                "INSERT INTO " + table + " (time, host, d, i, u, b, text, seen) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    }

    private static void bind(PreparedStatement prepared, Instant time) throws SQLException {
        prepared.setTimestamp(1, Timestamp.from(time));
        prepared.setString(2, "a");
        prepared.setDouble(3, 1.5);
        prepared.setLong(4, 5);
        prepared.setLong(5, 6);
        prepared.setBoolean(6, true);
        prepared.setString(7, "zoé 🎈");
        prepared.setNull(8, Types.TIMESTAMP);
    }

    @Test
    void parametersAreDescribed() throws SQLException {
        create();
        try (PreparedStatement prepared = insert()) {
            ParameterMetaData parameters = prepared.getParameterMetaData();
            assertEquals(8, parameters.getParameterCount());
            int time = KNOWS_ZONES ? Types.TIMESTAMP_WITH_TIMEZONE : Types.TIMESTAMP;
            int[] types = {time, Types.VARCHAR, Types.DOUBLE, Types.BIGINT, Types.BIGINT, Types.BOOLEAN,
                Types.VARCHAR, time};
            for (int i = 0; i < types.length; i++) {
                assertEquals(types[i], parameters.getParameterType(i + 1));
            }
            assertTrue(parameters.isSigned(4));
            assertFalse(parameters.isSigned(5));
        }
    }

    @Test
    void everyTypeIsBound() throws SQLException {
        create();
        try (PreparedStatement prepared = insert()) {
            bind(prepared, NOON);
            assertEquals(1, prepared.executeUpdate());
            assertEquals(1, prepared.getUpdateCount());
            prepared.setTimestamp(1, Timestamp.from(NOON.plusSeconds(1)));
            prepared.setDouble(3, Double.NaN);
            prepared.setLong(4, Long.MIN_VALUE);
            prepared.setObject(5, new BigInteger("18446744073709551615"));
            prepared.setNull(6, Types.BOOLEAN);
            prepared.setNull(7, Types.VARCHAR);
            prepared.setTimestamp(8, Timestamp.from(NOON));
            assertEquals(1, prepared.executeLargeUpdate());
        }
        assertEquals(
                List.of(
                        "2025-06-01 12:00:00.123|a|1.5|5|6|true|zoé 🎈|null",
                        "2025-06-01 12:00:01.123|a|NaN|-9223372036854775808|18446744073709551615|null|null|"
                                + "2025-06-01 12:00:00.123"),
                query("SELECT time, host, d, i, u, b, text, seen FROM " + table + " ORDER BY time"));
    }

    @Test
    void timesAreMovedUnlessTheZoneIsSaid() throws SQLException {
        // The driver adds the offset of the property "timezone", of the calendar, or else of the virtual machine to
        // the instant. Only with UTC is the instant stored that the program has.
        create();
        Calendar utc = Calendar.getInstance(TimeZone.getTimeZone("UTC"));
        String sql = "INSERT INTO " + table + " (time, host) VALUES (?, ?)";
        try (var bare = DriverManager.getConnection(url(Server.flight()));
                PreparedStatement prepared = bare.prepareStatement(sql)) {
            prepared.setTimestamp(1, Timestamp.from(NOON));
            prepared.setString(2, "moved");
            prepared.executeUpdate();
            prepared.setTimestamp(1, Timestamp.from(NOON), utc);
            prepared.setString(2, "calendar");
            prepared.executeUpdate();
        }
        try (PreparedStatement prepared = connection.prepareStatement(sql)) {
            prepared.setTimestamp(1, Timestamp.from(NOON));
            prepared.setString(2, "property");
            prepared.executeUpdate();
        }
        assertEquals(
                List.of("calendar|2025-06-01 12:00:00.123", "moved|2025-06-01 08:00:00.123",
                        "property|2025-06-01 12:00:00.123"),
                query("SELECT host, time FROM " + table + " ORDER BY host"));
    }

    @Test
    void digitsBelowMillisecondsAreLostByTheDriver() throws SQLException {
        create();
        try (PreparedStatement prepared = insert()) {
            bind(prepared, Instant.parse("2025-01-01T00:00:00.123456789Z"));
            prepared.executeUpdate();
        }
        assertEquals(List.of("2025-01-01 00:00:00.123"), query("SELECT time FROM " + table));
    }

    @Test
    void otherClassesAreConvertedByTheDriver() throws SQLException {
        create();
        try (PreparedStatement prepared = insert()) {
            bind(prepared, NOON);
            Object[][] good = {
                {3, 1.5f, "1.5"}, {3, 2, "2.0"}, {3, 3L, "3.0"}, {3, new BigDecimal("1.25"), "1.25"},
                {3, Double.NEGATIVE_INFINITY, "-Infinity"}, {3, null, "null"},
                {4, 1, "1"}, {4, (short) 2, "2"}, {4, (byte) 3, "3"}, {4, new BigInteger("17"), "17"},
                {4, new BigDecimal("18"), "18"}, {4, Long.MAX_VALUE, "9223372036854775807"}, {4, null, "null"},
                // The driver cuts the fraction off and reads the bits as unsigned; the server never sees the value.
                {4, 1.5, "1"}, {5, -1L, "18446744073709551615"},
                {5, 7, "7"}, {5, new BigDecimal("18446744073709551615"), "18446744073709551615"},
                {6, false, "false"}, {6, null, "null"}, {7, "", ""}, {7, null, "null"},
                {8, Timestamp.from(NOON), "2025-06-01 12:00:00.123"}, {8, null, "null"},
            };
            String[] names = {"time", "host", "d", "i", "u", "b", "text", "seen"};
            for (Object[] each : good) {
                int index = (Integer) each[0];
                prepared.setObject(index, each[1]);
                assertEquals(1, prepared.executeUpdate());
                assertEquals(List.of(each[2]), query("SELECT " + names[index - 1] + " FROM " + table));
            }
            prepared.setInt(4, 31);
            prepared.setFloat(3, 0.5f);
            assertEquals(1, prepared.executeUpdate());
            assertEquals(List.of("0.5|31"), query("SELECT d, i FROM " + table));
        }
    }

    @Test
    void classesThatTheDriverDoesNotBind() throws SQLException {
        create();
        Object[][] bad = {
            {1, OffsetDateTime.parse("2025-01-02T00:00:00Z")}, {1, NOON}, {1, "2025-01-03T00:00:00Z"},
            {1, Date.valueOf("2025-01-02")}, {3, "2.5"}, {4, "17"}, {6, "true"}, {6, 1}, {7, 5},
        };
        for (Object[] each : bad) {
            var other = connect();
            PreparedStatement prepared = other.prepareStatement(
                    "INSERT INTO " + table + " (time, host, d, i, u, b, text, seen) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
            bind(prepared, NOON);
            SQLException error = assertThrows(SQLException.class, () -> {
                prepared.setObject((Integer) each[0], each[1]);
                prepared.executeUpdate();
            });
            assertTrue(error.getMessage().matches("(?s)(Binding value of type|cannot convert).*"), error.getMessage());
            try {
                other.close();
            } catch (SQLException leak) {
                // The driver does not free what it had bound before the error.
                assertTrue(leak.getMessage().matches("(?s).*(leaked|clean up).*"), leak.getMessage());
            }
        }
        assertEquals(List.of("0"), query("SELECT count(*) FROM " + table));
    }

    @Test
    void aTimeIsNoNumber() throws SQLException {
        create();
        // Taken for milliseconds by the driver, which is far out of range for nanoseconds.
        try (PreparedStatement prepared = insert()) {
            bind(prepared, NOON);
            prepared.setObject(1, 1_700_000_000_123_456_789L);
            assertFails(prepared::executeUpdate, "column \"time\" (row 1)", "is not a TIMESTAMP");
        }
    }

    @Test
    void queriesTakeParameters() throws SQLException {
        fill();
        try (PreparedStatement prepared = connection.prepareStatement(
                "SELECT host, d FROM " + table + " WHERE host = ? AND d >= ? AND time < ? ORDER BY time LIMIT ?")) {
            prepared.setString(1, "a");
            prepared.setDouble(2, 1);
            prepared.setTimestamp(3, Timestamp.from(Instant.parse("2024-01-01T00:00:02Z")));
            prepared.setLong(4, 10);
            try (ResultSet rows = prepared.executeQuery()) {
                assertEquals(List.of("a|1.5"), texts(rows));
            }
            // Bound anew, and what is not bound anew stays.
            prepared.setTimestamp(3, Timestamp.from(Instant.parse("2025-01-01T00:00:00Z")));
            try (ResultSet rows = prepared.executeQuery()) {
                assertEquals(List.of("a|1.5", "a|3.5"), texts(rows));
            }
            prepared.setLong(4, 1);
            prepared.setDouble(2, 2);
            try (ResultSet rows = prepared.executeQuery()) {
                assertEquals(List.of("a|3.5"), texts(rows));
            }
            assertEquals("d", prepared.getMetaData().getColumnName(2));
        }
    }

    @Test
    void parametersOfOtherTypes() throws SQLException {
        try (PreparedStatement prepared = connection.prepareStatement(
                "SELECT CAST('2024-02-29' AS DATE) = ?, CAST(1.25 AS DECIMAL(10, 2)) = ?, X'0102' = ?")) {
            prepared.setDate(1, Date.valueOf("2024-02-29"));
            prepared.setBigDecimal(2, new BigDecimal("1.25"));
            prepared.setBytes(3, new byte[] {1, 2});
            try (ResultSet rows = prepared.executeQuery()) {
                assertEquals(List.of("true|true|true"), texts(rows));
            }
        }
        try (PreparedStatement prepared = connection.prepareStatement("SELECT CAST('12:34:56' AS TIME) = ?")) {
            // Without a calendar the driver moves the time by the zone of the virtual machine.
            Calendar utc = Calendar.getInstance(TimeZone.getTimeZone("UTC"));
            prepared.setTime(1, new Time(45_296_000L), utc);
            try (ResultSet rows = prepared.executeQuery()) {
                assertEquals(List.of("true"), texts(rows));
            }
        }
    }

    @Test
    void aCastTellsTheTypeOfItsParameter() throws SQLException {
        try (PreparedStatement prepared = connection.prepareStatement("SELECT CAST(? AS BIGINT) + 1 AS n, ? AS x")) {
            assertEquals(Types.BIGINT, prepared.getParameterMetaData().getParameterType(1));
            prepared.setLong(1, 41);
            prepared.setString(2, "text");
            try (ResultSet rows = prepared.executeQuery()) {
                assertEquals(List.of("42|text"), texts(rows));
            }
        }
    }

    @Test
    void wrongUseIsAnError() throws SQLException {
        fill();
        String sql = "SELECT d FROM " + table + " WHERE host = ?";
        try (PreparedStatement prepared = connection.prepareStatement(sql)) {
            assertFails(() -> prepared.setString(2, "a"), "parameter ordinal 2 out of range");
        }
        assertFails(() -> connection.prepareStatement("SELECT * FROM nowhere"), "while preparing SQL");
        assertThrows(
                SQLFeatureNotSupportedException.class,
                () -> connection.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS));
        assertThrows(SQLFeatureNotSupportedException.class, () -> connection.prepareCall(sql));
    }

    @Test
    void batchesAreOneUpdate() throws SQLException {
        create();
        try (PreparedStatement prepared = insert()) {
            for (int i = 0; i < 5_000; i++) {
                bind(prepared, Instant.ofEpochSecond(i));
                prepared.setString(2, "h" + i % 3);
                prepared.setLong(4, i);
                if (i % 2 == 0) {
                    prepared.setNull(7, Types.VARCHAR);
                }
                prepared.addBatch();
            }
            // The driver has one count for all, where JDBC wants one per row.
            assertArrayEquals(new int[] {5_000}, prepared.executeBatch());
            bind(prepared, Instant.ofEpochSecond(10_000));
            prepared.addBatch();
            assertArrayEquals(new long[] {1}, prepared.executeLargeBatch());
        }
        assertEquals(
                List.of("5001|12497505|2501"),
                query("SELECT count(*), sum(i), count(text) FROM " + table));
    }

    @Test
    void batchesOfPlainStatementsAreNotDoneByTheDriver() throws SQLException {
        create();
        statement.addBatch("INSERT INTO " + table + " (time, host) VALUES (0, 'a')");
        assertThrows(NullPointerException.class, statement::executeBatch);
        assertEquals(List.of("0"), query("SELECT count(*) FROM " + table));
    }

    @Test
    void executeOfAPreparedUpdateWritesAndSaysThereIsAResult() throws SQLException {
        create();
        // The driver runs it as a query, whatever the server says of the statement. executeUpdate() counts.
        try (PreparedStatement prepared = insert()) {
            bind(prepared, NOON);
            assertTrue(prepared.execute());
            assertEquals(-1, prepared.getUpdateCount());
            try (ResultSet rows = prepared.getResultSet()) {
                assertEquals(List.of("1"), texts(rows));
            }
        }
        assertEquals(List.of("1"), query("SELECT count(*) FROM " + table));
    }
}
