package quorate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What tools ask for when they connect and when they show a tree of databases, tables and columns. */
class MetadataTest extends ClientTest {
    private DatabaseMetaData metadata;

    @BeforeEach
    void metadata() throws SQLException {
        metadata = connection.getMetaData();
    }

    @Test
    void theProductNamesItself() throws SQLException {
        assertEquals("Quorate", metadata.getDatabaseProductName());
        assertTrue(metadata.getDatabaseProductVersion().matches("\\d+\\.\\d+\\.\\d+.*"));
        assertTrue(metadata.getURL().contains(Server.flight()));
        assertFalse(metadata.isReadOnly());
    }

    @Test
    void abilitiesAreTheServers() throws SQLException {
        assertEquals("\"", metadata.getIdentifierQuoteString());
        assertEquals("\\", metadata.getSearchStringEscape());
        assertEquals("database", metadata.getCatalogTerm());
        assertEquals("schema", metadata.getSchemaTerm());
        assertEquals(".", metadata.getCatalogSeparator());
        assertTrue(metadata.isCatalogAtStart());
        assertTrue(metadata.allTablesAreSelectable());
        assertTrue(metadata.supportsBatchUpdates());
        assertTrue(metadata.supportsGroupBy());
        assertTrue(metadata.supportsUnionAll());
        assertTrue(metadata.supportsFullOuterJoins());
        assertTrue(metadata.supportsCorrelatedSubqueries());
        assertFalse(metadata.supportsStoredProcedures());
        assertFalse(metadata.supportsSelectForUpdate());
        assertEquals(255, metadata.getMaxTableNameLength());
        assertEquals(255, metadata.getMaxColumnNameLength());
    }

    @Test
    void transactionsAreDenied() throws SQLException {
        assertFalse(metadata.supportsTransactions());
        assertFalse(metadata.supportsSavepoints());
        assertTrue(metadata.supportsTransactionIsolationLevel(Connection.TRANSACTION_NONE));
        assertFalse(metadata.supportsTransactionIsolationLevel(Connection.TRANSACTION_READ_COMMITTED));
        // The protocol has it as an int32, as the server sends it; the driver wants an int64.
        assertThrows(ClassCastException.class, metadata::getDefaultTransactionIsolation);
    }

    @Test
    void theDriverDoesNotAskForCaseAndOrder() throws SQLException {
        // The server says "lower case" and "nulls sorted high"; the driver has constants of its own.
        assertFalse(metadata.storesLowerCaseIdentifiers());
        assertTrue(metadata.storesUpperCaseIdentifiers());
        assertFalse(metadata.nullsAreSortedHigh());
        assertTrue(metadata.nullsAreSortedAtEnd());
    }

    @Test
    void keywordsAndFunctionsAreThere() throws SQLException {
        assertTrue(Set.of(metadata.getSQLKeywords().split(", ")).containsAll(Set.of("EXPLAIN", "LIMIT", "QUALIFY")));
        List<String> known = query("SELECT DISTINCT routine_name FROM information_schema.routines");
        for (String functions : List.of(metadata.getNumericFunctions(), metadata.getStringFunctions(),
                metadata.getTimeDateFunctions(), metadata.getSystemFunctions())) {
            for (String function : functions.split(", ")) {
                // These are syntax; the planner has other names for them.
                if (!Set.of("extract", "position", "trim", "current_date", "current_time").contains(function)) {
                    assertTrue(known.contains(function), function);
                }
            }
        }
        assertTrue(metadata.getTimeDateFunctions().contains("date_bin"));
    }

    @Test
    void catalogsAreDatabases() throws SQLException {
        statement.executeUpdate("CREATE DATABASE d_" + table);
        List<String> catalogs = column(metadata.getCatalogs(), "TABLE_CAT");
        assertTrue(catalogs.containsAll(List.of("main", "d_" + table)), catalogs.toString());
        assertEquals(
                List.of("information_schema", "public", "system"),
                column(metadata.getSchemas("d_" + table, null), "TABLE_SCHEM"));
        assertEquals(List.of("main"), column(metadata.getSchemas("main", "pub%"), "TABLE_CATALOG"));
        statement.executeUpdate("DROP DATABASE d_" + table);
        assertFalse(column(metadata.getCatalogs(), "TABLE_CAT").contains("d_" + table));
    }

    @Test
    void tableTypes() throws SQLException {
        assertEquals(List.of("SYSTEM TABLE", "TABLE", "VIEW"), column(metadata.getTableTypes(), "TABLE_TYPE"));
    }

    @Test
    void tablesAreFiltered() throws SQLException {
        create();
        statement.executeUpdate("CREATE TABLE \"" + table + "_X\" (time TIMESTAMP)");
        assertEquals(List.of(table), tables("main", "public", table, "TABLE"));
        assertEquals(List.of(table, table + "_X"), tables("main", "public", table + "%", "TABLE", "VIEW"));
        assertEquals(List.of(table, table + "_X"), tables(null, null, table + "%"));
        // "_" is any character, and itself after a backslash.
        assertEquals(List.of(table + "_X"), tables(null, "public", table + "__"));
        assertEquals(List.of(table + "_X"), tables(null, "public", table + "\\_X"));
        assertEquals(List.of(), tables(null, "public", table + "X"));
        assertEquals(List.of(), tables(null, null, table.toUpperCase(java.util.Locale.ROOT)));
        assertEquals(List.of(), tables("main", "system", table));
        assertEquals(List.of(), tables(null, null, table, "VIEW"));
        assertTrue(tables("main", null, "%", "SYSTEM TABLE").containsAll(List.of("columns", "queries")));
        // A catalog is no pattern.
        assertEquals(List.of(), tables("ma%", null, table));
        try (ResultSet rows = metadata.getTables("main", "public", table, null)) {
            assertTrue(rows.next());
            assertEquals("main", rows.getString("TABLE_CAT"));
            assertEquals("public", rows.getString("TABLE_SCHEM"));
            assertEquals("TABLE", rows.getString("TABLE_TYPE"));
            assertNull(rows.getString("REMARKS"));
            assertFalse(rows.next());
        }
    }

    private List<String> tables(String catalog, String schema, String name, String... types) throws SQLException {
        return column(metadata.getTables(catalog, schema, name, types.length == 0 ? null : types), "TABLE_NAME");
    }

    @Test
    void columnsAreDescribed() throws SQLException {
        create();
        try (ResultSet rows = metadata.getColumns("main", "public", table, "%")) {
            int time = KNOWS_ZONES ? Types.TIMESTAMP_WITH_TIMEZONE : Types.TIMESTAMP;
            check(rows, 1, "time", time, "TIMESTAMP(9) WITH TIME ZONE", "NO", "time");
            check(rows, 2, "host", Types.VARCHAR, "VARCHAR", "YES", "tag");
            check(rows, 3, "d", Types.DOUBLE, "DOUBLE", "YES", "field");
            check(rows, 4, "i", Types.BIGINT, "BIGINT", "YES", "field");
            check(rows, 5, "u", Types.BIGINT, "BIGINT UNSIGNED", "YES", "field");
            check(rows, 6, "b", Types.BOOLEAN, "BOOLEAN", "YES", "field");
            check(rows, 7, "text", Types.VARCHAR, "VARCHAR", "YES", "field");
            check(rows, 8, "seen", time, "TIMESTAMP(9) WITH TIME ZONE", "YES", "field");
            assertFalse(rows.next());
        }
        assertEquals(List.of("host"), column(metadata.getColumns(null, null, table, "h%"), "COLUMN_NAME"));
        assertEquals(
                List.of("table_catalog", "table_schema", "table_name", "table_type"),
                column(metadata.getColumns("main", "information_schema", "tables", null), "COLUMN_NAME"));
    }

    private void check(ResultSet rows, int position, String name, int type, String typeName, String nullable,
            String remarks) throws SQLException {
        assertTrue(rows.next());
        assertEquals(name, rows.getString("COLUMN_NAME"));
        assertEquals(table, rows.getString("TABLE_NAME"));
        assertEquals(position, rows.getInt("ORDINAL_POSITION"));
        assertEquals(type, rows.getInt("DATA_TYPE"));
        assertEquals(typeName, rows.getString("TYPE_NAME"));
        assertEquals(nullable, rows.getString("IS_NULLABLE"));
        assertEquals("NO", rows.getString("IS_AUTOINCREMENT"));
        // Older drivers leave remarks out.
        assertEquals(KNOWS_ZONES ? remarks : null, rows.getString("REMARKS"));
    }

    @Test
    void primaryKeysAreTheTagsAndTheTime() throws SQLException {
        create();
        try (ResultSet rows = metadata.getPrimaryKeys("main", "public", table)) {
            assertEquals(
                    List.of("main|public|" + table + "|host|1|null", "main|public|" + table + "|time|2|null"),
                    texts(rows));
        }
        try (ResultSet rows = metadata.getPrimaryKeys(null, null, "nothing")) {
            assertFalse(rows.next());
        }
    }

    @Test
    void whatIsNotThereIsEmptyAndNoError() throws SQLException {
        create();
        try (ResultSet rows = metadata.getImportedKeys("main", "public", table)) {
            assertFalse(rows.next());
        }
        try (ResultSet rows = metadata.getExportedKeys("main", "public", table)) {
            assertFalse(rows.next());
        }
        try (ResultSet rows = metadata.getCrossReference("main", "public", table, "main", "public", table)) {
            assertFalse(rows.next());
        }
        try (ResultSet rows = metadata.getIndexInfo("main", "public", table, false, true)) {
            assertFalse(rows.next());
        }
        try (ResultSet rows = metadata.getProcedures(null, null, "%")) {
            assertFalse(rows.next());
        }
        try (ResultSet rows = metadata.getFunctions(null, null, "%")) {
            assertFalse(rows.next());
        }
        try (ResultSet rows = metadata.getUDTs(null, null, "%", null)) {
            assertFalse(rows.next());
        }
        // The server lists its types; the driver does not ask.
        try (ResultSet rows = metadata.getTypeInfo()) {
            assertFalse(rows.next());
        }
    }
}
