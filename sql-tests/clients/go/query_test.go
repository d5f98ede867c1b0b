package clients

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func TestQueryGivesTypedColumns(t *testing.T) {
	connection := connect(t, nil)
	table := filled(t, connection)
	rows, count, err := statement(t, connection, "SELECT * FROM "+table+" ORDER BY time").
		ExecuteQuery(context.Background())
	check(t, err)
	// How many rows there will be is not known.
	equal(t, count, -1)
	types := map[string]arrow.DataType{
		"time": &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"},
		"host": arrow.BinaryTypes.String,
		"d":    arrow.PrimitiveTypes.Float64,
		"i":    arrow.PrimitiveTypes.Int64,
		"u":    arrow.PrimitiveTypes.Uint64,
		"b":    arrow.FixedWidthTypes.Boolean,
		"text": arrow.BinaryTypes.String,
	}
	equal(t, len(rows.Schema().Fields()), len(types))
	for _, field := range rows.Schema().Fields() {
		if !arrow.TypeEqual(field.Type, types[field.Name]) {
			t.Errorf("%s is %s", field.Name, field.Type)
		}
	}
	equal(t, texts(t, rows), []string{
		"2024-01-01T00:00:00Z|a|1.5|1|(null)|(null)|(null)",
		"2024-01-01T00:00:01Z|b|2.5|2|(null)|(null)|(null)",
		"2024-01-01T00:00:02Z|a|3.5|(null)|(null)|(null)|(null)",
	})
}

func TestEmptyResultHasItsSchema(t *testing.T) {
	connection := connect(t, nil)
	rows, _, err := statement(t, connection, "SELECT 1 AS one, 'x' AS two WHERE false").
		ExecuteQuery(context.Background())
	check(t, err)
	equal(t, rows.Schema().Field(1).Name, "two")
	equal(t, texts(t, rows), []string{})
}

func TestUpdatesCountTheirRows(t *testing.T) {
	connection := connect(t, nil)
	table := filled(t, connection)
	equal(t, update(t, connection, "INSERT INTO "+table+" SELECT * FROM "+table), 3)
	equal(t, query(t, connection, "SELECT count(*) FROM "+table), []string{"3"})
	equal(t, update(t, connection, "DELETE FROM "+table+" WHERE host = 'a'"), 2)
	equal(t, query(t, connection, "SELECT host FROM "+table), []string{"b"})
	equal(t, update(t, connection, "DROP TABLE "+table), 0)
}

func TestValuesSurviveParametersExactly(t *testing.T) {
	connection := connect(t, nil)
	table := create(t, connection)
	insert := statement(t, connection,
		"INSERT INTO "+table+" (time, host, d, i, u, b, text) VALUES (?, ?, ?, ?, ?, ?, ?)")
	check(t, insert.Prepare(context.Background()))
	parameters, err := insert.GetParameterSchema()
	check(t, err)
	equal(t, parameters.NumFields(), 7)

	schema := arrow.NewSchema([]arrow.Field{
		{Name: "0", Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}},
		{Name: "1", Type: arrow.BinaryTypes.String},
		{Name: "2", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "3", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "4", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
		{Name: "5", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "6", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	nan := math.Float64frombits(0x7ff8000000000123)
	builder.Field(0).(*array.TimestampBuilder).AppendValues(
		[]arrow.Timestamp{math.MinInt64 + 1, 0, 1_700_000_000_123_456_789, math.MaxInt64}, nil)
	builder.Field(1).(*array.StringBuilder).AppendValues([]string{"a", "a", "a", "a"}, nil)
	builder.Field(2).(*array.Float64Builder).AppendValues(
		[]float64{nan, math.Inf(-1), math.Copysign(0, -1), 0}, []bool{true, true, true, false})
	builder.Field(3).(*array.Int64Builder).AppendValues(
		[]int64{math.MinInt64, math.MaxInt64, 0, 0}, []bool{true, true, true, false})
	builder.Field(4).(*array.Uint64Builder).AppendValues(
		[]uint64{math.MaxUint64, 1 << 63, 0, 0}, []bool{true, true, true, false})
	builder.Field(5).(*array.BooleanBuilder).AppendValues(
		[]bool{true, false, true, false}, []bool{true, true, true, false})
	builder.Field(6).(*array.StringBuilder).AppendValues(
		[]string{"zoé 🎈", "", "'\"\\", ""}, []bool{true, true, true, false})
	sent := builder.NewRecordBatch()
	defer sent.Release()
	check(t, insert.Bind(context.Background(), sent))
	count, err := insert.ExecuteUpdate(context.Background())
	check(t, err)
	equal(t, count, 4)

	rows, _, err := statement(t, connection, "SELECT time, host, d, i, u, b, text FROM "+table+" ORDER BY time").
		ExecuteQuery(context.Background())
	check(t, err)
	defer rows.Release()
	if !rows.Next() {
		t.Fatal("no rows: ", rows.Err())
	}
	got := rows.RecordBatch()
	for column := range 7 {
		if !array.Equal(got.Column(column), sent.Column(column)) && column != 2 {
			t.Errorf("column %d: got %s, want %s", column, got.Column(column), sent.Column(column))
		}
	}
	// Every bit of a double, which comparison does not see.
	for row := range 3 {
		bits := math.Float64bits(got.Column(2).(*array.Float64).Value(row))
		equal(t, bits, math.Float64bits(sent.Column(2).(*array.Float64).Value(row)))
	}
	equal(t, got.Column(2).IsNull(3), true)
}

func TestQueryTakesParameters(t *testing.T) {
	connection := connect(t, nil)
	table := filled(t, connection)
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "0", Type: arrow.BinaryTypes.String},
		{Name: "1", Type: arrow.PrimitiveTypes.Float64},
		{Name: "2", Type: arrow.PrimitiveTypes.Int64},
	}, nil)
	prepared := statement(t, connection,
		"SELECT d FROM "+table+" WHERE host = $1 AND d >= $2 ORDER BY time LIMIT $3")
	check(t, prepared.Prepare(context.Background()))
	bind := func(host string, from float64, limit int64) []string {
		builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		defer builder.Release()
		builder.Field(0).(*array.StringBuilder).Append(host)
		builder.Field(1).(*array.Float64Builder).Append(from)
		builder.Field(2).(*array.Int64Builder).Append(limit)
		row := builder.NewRecordBatch()
		defer row.Release()
		check(t, prepared.Bind(context.Background(), row))
		rows, _, err := prepared.ExecuteQuery(context.Background())
		check(t, err)
		return texts(t, rows)
	}
	equal(t, bind("a", 0, 10), []string{"1.5", "3.5"})
	equal(t, bind("a", 2, 10), []string{"3.5"})
	equal(t, bind("a", 0, 1), []string{"1.5"})
	equal(t, bind("nobody", 0, 10), []string{})
}

func TestLargeResultArrivesWhole(t *testing.T) {
	connection := connect(t, nil)
	rows, _, err := statement(t, connection,
		"SELECT value, CAST(value AS VARCHAR) AS text FROM generate_series(1, 2000000) AS t(value)").
		ExecuteQuery(context.Background())
	check(t, err)
	defer rows.Release()
	var count, sum int64
	for rows.Next() {
		count += rows.RecordBatch().NumRows()
		for _, value := range rows.RecordBatch().Column(0).(*array.Int64).Int64Values() {
			sum += value
		}
	}
	check(t, rows.Err())
	equal(t, count, 2_000_000)
	equal(t, sum, 2_000_001_000_000)
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	connection := connect(t, nil)
	table := create(t, connection)
	for _, each := range []struct {
		sql  string
		code adbc.Status
		part string
	}{
		{"SELEC 1", adbc.StatusInvalidArgument, "line 1, column 1"},
		{"SELECT * FROM nowhere", adbc.StatusNotFound, "table \"nowhere\" does not exist"},
		{"SELECT nothing FROM " + table, adbc.StatusNotFound, "No field named nothing"},
		{"SELECT 1; SELECT 2", adbc.StatusInvalidArgument, "send one at a time"},
		{"CREATE TABLE " + table + " (time TIMESTAMP)", adbc.StatusAlreadyExists, "already exists"},
		{"INSERT INTO " + table + " (time, i) VALUES (0, 1.5)", adbc.StatusInvalidArgument, "1.5 is not a BIGINT"},
		{"BEGIN", adbc.StatusNotImplemented, "not supported"},
		{"SELECT 10 / (value - 900000) FROM generate_series(1, 1000000) AS t(value)", adbc.StatusInvalidArgument,
			"Divide by zero"},
	} {
		fails(t, run(context.Background(), statement(t, connection, each.sql)), each.code, each.part)
	}
	equal(t, query(t, connection, "SELECT 1"), []string{"1"})
}

func TestTransactionsAreRefused(t *testing.T) {
	connection := connect(t, nil)
	err := connection.(adbc.PostInitOptions).SetOption(adbc.OptionKeyAutoCommit, adbc.OptionValueDisabled)
	fails(t, err, adbc.StatusNotImplemented)
	fails(t, connection.Commit(context.Background()), adbc.StatusInvalidState)
}

func TestContextCancelsAQuery(t *testing.T) {
	connection, other := connect(t, nil), connect(t, nil)
	for _, sql := range []string{endless, flowing} {
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error, 1)
		running := statement(t, connection, sql)
		go func() { result <- run(ctx, running) }()
		await(t, other, sql, "1")
		cancel()
		err := <-result
		if found, ok := asError(err); !errors.Is(err, context.Canceled) && (!ok || found.Code != adbc.StatusCancelled) {
			t.Fatalf("cancelled, and got %v", err)
		}
		await(t, other, sql, "0")
		equal(t, query(t, connection, "SELECT 1"), []string{"1"})
	}
}

func TestReleaseEndsAQuery(t *testing.T) {
	connection, other := connect(t, nil), connect(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	rows, _, err := statement(t, connection, flowing).ExecuteQuery(ctx)
	check(t, err)
	equal(t, rows.Next(), true)
	equal(t, rows.RecordBatch().Column(0).(*array.Int64).Value(0), 1)
	await(t, other, flowing, "1")
	rows.Release()
	await(t, other, flowing, "0")
}

func TestKillEndsAQuery(t *testing.T) {
	connection, other := connect(t, nil), connect(t, nil)
	result := make(chan error, 1)
	running := statement(t, connection, endless)
	go func() { result <- run(context.Background(), running) }()
	await(t, other, endless, "1")
	ids := query(t, other, "SELECT query_id FROM system.queries WHERE query = '"+endless+"'")
	update(t, other, "KILL QUERY "+ids[0])
	fails(t, <-result, adbc.StatusCancelled, "was cancelled")
}

func TestTimeouts(t *testing.T) {
	// The driver's own, which is a deadline of the call, and the server's, which is a header.
	for _, options := range []map[string]string{
		{driver.OptionTimeoutFetch: "0.3", driver.OptionTimeoutQuery: "0.3"},
		{driver.OptionRPCCallHeaderPrefix + "query-timeout": "300ms"},
	} {
		begin := time.Now()
		err := run(context.Background(), statement(t, connect(t, options), endless))
		fails(t, err, adbc.StatusTimeout)
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("took %s", took)
		}
	}
	await(t, connect(t, nil), endless, "0")
}

func TestHeadersAndSessions(t *testing.T) {
	connection := connect(t, nil)
	name := "d_" + newTable()
	update(t, connection, "CREATE DATABASE "+name)
	inside := connect(t, map[string]string{driver.OptionRPCCallHeaderPrefix + "database": name})
	table := filled(t, inside)
	equal(t, query(t, connection, "SELECT count(*) FROM "+name+".public."+table), []string{"3"})

	session := connect(t, map[string]string{driver.OptionCookieMiddleware: adbc.OptionValueEnabled})
	options := session.(adbc.GetSetOptions)
	current := func() string {
		catalog, err := options.GetOption(adbc.OptionKeyCurrentCatalog)
		check(t, err)
		return catalog
	}
	equal(t, current(), "main")
	check(t, options.SetOption(adbc.OptionKeyCurrentCatalog, name))
	equal(t, current(), name)
	equal(t, query(t, session, "SELECT count(*) FROM "+table), []string{"3"})
	if err := options.SetOption(adbc.OptionKeyCurrentCatalog, "nowhere"); err == nil {
		t.Error("a database that is not there was taken")
	}
	// ExecuteUpdate stops reading before the end of the answer, and the driver's cookies are renewed only there.
	update(t, session, "USE main")
	equal(t, current(), name)
	query(t, session, "USE main")
	equal(t, current(), "main")
	update(t, connection, "DROP DATABASE "+name)

	wrong := connect(t, map[string]string{driver.OptionRPCCallHeaderPrefix + "query-timeout": "soon"})
	fails(t, run(context.Background(), statement(t, wrong, "SELECT 1")), adbc.StatusInvalidArgument,
		"header query-timeout")
}

func TestHTTPPortSpeaksFlightSQL(t *testing.T) {
	connection := connect(t, map[string]string{adbc.OptionKeyURI: "grpc://" + addresses.HTTP,
		adbc.OptionKeyUsername: "any", adbc.OptionKeyPassword: "any"})
	equal(t, query(t, connection, "SELECT 1"), []string{"1"})
}
