//! Prepared statements and tickets: a statement with all that is needed to run it, signed and given to the client.
//!
//! Both hold the SQL, the session that it was planned under and the bound parameters. A ticket also holds a hash of the
//! schema that was announced, so that a table that changed in between is an error rather than a surprise, and a name
//! for the run, which is the idempotency key of a statement that writes.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use prost::Message;
use quorate_engine::{SessionOptions, StatementKind};
use tonic::Status;

use crate::call::Call;
use crate::message::{SessionState, StatementKindState, StatementMessage};
use crate::seal::{Purpose, Seal};
use crate::status;
use crate::wire::Times;

/// Most bytes of parameters that a handle carries; more rows go with an update, which streams them.
const PARAMETER_BYTES_MAX: usize = 4 << 20;

/// A statement that a client holds.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// Random: names the handle, or the run of a ticket.
    pub(crate) id: Bytes,
    /// Text.
    pub(crate) sql: String,
    /// What it does.
    pub(crate) kind: StatementKind,
    /// The session that it was planned under.
    pub(crate) session: SessionState,
    /// Bound parameters.
    pub(crate) parameters: Option<RecordBatch>,
    /// Of tickets: the hash of the announced schema.
    pub(crate) schema_hash: Bytes,
    /// The client's key.
    pub(crate) idempotency_key: Option<String>,
    /// What times look like in its result.
    pub(crate) times: Times,
}

impl Statement {
    /// A statement of this call.
    pub(crate) fn new(call: &Call, sql: String, kind: StatementKind) -> Self {
        Self {
            id: Bytes::copy_from_slice(&rand::random::<[u8; 16]>()),
            sql,
            kind,
            session: SessionState::of(&call.options),
            parameters: None,
            schema_hash: Bytes::new(),
            idempotency_key: call.options.idempotency_key.clone(),
            times: call.times,
        }
    }

    /// The signed bytes.
    pub(crate) fn close(&self, purpose: Purpose, seal: &Seal) -> Result<Bytes, Status> {
        let message = StatementMessage {
            id: self.id.clone(),
            sql: self.sql.clone(),
            session: Some(self.session.clone()),
            parameters: self.parameters.as_ref().map(encode_parameters).transpose()?,
            kind: match self.kind {
                StatementKind::Query => StatementKindState::Query,
                StatementKind::Update => StatementKindState::Update,
                StatementKind::Command => StatementKindState::Command,
            }
            .into(),
            schema_hash: self.schema_hash.clone(),
            idempotency_key: self.idempotency_key.clone(),
            naive_times: self.times == Times::Naive,
        };
        Ok(seal.close(purpose, &message.encode_to_vec()))
    }

    /// The statement in signed bytes.
    pub(crate) fn open(purpose: Purpose, bytes: &[u8], seal: &Seal) -> Result<Self, Status> {
        let what = if purpose == Purpose::Ticket { "ticket" } else { "prepared statement handle" };
        let body = seal
            .open(purpose, bytes)
            .ok_or_else(|| status::invalid(format!("the {what} is not of this cluster")))?;
        let message = StatementMessage::decode(body)
            .map_err(|e| status::invalid(format!("the {what} cannot be read: {e}")))?;
        let kind = match message.kind() {
            StatementKindState::Query => StatementKind::Query,
            StatementKindState::Update => StatementKind::Update,
            StatementKindState::Command => StatementKind::Command,
        };
        let parameters = message.parameters.as_deref().map(decode_parameters).transpose();
        Ok(Self {
            id: message.id,
            sql: message.sql,
            kind,
            session: message.session.unwrap_or_default(),
            parameters: parameters.map_err(|e| status::internal(&e))?,
            schema_hash: message.schema_hash,
            idempotency_key: message.idempotency_key,
            times: if message.naive_times { Times::Naive } else { Times::Zoned },
        })
    }

    /// The options that it runs under when this call asks for it: its own session's, and the key of its run.
    pub(crate) fn options(&self, call: &Call) -> SessionOptions {
        let mut options = call.options.clone();
        self.session.apply(&mut options);
        options.idempotency_key.clone_from(&self.idempotency_key);
        options
    }

    /// The idempotency key of the run that a ticket stands for.
    pub(crate) fn run_key(&self) -> String {
        self.idempotency_key.clone().unwrap_or_else(|| run_name(&self.id))
    }
}

/// A run's name as text.
pub(crate) fn run_name(id: &[u8]) -> String {
    use std::fmt::Write as _;
    id.iter().fold(String::with_capacity(2 * id.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A hash of a wire schema.
pub(crate) fn schema_hash(schema: &Schema) -> Result<Bytes, Status> {
    let bytes = crate::wire::schema_bytes(schema)?;
    Ok(Bytes::copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]))
}

fn encode_parameters(batch: &RecordBatch) -> Result<Bytes, Status> {
    let encode = || -> Result<Vec<u8>, ArrowError> {
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(batch)?;
        writer.into_inner()
    };
    let bytes = encode().map_err(|e| status::internal(&e))?;
    if bytes.len() > PARAMETER_BYTES_MAX {
        return Err(Status::resource_exhausted(format!(
            "{} bytes of bound parameters do not fit into a handle (at most {PARAMETER_BYTES_MAX}); \
             bind fewer rows, run the statement as an update, or use bulk ingest",
            bytes.len()
        )));
    }
    Ok(bytes.into())
}

fn decode_parameters(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    let reader = StreamReader::try_new(bytes, None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    arrow::compute::concat_batches(&schema, &batches)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn statement(parameters: Option<RecordBatch>) -> Statement {
        Statement {
            id: Bytes::from_static(&[1; 16]),
            sql: "INSERT INTO t VALUES ($1, $2)".into(),
            kind: StatementKind::Update,
            session: SessionState { database: Some("d".into()), ..SessionState::default() },
            parameters,
            schema_hash: Bytes::from_static(b"hash"),
            idempotency_key: Some("key".into()),
            times: Times::Naive,
        }
    }

    fn batch(rows: i64) -> RecordBatch {
        RecordBatch::try_from_iter([
            ("0", Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef),
            ("1", Arc::new(StringArray::from_iter_values((0..rows).map(|i| i.to_string())))),
        ])
        .unwrap()
    }

    #[test]
    fn a_handle_brings_its_statement_back() {
        let seal = Seal::new(&[1; 32]);
        let want = statement(Some(batch(3)));
        let handle = want.close(Purpose::Prepared, &seal).unwrap();
        let got = Statement::open(Purpose::Prepared, &handle, &seal).unwrap();
        assert_eq!(format!("{got:?}"), format!("{want:?}"));
    }

    #[test]
    fn a_handle_is_no_ticket() {
        let seal = Seal::new(&[1; 32]);
        let handle = statement(None).close(Purpose::Prepared, &seal).unwrap();
        let error = Statement::open(Purpose::Ticket, &handle, &seal).unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
        assert_eq!(error.message(), "the ticket is not of this cluster");
    }

    #[test]
    fn too_many_parameters_are_refused() {
        let seal = Seal::new(&[1; 32]);
        let error = statement(Some(batch(500_000))).close(Purpose::Prepared, &seal).unwrap_err();
        assert_eq!(error.code(), tonic::Code::ResourceExhausted);
    }
}
