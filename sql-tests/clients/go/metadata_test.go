package clients

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// objects is what GetObjects tells, as far as it is looked at here.
type objects []struct {
	Catalog string `json:"catalog_name"`
	Schemas []struct {
		Schema string `json:"db_schema_name"`
		Tables []struct {
			Name    string `json:"table_name"`
			Type    string `json:"table_type"`
			Columns []struct {
				Name     string `json:"column_name"`
				Position int    `json:"ordinal_position"`
			} `json:"table_columns"`
		} `json:"db_schema_tables"`
	} `json:"catalog_db_schemas"`
}

func getObjects(t *testing.T, connection adbc.Connection, depth adbc.ObjectDepth, table *string) objects {
	t.Helper()
	rows, err := connection.GetObjects(context.Background(), depth, nil, nil, table, nil, nil)
	check(t, err)
	defer rows.Release()
	var all objects
	for rows.Next() {
		text, err := rows.RecordBatch().MarshalJSON()
		check(t, err)
		var some objects
		check(t, json.Unmarshal(text, &some))
		all = append(all, some...)
	}
	check(t, rows.Err())
	return all
}

func TestObjectsAreListed(t *testing.T) {
	connection := connect(t, nil)
	table := filled(t, connection)
	var found [][]string
	for _, catalog := range getObjects(t, connection, adbc.ObjectDepthAll, &table) {
		for _, schema := range catalog.Schemas {
			for _, each := range schema.Tables {
				row := []string{catalog.Catalog, schema.Schema, each.Name, each.Type}
				for position, column := range each.Columns {
					equal(t, column.Position, position+1)
					row = append(row, column.Name)
				}
				found = append(found, row)
			}
		}
	}
	equal(t, found, [][]string{{"main", "public", table, "TABLE", "time", "host", "d", "i", "u", "b", "text"}})
}

func TestCatalogsAreDatabases(t *testing.T) {
	connection := connect(t, nil)
	name := "d_" + newTable()
	update(t, connection, "CREATE DATABASE "+name)
	var catalogs []string
	for _, catalog := range getObjects(t, connection, adbc.ObjectDepthCatalogs, nil) {
		catalogs = append(catalogs, catalog.Catalog)
	}
	if !slices.Contains(catalogs, "main") || !slices.Contains(catalogs, name) {
		t.Errorf("catalogs: %s", catalogs)
	}
	update(t, connection, "DROP DATABASE "+name)
}

func TestTableTypes(t *testing.T) {
	rows, err := connect(t, nil).GetTableTypes(context.Background())
	check(t, err)
	equal(t, texts(t, rows), []string{"SYSTEM TABLE", "TABLE", "VIEW"})
}

func TestTableSchemaIsThatOfAQuery(t *testing.T) {
	connection := connect(t, nil)
	table := filled(t, connection)
	schema, err := connection.GetTableSchema(context.Background(), nil, nil, table)
	check(t, err)
	rows, _, err := statement(t, connection, "SELECT * FROM "+table).ExecuteQuery(context.Background())
	check(t, err)
	defer rows.Release()
	equal(t, len(schema.Fields()), len(rows.Schema().Fields()))
	for i, field := range rows.Schema().Fields() {
		equal(t, schema.Field(i).Name, field.Name)
		equal(t, arrow.TypeEqual(schema.Field(i).Type, field.Type), true)
	}
	equal(t, schema.Field(0).Nullable, false)
	equal(t, schema.Field(1).Nullable, true)
	_, err = connection.GetTableSchema(context.Background(), nil, nil, "nowhere")
	fails(t, err, adbc.StatusNotFound)
}

func TestServerNamesItself(t *testing.T) {
	rows, err := connect(t, nil).GetInfo(context.Background(), []adbc.InfoCode{adbc.InfoVendorName})
	check(t, err)
	defer rows.Release()
	equal(t, rows.Next(), true)
	values := rows.RecordBatch().Column(1).(*array.DenseUnion)
	equal(t, values.Field(values.ChildID(0)).ValueStr(int(values.ValueOffset(0))), "Quorate")
}
