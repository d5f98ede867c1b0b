package clients

import (
	"context"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// ingest writes the batches into a table, in a mode, with options besides.
func ingest(t *testing.T, connection adbc.Connection, table, mode string, extra map[string]string,
	batches ...arrow.RecordBatch) (int64, error) {
	t.Helper()
	reader, err := array.NewRecordReader(batches[0].Schema(), batches)
	check(t, err)
	defer reader.Release()
	return adbc.IngestStream(context.Background(), connection, reader, table, mode,
		adbc.IngestStreamOptions{Extra: extra})
}

func TestIngestModes(t *testing.T) {
	connection, table := connect(t, nil), newTable()
	_, err := ingest(t, connection, table, adbc.OptionValueIngestModeAppend, nil, batch(0, 3))
	fails(t, err, adbc.StatusNotFound, table)
	for _, step := range []struct {
		mode  string
		start int
		want  string
	}{
		{adbc.OptionValueIngestModeCreate, 0, "3|0|2"},
		{adbc.OptionValueIngestModeAppend, 3, "6|0|5"},
		{adbc.OptionValueIngestModeCreateAppend, 6, "9|0|8"},
		// The same rows again are there once.
		{adbc.OptionValueIngestModeAppend, 6, "9|0|8"},
		{adbc.OptionValueIngestModeReplace, 100, "3|100|102"},
	} {
		count, err := ingest(t, connection, table, step.mode, nil, batch(step.start, 3))
		check(t, err)
		equal(t, count, 3)
		equal(t, query(t, connection, "SELECT count(*), min(value), max(value) FROM "+table), []string{step.want})
	}
	_, err = ingest(t, connection, table, adbc.OptionValueIngestModeCreate, nil, batch(0, 3))
	fails(t, err, adbc.StatusAlreadyExists, "exists")
}

func TestIngestIsStreamed(t *testing.T) {
	connection, table := connect(t, nil), newTable()
	var batches []arrow.RecordBatch
	for part := range 10 {
		batches = append(batches, batch(part*50_000, 50_000))
	}
	count, err := ingest(t, connection, table, adbc.OptionValueIngestModeCreate, nil, batches...)
	check(t, err)
	equal(t, count, 500_000)
	equal(t, query(t, connection, "SELECT count(*), max(value) FROM "+table), []string{"500000|499999"})
}

func TestIngestWhere(t *testing.T) {
	connection, table := connect(t, nil), newTable()
	name := "d_" + table
	update(t, connection, "CREATE DATABASE "+name)
	_, err := ingest(t, connection, table, adbc.OptionValueIngestModeCreate,
		map[string]string{adbc.OptionValueIngestTargetCatalog: name}, batch(0, 3))
	check(t, err)
	equal(t, query(t, connection, "SELECT count(*) FROM "+name+".public."+table), []string{"3"})
	_, err = ingest(t, connection, table, adbc.OptionValueIngestModeAppend,
		map[string]string{adbc.OptionValueIngestTargetDBSchema: "other"}, batch(0, 3))
	fails(t, err, adbc.StatusNotFound, "schema")
	_, err = ingest(t, connection, table, adbc.OptionValueIngestModeCreate,
		map[string]string{adbc.OptionValueIngestTemporary: adbc.OptionValueEnabled}, batch(0, 3))
	fails(t, err, adbc.StatusNotImplemented, "temporary")
	update(t, connection, "DROP DATABASE "+name)
}

func TestIngestTagsAndTypes(t *testing.T) {
	connection, table := connect(t, nil), newTable()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}},
		{Name: "host", Type: arrow.BinaryTypes.String},
		{Name: "note", Type: arrow.BinaryTypes.LargeString, Nullable: true},
		{Name: "small", Type: arrow.PrimitiveTypes.Int8},
		{Name: "large", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "half", Type: arrow.PrimitiveTypes.Float32},
		{Name: "good", Type: arrow.FixedWidthTypes.Boolean},
	}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	builder.Field(0).(*array.TimestampBuilder).Append(1_700_000_000_000)
	builder.Field(1).(*array.StringBuilder).Append("a")
	builder.Field(2).AppendNull()
	builder.Field(3).(*array.Int8Builder).Append(-8)
	builder.Field(4).(*array.Uint64Builder).Append(1<<64 - 1)
	builder.Field(5).(*array.Float32Builder).Append(0.5)
	builder.Field(6).(*array.BooleanBuilder).Append(true)
	count, err := ingest(t, connection, table, adbc.OptionValueIngestModeCreate, map[string]string{
		driver.OptionRPCCallHeaderPrefix + "quorate-tags": "host",
		driver.OptionRPCCallHeaderPrefix + "quorate-time": "at",
	}, builder.NewRecordBatch())
	check(t, err)
	equal(t, count, 1)
	equal(t, query(t, connection, "SELECT * FROM "+table),
		[]string{"2023-11-14T22:13:20Z|a|(null)|-8|18446744073709551615|0.5|true"})
	// One tag: the other text is a field.
	equal(t, query(t, connection, "SELECT tags FROM system.tables WHERE table_name = '"+table+"'"), []string{"1"})
}

func TestIngestWithoutATime(t *testing.T) {
	connection, table := connect(t, nil), newTable()
	schema := arrow.NewSchema([]arrow.Field{{Name: "host", Type: arrow.BinaryTypes.String}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	builder.Field(0).(*array.StringBuilder).Append("a")
	_, err := ingest(t, connection, table, adbc.OptionValueIngestModeCreate, nil, builder.NewRecordBatch())
	fails(t, err, adbc.StatusInvalidArgument, "time")
}
