package clients

import (
	"context"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// client opens the Flight SQL client of arrow-go, without a driver.
func client(t *testing.T) *flightsql.Client {
	t.Helper()
	client, err := flightsql.NewClient(addresses.Flight, nil, nil,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	t.Cleanup(func() { check(t, client.Close()) })
	return client
}

// fetch gives all rows that a FlightInfo announces.
func fetch(t *testing.T, ctx context.Context, client *flightsql.Client, info *flight.FlightInfo) []string {
	t.Helper()
	all := []string{}
	for _, endpoint := range info.Endpoint {
		rows, err := client.DoGet(ctx, endpoint.Ticket)
		check(t, err)
		all = append(all, texts(t, rows)...)
	}
	return all
}

func TestFlightClientQueriesAndUpdates(t *testing.T) {
	ctx, client, table := context.Background(), client(t), newTable()
	_, err := client.ExecuteUpdate(ctx, "CREATE TABLE "+table+" (time TIMESTAMP, host STRING, d DOUBLE)")
	check(t, err)
	count, err := client.ExecuteUpdate(ctx, "INSERT INTO "+table+" VALUES (0, 'a', 1.5), (1, 'b', 2.5)")
	check(t, err)
	equal(t, count, 2)
	info, err := client.Execute(ctx, "SELECT host, d FROM "+table+" ORDER BY time")
	check(t, err)
	equal(t, fetch(t, ctx, client, info), []string{"a|1.5", "b|2.5"})

	prepared, err := client.Prepare(ctx, "SELECT d FROM "+table+" WHERE host = ?")
	check(t, err)
	equal(t, prepared.DatasetSchema().Field(0).Name, "d")
	equal(t, prepared.ParameterSchema().NumFields(), 1)
	check(t, prepared.Close(ctx))

	_, err = client.ExecuteUpdate(ctx, "DROP TABLE "+table)
	check(t, err)
	_, err = client.Execute(ctx, "SELECT * FROM "+table)
	equal(t, status.Code(err), codes.NotFound)
}

func TestFlightClientIngests(t *testing.T) {
	client, table := client(t), newTable()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "quorate-tags", "host")
	one := batch(0, 5)
	reader, err := array.NewRecordReader(one.Schema(), []arrow.RecordBatch{one})
	check(t, err)
	count, err := client.ExecuteIngest(ctx, reader, &flightsql.ExecuteIngestOpts{
		Table: table,
		TableDefinitionOptions: &flightsql.TableDefinitionOptions{
			IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionCreate,
			IfExists:   flightsql.TableDefinitionOptionsTableExistsOptionAppend,
		},
	})
	check(t, err)
	equal(t, count, 5)
	info, err := client.GetPrimaryKeys(ctx, flightsql.TableRef{Table: table})
	check(t, err)
	equal(t, fetch(t, ctx, client, info),
		[]string{"main|public|" + table + "|host|(null)|1", "main|public|" + table + "|time|(null)|2"})
}

func TestFlightClientReadsMetadata(t *testing.T) {
	ctx, client := context.Background(), client(t)
	info, err := client.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"SYSTEM TABLE"}})
	check(t, err)
	if len(fetch(t, ctx, client, info)) == 0 {
		t.Error("no system tables")
	}
	info, err = client.GetXdbcTypeInfo(ctx, nil)
	check(t, err)
	equal(t, len(fetch(t, ctx, client, info)), 6)
	info, err = client.GetSqlInfo(ctx, []flightsql.SqlInfo{flightsql.SqlInfoFlightSqlServerName})
	check(t, err)
	equal(t, len(fetch(t, ctx, client, info)), 1)
}

func TestFlightClientCancels(t *testing.T) {
	ctx, client, other := context.Background(), client(t), connect(t, nil)
	info, err := client.Execute(ctx, endless)
	check(t, err)
	result := make(chan error, 1)
	go func() {
		rows, err := client.DoGet(ctx, info.Endpoint[0].Ticket)
		if err == nil {
			for rows.Next() {
			}
			err = rows.Err()
			rows.Release()
		}
		result <- err
	}()
	await(t, other, endless, "1")
	answer, err := client.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info})
	check(t, err)
	equal(t, answer.Status, flight.CancelStatusCancelled)
	equal(t, status.Code(<-result), codes.Canceled)
	await(t, other, endless, "0")
}

func TestFlightClientSessions(t *testing.T) {
	ctx, client := context.Background(), client(t)
	ctx, err := client.Client.AuthenticateBasicToken(ctx, "any", "any")
	check(t, err)
	_, err = client.ExecuteUpdate(ctx, "SET timezone = '+02:00'")
	check(t, err)
	info, err := client.Execute(ctx, "SHOW timezone")
	check(t, err)
	equal(t, fetch(t, ctx, client, info), []string{"timezone|+02:00"})
	_, err = client.BeginTransaction(ctx)
	equal(t, status.Code(err), codes.Unimplemented)
}
