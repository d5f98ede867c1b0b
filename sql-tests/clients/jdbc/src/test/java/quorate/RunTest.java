package quorate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;

/** How queries run and end: results larger than memory, limits of rows and of time, cancellation. */
class RunTest extends ClientTest {
    @Test
    void aLargeResultIsStreamed() throws SQLException {
        // 2,000,000 rows of 200 bytes: more than heap and buffers of this virtual machine together.
        long count = 2_000_000;
        assertTrue(Runtime.getRuntime().maxMemory() < 128 << 20);
        long rowsSeen = 0;
        long sum = 0;
        try (ResultSet rows = statement.executeQuery("SELECT value, repeat('x', 192) AS filler "
                + "FROM generate_series(1, " + count + ") AS t(value)")) {
            while (rows.next()) {
                sum += rows.getLong(1);
                rowsSeen++;
                if (rowsSeen % 1000 == 0) {
                    assertEquals(192, rows.getString(2).length());
                }
            }
        }
        assertEquals(count, rowsSeen);
        assertEquals(count * (count + 1) / 2, sum);
    }

    @Test
    void aResultThatIsClosedEarlyEndsItsQuery() throws SQLException, InterruptedException {
        try (Connection other = connect();
                Statement reader = other.createStatement();
                ResultSet rows = reader.executeQuery(FLOWING)) {
            for (long i = 1; i <= 10; i++) {
                assertTrue(rows.next());
                assertEquals(i, rows.getLong(1));
            }
            await(FLOWING, 1);
        }
        await(FLOWING, 0);
    }

    @Test
    void rowsAreLimitedByTheDriver() throws SQLException {
        statement.setMaxRows(3);
        assertEquals(3, statement.getMaxRows());
        assertEquals(List.of("1", "2", "3"), query("SELECT value FROM generate_series(1, 1000000) AS t(value)"));
        statement.setMaxRows(0);
        statement.setFetchSize(2);
        assertEquals(5, query("SELECT value FROM generate_series(1, 5) AS t(value)").size());
        String nine = "SELECT value FROM generate_series(1, 9) AS t(value)";
        try (PreparedStatement prepared = connection.prepareStatement(nine)) {
            prepared.setMaxRows(2);
            try (ResultSet rows = prepared.executeQuery()) {
                assertEquals(List.of("1", "2"), texts(rows));
            }
        }
    }

    @Test
    void resultsGoForwardOnly() throws SQLException {
        try (ResultSet rows = statement.executeQuery("SELECT 1 AS x UNION ALL SELECT 1")) {
            assertEquals(ResultSet.TYPE_FORWARD_ONLY, rows.getType());
            assertEquals(ResultSet.CONCUR_READ_ONLY, rows.getConcurrency());
            assertTrue(rows.isBeforeFirst());
            assertTrue(rows.next());
            assertEquals(1, rows.getRow());
            assertThrows(SQLException.class, rows::previous);
            // The next statement closes it.
            assertEquals(List.of("1"), query("SELECT 1"));
            assertTrue(rows.isClosed());
        }
    }

    @Test
    void queryTimeoutIsTheTimeUntilTheFirstRows() throws SQLException, InterruptedException {
        try (Connection other = connect();
                Statement timed = other.createStatement()) {
            timed.setQueryTimeout(1);
            assertEquals(1, timed.getQueryTimeout());
            assertFails(() -> timed.executeQuery(ENDLESS), "Query timed out after 1 SECONDS");
            // The driver leaves the query to the server, and its one thread waits on, until the statement is used
            // again or closed.
            assertEquals(1, running(ENDLESS));
            timed.setQueryTimeout(0);
            try (ResultSet rows = timed.executeQuery("SELECT 1")) {
                assertEquals(List.of("1"), texts(rows));
            }
            await(ENDLESS, 0);
        }
    }

    @Test
    void theHeaderQueryTimeoutIsThatOfTheWholeQuery() throws SQLException {
        try (Connection timed = connect("query-timeout=300ms");
                Statement other = timed.createStatement()) {
            assertFails(() -> other.executeQuery(ENDLESS), "ran longer than its query_timeout of 300ms");
            try (ResultSet rows = other.executeQuery(FLOWING)) {
                // The driver's own exception again.
                RuntimeException error = assertThrows(RuntimeException.class, () -> {
                    while (rows.next()) {
                        rows.getLong(1);
                    }
                });
                assertTrue(error.getMessage().contains("query_timeout of 300ms"), error.getMessage());
            }
        }
    }

    @Test
    void cancelBeforeTheFirstRow() throws Exception {
        try (Connection other = connect();
                Statement reader = other.createStatement()) {
            CompletableFuture<SQLException> failure = CompletableFuture.supplyAsync(
                    () -> assertFails(() -> reader.executeQuery(ENDLESS), "Cancel"));
            await(ENDLESS, 1);
            // The statement learns of its result a little after the server learns of the query.
            while (!failure.isDone()) {
                reader.cancel();
                Thread.sleep(10);
            }
            failure.get();
            await(ENDLESS, 0);
            // The statement may remember a cancellation that came late; the connection does not.
            try (Statement next = other.createStatement();
                    ResultSet rows = next.executeQuery("SELECT 1")) {
                assertEquals(List.of("1"), texts(rows));
            }
        }
    }

    @Test
    void cancelBetweenRows() throws Exception {
        try (Connection other = connect();
                Statement reader = other.createStatement();
                ResultSet rows = reader.executeQuery(FLOWING)) {
            assertTrue(rows.next());
            await(FLOWING, 1);
            // From another thread, while this one does not read: the driver frees at once what the reader looks at.
            CompletableFuture.runAsync(() -> {
                try {
                    reader.cancel();
                } catch (SQLException error) {
                    throw new CompletionException(error);
                }
            }).get();
            Exception error = assertThrows(Exception.class, rows::next);
            // That of the stream or that of the statement, whichever is first.
            assertTrue(error.getMessage().matches("(?s).*[cC]ancel.*"), error.getMessage());
            await(FLOWING, 0);
        }
    }

    @Test
    void killEndsAQueryOfAnotherConnection() throws Exception {
        try (Connection other = connect();
                Statement reader = other.createStatement()) {
            CompletableFuture<SQLException> failure = CompletableFuture.supplyAsync(
                    () -> assertFails(() -> reader.executeQuery(ENDLESS), "was cancelled"));
            await(ENDLESS, 1);
            List<String> ids = query("SELECT query_id FROM system.queries WHERE query = '" + ENDLESS + "'");
            assertEquals(0, statement.executeUpdate("KILL QUERY " + ids.get(0)));
            assertTrue(failure.get().getCause().toString().contains("CANCELLED: "));
        }
        await(ENDLESS, 0);
    }

    @Test
    void aConnectionFetchesOneResultAtATimeUnlessToldOtherwise() throws Exception {
        // The driver has one thread per connection that waits for rows: with the default a second query would wait
        // for the first rows of the first.
        try (Connection wide = connect("threadPoolSize=2");
                Statement slow = wide.createStatement();
                Statement quick = wide.createStatement()) {
            CompletableFuture<SQLException> failure = CompletableFuture.supplyAsync(
                    () -> assertThrows(SQLException.class, () -> slow.executeQuery(ENDLESS)));
            await(ENDLESS, 1);
            try (ResultSet rows = quick.executeQuery("SELECT 1")) {
                assertEquals(List.of("1"), texts(rows));
            }
            assertFalse(failure.isDone());
            while (!failure.isDone()) {
                slow.cancel();
                Thread.sleep(10);
            }
        }
        await(ENDLESS, 0);
    }
}
