// Package clients runs the Go ADBC driver for Flight SQL, and the Flight SQL client of arrow-go, against a server.
package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// endless is a query that does not end by itself, and gives nothing before its end.
const endless = "SELECT sum(value % 3) AS never FROM generate_series(1, 1000000000000000) AS t(value)"

// flowing is a query that gives rows from the start and does not end by itself.
const flowing = "SELECT value FROM generate_series(1, 1000000000000000) AS t(value)"

// addresses is where the server listens.
var addresses struct {
	Flight string `json:"flight"`
	HTTP   string `json:"http"`
}

var tables atomic.Int64

// TestMain starts one server for all tests, from the binary that QUORATE_BINARY names.
func TestMain(m *testing.M) {
	status, err := withServer(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(status)
}

func withServer(run func() int) (status int, err error) {
	binary := os.Getenv("QUORATE_BINARY")
	if binary == "" {
		return 0, fmt.Errorf("QUORATE_BINARY must name the server's binary")
	}
	directory, err := os.MkdirTemp("", "quorate-go-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(directory)
	var log bytes.Buffer
	server := exec.Command(binary, "serve", "--data-dir", directory,
		"--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0")
	server.Stderr = &log
	if err := server.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	if err := waitUntilReady(filepath.Join(directory, "addresses.json"), ended); err != nil {
		_ = server.Process.Kill()
		return 0, fmt.Errorf("%w\n%s", err, log.String())
	}
	status = run()
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		return status, err
	}
	select {
	case err := <-ended:
		if err != nil {
			return status, fmt.Errorf("the server stopped with %w\n%s", err, log.String())
		}
	case <-time.After(30 * time.Second):
		_ = server.Process.Kill()
		return status, fmt.Errorf("the server does not stop")
	}
	return status, nil
}

func waitUntilReady(path string, ended <-chan error) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		select {
		case err := <-ended:
			return fmt.Errorf("the server ended while it was starting: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
		text, err := os.ReadFile(path)
		if err != nil || json.Unmarshal(text, &addresses) != nil {
			continue
		}
		if answer, err := http.Get("http://" + addresses.HTTP + "/ready"); err == nil {
			answer.Body.Close()
			if answer.StatusCode < 300 {
				return nil
			}
		}
	}
	return fmt.Errorf("the server is not ready after a minute")
}

// connect opens a connection with these options besides.
func connect(t *testing.T, options map[string]string) adbc.Connection {
	t.Helper()
	all := map[string]string{adbc.OptionKeyURI: "grpc://" + addresses.Flight}
	for key, value := range options {
		all[key] = value
	}
	database, err := driver.NewDriver(memory.DefaultAllocator).NewDatabase(all)
	check(t, err)
	connection, err := database.Open(context.Background())
	check(t, err)
	t.Cleanup(func() {
		check(t, connection.Close())
		check(t, database.Close())
	})
	return connection
}

// newTable gives a name that no other test uses.
func newTable() string {
	return fmt.Sprintf("t%d", tables.Add(1))
}

// create makes a table with every type of columns.
func create(t *testing.T, connection adbc.Connection) string {
	t.Helper()
	table := newTable()
	update(t, connection, "CREATE TABLE "+table+" (time TIMESTAMP NOT NULL, host STRING, d DOUBLE, i BIGINT, "+
		"u BIGINT UNSIGNED, b BOOLEAN, text STRING, PRIMARY KEY (host, time))")
	return table
}

// filled makes it with three rows.
func filled(t *testing.T, connection adbc.Connection) string {
	t.Helper()
	table := create(t, connection)
	count := update(t, connection, "INSERT INTO "+table+" (time, host, d, i) VALUES "+
		"('2024-01-01T00:00:00Z', 'a', 1.5, 1), ('2024-01-01T00:00:01Z', 'b', 2.5, 2), "+
		"('2024-01-01T00:00:02Z', 'a', 3.5, NULL)")
	equal(t, count, 3)
	return table
}

// statement gives a statement with this text; it is closed with the test.
func statement(t *testing.T, connection adbc.Connection, sql string) adbc.Statement {
	t.Helper()
	statement, err := connection.NewStatement()
	check(t, err)
	t.Cleanup(func() { check(t, statement.Close()) })
	check(t, statement.SetSqlQuery(sql))
	return statement
}

// update runs a statement that changes something and gives its count.
func update(t *testing.T, connection adbc.Connection, sql string) int64 {
	t.Helper()
	count, err := statement(t, connection, sql).ExecuteUpdate(context.Background())
	check(t, err)
	return count
}

// query runs a query and gives its rows as texts, as in "a|1.5|(null)".
func query(t *testing.T, connection adbc.Connection, sql string) []string {
	t.Helper()
	rows, _, err := statement(t, connection, sql).ExecuteQuery(context.Background())
	check(t, err)
	return texts(t, rows)
}

// texts gives the rows that are left as texts.
func texts(t *testing.T, rows array.RecordReader) []string {
	t.Helper()
	defer rows.Release()
	all := []string{}
	for rows.Next() {
		batch := rows.RecordBatch()
		for row := range int(batch.NumRows()) {
			values := make([]string, batch.NumCols())
			for column := range values {
				values[column] = batch.Column(column).ValueStr(row)
			}
			all = append(all, strings.Join(values, "|"))
		}
	}
	check(t, rows.Err())
	return all
}

func asError(err error) (adbc.Error, bool) {
	var found adbc.Error
	ok := errors.As(err, &found)
	return found, ok
}

// run gives the first error of a query, whether it comes at once or with the rows.
func run(ctx context.Context, statement adbc.Statement) error {
	rows, _, err := statement.ExecuteQuery(ctx)
	if err != nil {
		return err
	}
	defer rows.Release()
	for rows.Next() {
	}
	return rows.Err()
}

// await waits until the server runs this many queries with this text.
func await(t *testing.T, connection adbc.Connection, sql string, count string) {
	t.Helper()
	found := []string{}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		found = query(t, connection, "SELECT count(*) FROM system.queries WHERE query = '"+sql+"'")
		if found[0] == count {
			return
		}
	}
	t.Fatalf("%s queries run after a minute, not %s", found, count)
}

// batch gives rows of a time, a host and a value, a second apart.
func batch(start, rows int) arrow.RecordBatch {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "time", Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}},
		{Name: "host", Type: arrow.BinaryTypes.String},
		{Name: "value", Type: arrow.PrimitiveTypes.Float64},
	}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	for i := start; i < start+rows; i++ {
		builder.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(i) * 1_000_000_000)
		builder.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("h%d", i%2))
		builder.Field(2).(*array.Float64Builder).Append(float64(i))
	}
	return builder.NewRecordBatch()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T any](t *testing.T, got, want T) {
	t.Helper()
	if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
		t.Fatalf("got  %#v\nwant %#v", got, want)
	}
}

// fails ends the test unless the error has this code and these parts in its text.
func fails(t *testing.T, err error, code adbc.Status, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, where %s was expected", code)
	}
	found, ok := asError(err)
	if !ok || found.Code != code {
		t.Fatalf("%s was expected: %#v", code, err)
	}
	for _, part := range parts {
		if !strings.Contains(found.Msg, part) {
			t.Fatalf("no %q in %q", part, found.Msg)
		}
	}
}
