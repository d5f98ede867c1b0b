//! HTTP: line protocol in, SQL in and rows out, health and metrics.
//!
//! *Where it sits*: one of the node's two doors, beside Flight SQL; both only translate for the engine. The HTTP
//! listener answers gRPC, too, for clients that know one address only.
//!
//! | path | what |
//! |---|---|
//! | `/write`, `/api/v2/write`, `/api/v3/write_lp` | line protocol, with the parameters of InfluxDB 1, 2, and 3 |
//! | `/api/v1/sql` | a statement; rows as JSON, newline-delimited JSON, JSON by columns, CSV, an Arrow stream, or Parquet |
//! | `/health`, `/ready`, `/ping` | whether the process lives, serves, and is something like InfluxDB |
//! | `/metrics` | counters as Prometheus text |
//! | `/openapi.json` | all of this, described for machines |
//!
//! Limits: no authentication and no TLS yet; a body is held in memory as a whole, bounded by `max_body` each and by a
//! budget together.

mod serve;

mod door;

mod body;
mod params;
mod respond;

mod keys;
mod write;

mod accept;
mod columns;
mod csv;
mod packing;
mod rows;
mod sql;
mod statement;
mod times;

mod metrics;
mod openapi;
mod probes;

pub(crate) use door::{Door, DoorOptions};
pub(crate) use rows::{Form, RowsWriter};
pub(crate) use serve::{HEAD_WAIT, serve};
