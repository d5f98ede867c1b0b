package quorate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLFeatureNotSupportedException;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Statements that change something, their counts, transactions that are none, and messages of errors. */
class UpdateTest extends ClientTest {
    @Test
    void definitionsCountNothing() throws SQLException {
        assertEquals(0, statement.executeUpdate("CREATE TABLE " + table + " (time TIMESTAMP, host STRING)"));
        assertFalse(statement.execute("CREATE TABLE IF NOT EXISTS " + table + " (time TIMESTAMP, host STRING)"));
        assertEquals(0, statement.getUpdateCount());
        assertFalse(statement.getMoreResults());
        assertEquals(-1, statement.getUpdateCount());
        assertEquals(List.of("time", "host"), query("SELECT column_name FROM information_schema.columns "
                + "WHERE table_name = '" + table + "' ORDER BY ordinal_position"));
        assertEquals(0, statement.executeUpdate("DROP TABLE " + table));
        assertFails(() -> query("SELECT * FROM " + table), table, "does not exist");
    }

    @Test
    void insertsCountTheirRows() throws SQLException {
        create();
        String values = " (time, host, i) VALUES (0, 'a', 1), (1, 'a', 2), (2, 'b', 3)";
        assertEquals(3, statement.executeUpdate("INSERT INTO " + table + values));
        assertEquals(3L, statement.executeLargeUpdate("INSERT INTO " + table + values));
        assertFalse(statement.execute("INSERT INTO " + table + values));
        assertEquals(3, statement.getUpdateCount());
        assertEquals(2, statement.executeUpdate("INSERT INTO " + table
                + " (time, host, i) SELECT time, 'c', i FROM " + table + " WHERE host = 'a'"));
        assertEquals(List.of("5|9"), query("SELECT count(*), sum(i) FROM " + table));
        assertEquals(5, statement.executeUpdate("CREATE TABLE " + table + "_copy AS SELECT * FROM " + table));
    }

    @Test
    void deletesCountTheirRows() throws SQLException {
        fill();
        assertEquals(1, statement.executeUpdate("DELETE FROM " + table + " WHERE host = 'b'"));
        assertFalse(statement.execute("DELETE FROM " + table + " WHERE host = 'nobody'"));
        assertEquals(0, statement.getUpdateCount());
        assertEquals(List.of("2"), query("SELECT count(*) FROM " + table));
        try (PreparedStatement prepared = connection.prepareStatement("DELETE FROM " + table + " WHERE host = ?")) {
            prepared.setString(1, "a");
            assertEquals(2, prepared.executeUpdate());
        }
        assertEquals(List.of("0"), query("SELECT count(*) FROM " + table));
    }

    @Test
    void queriesAndUpdatesAreToldApart() throws SQLException {
        fill();
        assertFails(
                () -> statement.executeQuery("INSERT INTO " + table + " (time, host) VALUES (9, 'z')"),
                "Statement did not return a result set");
        // The driver finds out after it has run.
        assertEquals(List.of("1"), query("SELECT count(*) FROM " + table + " WHERE host = 'z'"));
        assertTrue(statement.execute("SELECT d FROM " + table + " WHERE host = 'b'"));
        try (ResultSet rows = statement.getResultSet()) {
            assertEquals(List.of("2.5"), texts(rows));
        }
        try (PreparedStatement prepared = connection.prepareStatement("SELECT 1")) {
            assertFails(prepared::executeUpdate, "returns rows", "run it as a query");
        }
    }

    @Test
    void everyStatementCommitsByItself() throws SQLException {
        create();
        assertTrue(connection.getAutoCommit());
        assertEquals(Connection.TRANSACTION_NONE, connection.getTransactionIsolation());
        // The driver takes all of these and does nothing: it asks neither the server nor its own metadata, which say
        // that there are no transactions.
        connection.setAutoCommit(false);
        assertFalse(connection.getAutoCommit());
        statement.executeUpdate("INSERT INTO " + table + " (time, host) VALUES (0, 'a')");
        try (Connection other = connect();
                var reader = other.createStatement();
                ResultSet rows = reader.executeQuery("SELECT count(*) FROM " + table)) {
            assertEquals(List.of("1"), texts(rows));
        }
        connection.rollback();
        assertEquals(List.of("1"), query("SELECT count(*) FROM " + table));
        connection.commit();
        connection.setAutoCommit(true);
        assertThrows(SQLFeatureNotSupportedException.class, connection::setSavepoint);
        for (String sql : List.of("BEGIN", "COMMIT", "ROLLBACK", "START TRANSACTION")) {
            assertFails(() -> statement.executeUpdate(sql), "not supported");
        }
    }

    @Test
    void errorsSayWhatIsWrong() throws SQLException {
        create();
        assertFails(() -> query("SELEC 1"), "found: SELEC", "line 1, column 1");
        assertFails(() -> query("SELECT *\nFROM nowhere"), "table \"nowhere\" does not exist in database \"main\"");
        assertFails(() -> query("SELECT nothing FROM " + table), "No field named nothing", table + ".host", "column 8");
        assertFails(() -> query("SELECT 1; SELECT 2"), "found 2 statements; send one at a time");
        assertFails(() -> query("SELECT nofunction(1)"), "nofunction");
        assertFails(() -> statement.executeUpdate("CREATE TABLE " + table + " (time TIMESTAMP)"), "already exists");
        assertFails(
                () -> statement.executeUpdate("INSERT INTO " + table + " (time, host, i) VALUES (0, 'a', 1.5)"),
                "column \"i\": 1.5 is not a BIGINT");
        assertFails(() -> query("SELECT CAST('x' AS BIGINT)"), "Cannot cast string 'x'");
        // The driver gives neither SQLSTATE nor code; the kind is in the cause.
        SQLException error = assertFails(() -> query("SELECT * FROM nowhere"));
        assertNull(error.getSQLState());
        assertEquals(0, error.getErrorCode());
        assertTrue(error.getCause().toString().contains("NOT_FOUND: "), error.getCause().toString());
        // A connection outlives its errors.
        assertEquals(List.of("1"), query("SELECT 1"));
    }

    @Test
    void errorsInTheMiddleOfAResult() throws SQLException {
        // The driver throws its own exception here, which is no SQLException.
        try (ResultSet rows = statement.executeQuery(
                "SELECT 10 / (value - 900000) AS x FROM generate_series(1, 1000000) AS t(value)")) {
            RuntimeException error = assertThrows(RuntimeException.class, () -> {
                while (rows.next()) {
                    rows.getLong(1);
                }
            });
            assertTrue(error.getMessage().contains("Divide by zero"), error.getMessage());
        }
        assertEquals(List.of("1"), query("SELECT 1"));
    }
}
