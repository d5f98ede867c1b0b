package quorate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import java.util.Properties;
import org.junit.jupiter.api.Test;

/** Properties of the connection, and the session behind it. */
class ConnectTest extends ClientTest {
    private static List<String> ask(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(sql)) {
            return texts(rows);
        }
    }

    @Test
    void propertiesComeInTheUrlOrBesideIt() throws SQLException {
        Properties properties = new Properties();
        properties.put("useEncryption", "false");
        properties.put("user", "somebody");
        properties.put("password", "secret");
        properties.put("database", "main");
        try (Connection beside = DriverManager.getConnection("jdbc:arrow-flight-sql://" + Server.flight(), properties);
                Connection inside = connect("user=somebody", "password=secret");
                Connection token = connect("token=any")) {
            for (Connection each : List.of(beside, inside, token)) {
                assertEquals(List.of("1"), ask(each, "SELECT 1"));
                assertTrue(each.isValid(5));
            }
        }
    }

    @Test
    void thePortOfHttpSpeaksFlightSqlToo() throws SQLException {
        try (Connection http = DriverManager.getConnection(url(Server.http()))) {
            assertEquals(List.of("1"), ask(http, "SELECT 1"));
        }
    }

    @Test
    void encryptionIsAskedForUnlessSwitchedOff() throws SQLException {
        // The driver's default; it connects with its first call, and its message does not say that TLS is the cause.
        try (Connection encrypted = DriverManager.getConnection("jdbc:arrow-flight-sql://" + Server.flight())) {
            assertFails(() -> ask(encrypted, "SELECT 1"), "io exception", "SslHandler");
        }
    }

    @Test
    void aServerThatIsNotThereIsAnError() throws SQLException {
        // Port 1 of this machine: nothing listens there. With a user the driver calls at once, without one later.
        assertFails(() -> DriverManager.getConnection(url("127.0.0.1:1", "user=a", "password=b")), "UNAVAILABLE");
        try (Connection nobody = DriverManager.getConnection(url("127.0.0.1:1"))) {
            assertFails(() -> ask(nobody, "SELECT 1"), "io exception");
        }
    }

    @Test
    void thePropertyDatabaseIsWhereNamesAreLookedUp() throws SQLException {
        statement.executeUpdate("CREATE DATABASE d_" + table);
        try (Connection inside = connect("database=d_" + table)) {
            assertEquals(List.of("database|d_" + table), ask(inside, "SHOW database"));
            try (Statement there = inside.createStatement()) {
                there.executeUpdate("CREATE TABLE " + table + " (time TIMESTAMP, host STRING)");
            }
            assertEquals(List.of("0"), ask(inside, "SELECT count(*) FROM " + table));
        }
        assertEquals(List.of("0"), query("SELECT count(*) FROM d_" + table + ".public." + table));
        assertFails(() -> query("SELECT * FROM " + table), table, "does not exist");
        statement.executeUpdate("DROP DATABASE d_" + table);
    }

    @Test
    void aDatabaseThatIsNotThereIsNamedByTheFirstQueryOfATable() throws SQLException {
        try (Connection nowhere = connect("database=nowhere")) {
            assertFails(() -> ask(nowhere, "SELECT * FROM t"), "database \"nowhere\" does not exist");
        }
    }

    @Test
    void thePropertyCatalogSetsTheSession() throws SQLException {
        // The driver asks for the session option, and closes the session twice: its own second closing fails, since
        // the first has shut the channel. Use the property "database" instead.
        Connection inside = connect("catalog=main");
        assertEquals(List.of("database|main"), ask(inside, "SHOW database"));
        assertFails(inside::close, "Channel shutdown");
        assertFails(() -> connect("catalog=nowhere"), "Cannot set session option for catalog");
    }

    @Test
    void setCatalogStaysInTheDriver() throws SQLException {
        // The driver remembers the name and tells the server nothing; USE does.
        statement.executeUpdate("CREATE DATABASE d_" + table);
        assertNull(connection.getCatalog());
        connection.setCatalog("d_" + table);
        assertEquals("d_" + table, connection.getCatalog());
        assertEquals(List.of("database|main"), query("SHOW database"));
        statement.executeUpdate("USE d_" + table);
        assertEquals(List.of("database|d_" + table), query("SHOW database"));
        statement.executeUpdate("USE main");
        statement.executeUpdate("DROP DATABASE d_" + table);
    }

    @Test
    void setHoldsForTheConnectionAndNoOther() throws SQLException {
        String mine = "consistency|local, quorum";
        statement.execute("SET consistency = local");
        try (Connection other = connect()) {
            assertEquals(List.of(mine), query("SHOW consistency"));
            assertFalse(ask(other, "SHOW consistency").contains(mine));
        }
        statement.execute("RESET consistency");
        assertFalse(query("SHOW consistency").contains(mine));
    }

    @Test
    void unknownPropertiesAreCallHeaders() throws SQLException {
        try (Connection timed = connect("query-timeout=23s")) {
            assertEquals(List.of("query_timeout|23s"), ask(timed, "SHOW query_timeout"));
        }
        try (Connection wrong = connect("timezone=Mars/Base")) {
            assertFails(() -> ask(wrong, "SELECT 1"), "header timezone", "Mars/Base");
        }
    }

    @Test
    void aClosedConnectionIsClosed() throws SQLException {
        Connection other = connect();
        other.close();
        assertTrue(other.isClosed());
    }
}
