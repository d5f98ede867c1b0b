package quorate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.function.Executable;

/** What all tests share: the server, a connection, a name for a table that no other test uses, and comparisons. */
@ExtendWith(Server.class)
@Timeout(value = 60, unit = TimeUnit.SECONDS, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
abstract class ClientTest {
    /** A query that does not end by itself, and gives nothing before its end. */
    static final String ENDLESS =
            "SELECT sum(value % 3) AS never FROM generate_series(1, 1000000000000000) AS t(value)";

    /** A query that gives rows from the start and does not end by itself. */
    static final String FLOWING = "SELECT value FROM generate_series(1, 1000000000000000) AS t(value)";

    /** Whether the driver has java.time and describes times with a zone as such. */
    static final boolean KNOWS_ZONES = Integer.parseInt(System.getProperty("driver.version").split("\\.")[0]) >= 18;

    private static final AtomicInteger NUMBERS = new AtomicInteger();

    Connection connection;
    Statement statement;
    String table;

    @BeforeEach
    void open() throws SQLException {
        connection = connect();
        statement = connection.createStatement();
        table = "t" + NUMBERS.incrementAndGet();
    }

    @AfterEach
    void close() throws SQLException {
        // The driver does not close statements with their connection, and complains of what they hold.
        statement.close();
        connection.close();
    }

    /** A connection with these properties besides, such as "database=lab". */
    static Connection connect(String... properties) throws SQLException {
        // The driver takes the property for itself, too, and then sends times as the instants that they are.
        String zone = String.join("&", properties).contains("timezone=") ? "" : "&timezone=UTC";
        return DriverManager.getConnection(url(Server.flight(), properties) + zone);
    }

    static String url(String address, String... properties) {
        String url = "jdbc:arrow-flight-sql://" + address + "/?useEncryption=false";
        return properties.length == 0 ? url : url + "&" + String.join("&", properties);
    }

    /** Makes the test's table with every type of columns. */
    void create() throws SQLException {
        statement.executeUpdate("CREATE TABLE " + table + " (time TIMESTAMP NOT NULL, host STRING, d DOUBLE, i BIGINT, "
                + "u BIGINT UNSIGNED, b BOOLEAN, text STRING, seen TIMESTAMP, PRIMARY KEY (host, time))");
    }

    /** Makes it with three rows. */
    void fill() throws SQLException {
        create();
        assertEquals(3, statement.executeUpdate("INSERT INTO " + table + " (time, host, d, i) VALUES "
                + "('2024-01-01T00:00:00Z', 'a', 1.5, 1), ('2024-01-01T00:00:01Z', 'b', 2.5, 2), "
                + "('2024-01-01T00:00:02Z', 'a', 3.5, NULL)"));
    }

    /** Runs a query and gives its rows as texts, as in "a|1.5|null". */
    List<String> query(String sql) throws SQLException {
        try (ResultSet rows = statement.executeQuery(sql)) {
            return texts(rows);
        }
    }

    /** The rows that are left, as texts. */
    static List<String> texts(ResultSet rows) throws SQLException {
        int columns = rows.getMetaData().getColumnCount();
        List<String> all = new ArrayList<>();
        while (rows.next()) {
            List<String> row = new ArrayList<>();
            for (int column = 1; column <= columns; column++) {
                row.add(String.valueOf(rows.getString(column)));
            }
            all.add(String.join("|", row));
        }
        return all;
    }

    /** One column of the rows that are left, which are then closed. */
    static List<String> column(ResultSet rows, String name) throws SQLException {
        try (rows) {
            List<String> all = new ArrayList<>();
            while (rows.next()) {
                all.add(rows.getString(name));
            }
            return all;
        }
    }

    /** Fails unless the call throws an SQLException whose message has these parts. */
    static SQLException assertFails(Executable call, String... parts) {
        SQLException error = assertThrows(SQLException.class, call);
        for (String part : parts) {
            assertTrue(error.getMessage().contains(part), () -> "no \"" + part + "\" in: " + error.getMessage());
        }
        return error;
    }

    /** How many queries with this text the server runs now. */
    long running(String sql) throws SQLException {
        try (var count = connection.prepareStatement("SELECT count(*) FROM system.queries WHERE query = ?")) {
            count.setString(1, sql);
            try (ResultSet rows = count.executeQuery()) {
                rows.next();
                return rows.getLong(1);
            }
        }
    }

    /** Waits until the server runs this many queries with this text; the test's limit of time ends the wait. */
    void await(String sql, long count) throws SQLException, InterruptedException {
        while (running(sql) != count) {
            Thread.sleep(5);
        }
    }
}
