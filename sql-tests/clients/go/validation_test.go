package clients

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-adbc/go/adbc/validation"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/suite"
)

// catalog is the database of the validation suite: in memory, since its tables have no time.
const catalog = "validation"

// quirks says what the suite may expect. What is off is off for the reason beside it.
type quirks struct {
	connection adbc.Connection
	version    string
	allocator  *memory.CheckedAllocator
}

func (q *quirks) SetupDriver(*testing.T) adbc.Driver {
	q.allocator = memory.NewCheckedAllocator(memory.DefaultAllocator)
	return driver.NewDriver(q.allocator)
}

func (q *quirks) TearDownDriver(t *testing.T, _ adbc.Driver) { q.allocator.AssertSize(t, 0) }

func (q *quirks) DatabaseOptions() map[string]string {
	return map[string]string{
		adbc.OptionKeyURI:                          "grpc://" + addresses.Flight,
		"adbc.flight.sql.rpc.call_header.database": catalog,
	}
}

func (q *quirks) run(sql string) error {
	statement, err := q.connection.NewStatement()
	if err != nil {
		return err
	}
	defer statement.Close()
	if err := statement.SetSqlQuery(sql); err != nil {
		return err
	}
	_, err = statement.ExecuteUpdate(context.Background())
	return err
}

func (q *quirks) CreateSampleTable(table string, rows arrow.RecordBatch) error {
	if err := q.run("DROP TABLE IF EXISTS " + table); err != nil {
		return err
	}
	types := map[arrow.Type]string{arrow.INT64: "BIGINT", arrow.STRING: "TEXT"}
	columns := make([]string, rows.NumCols())
	for i, field := range rows.Schema().Fields() {
		columns[i] = field.Name + " " + types[field.Type.ID()]
	}
	if err := q.run(fmt.Sprintf("CREATE TABLE %s (%s)", table, strings.Join(columns, ", "))); err != nil {
		return err
	}
	all := make([]string, rows.NumRows())
	for row := range all {
		values := make([]string, rows.NumCols())
		for column := range values {
			values[column] = "NULL"
			if array := rows.Column(column); array.IsValid(row) {
				values[column] = "'" + array.ValueStr(row) + "'"
			}
		}
		all[row] = "(" + strings.Join(values, ", ") + ")"
	}
	return q.run(fmt.Sprintf("INSERT INTO %s VALUES %s", table, strings.Join(all, ", ")))
}

func (q *quirks) DropTable(_ adbc.Connection, table string) error {
	return q.run("DROP TABLE IF EXISTS " + table)
}

func (q *quirks) Alloc() memory.Allocator { return q.allocator }
func (q *quirks) BindParameter(index int) string {
	return fmt.Sprintf("$%d", index+1)
}

// Uploads go into stored tables, which have a time; those of the suite have none. See ingest_test.go.
func (q *quirks) SupportsBulkIngest(string) bool              { return false }
func (q *quirks) SupportsErrorIngestIncompatibleSchema() bool { return true }

func (q *quirks) SupportsConcurrentStatements() bool { return true }
func (q *quirks) SupportsCurrentCatalogSchema() bool { return true }
func (q *quirks) SupportsExecuteSchema() bool        { return true }
func (q *quirks) SupportsGetSetOptions() bool        { return true }
func (q *quirks) SupportsPartitionedData() bool      { return true }

// The driver has none.
func (q *quirks) SupportsStatistics() bool { return false }

// There are none.
func (q *quirks) SupportsTransactions() bool { return false }

func (q *quirks) SupportsGetParameterSchema() bool      { return true }
func (q *quirks) SupportsDynamicParameterBinding() bool { return true }

func (q *quirks) GetMetadata(code adbc.InfoCode) interface{} {
	switch code {
	case adbc.InfoDriverName:
		return "ADBC Flight SQL Driver - Go"
	case adbc.InfoDriverVersion, adbc.InfoDriverArrowVersion:
		return "(unknown or development build)"
	case adbc.InfoDriverADBCVersion:
		return adbc.AdbcVersion1_1_0
	case adbc.InfoVendorName:
		return "Quorate"
	case adbc.InfoVendorVersion:
		return q.version
	case adbc.InfoVendorArrowVersion:
		// Of the format.
		return "1.5"
	}
	return nil
}

func (q *quirks) SampleTableSchemaMetadata(string, arrow.DataType) arrow.Metadata {
	return arrow.Metadata{}
}

func (q *quirks) Catalog() string  { return catalog }
func (q *quirks) DBSchema() string { return "public" }

// TestValidation runs the suite that the ADBC project has for its drivers.
func TestValidation(t *testing.T) {
	update(t, connect(t, nil), "CREATE DATABASE "+catalog+" WITH (kind = 'memory')")
	q := &quirks{}
	q.connection = connect(t, q.DatabaseOptions())
	q.version = strings.TrimPrefix(query(t, q.connection, "SELECT version()")[0], "Quorate ")
	suite.Run(t, &validation.DatabaseTests{Quirks: q})
	suite.Run(t, &validation.ConnectionTests{Quirks: q})
	suite.Run(t, &validation.StatementTests{Quirks: q})
}
