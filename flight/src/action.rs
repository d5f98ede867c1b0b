//! Actions: prepared statements, cancellation, session options.
//!
//! Each action answers with exactly one result; drivers wait for it.

use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, Any, Command, ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
    Result as ActionResult,
};
use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use quorate_engine::StatementKind;
use tonic::{Response, Status};

use crate::call::Call;
use crate::message::{
    CancelQueryResult, CloseSessionResult, CloseSessionStatus, SetSessionOptionsRequest,
};
use crate::seal::Purpose;
use crate::service::{self, Outgoing, Shared, set_cookie};
use crate::session::{self, Holder};
use crate::statement::Statement;
use crate::{prepare, session_options, status};

/// The actions and what they do.
const ACTIONS: [(&str, &str); 7] = [
    ("CreatePreparedStatement", "Plans a statement and gives a handle of it."),
    ("ClosePreparedStatement", "Gives back a handle."),
    ("CancelFlightInfo", "Cancels the query of a FlightInfo."),
    ("CancelQuery", "Cancels the query of a FlightInfo (the older form)."),
    ("SetSessionOptions", "Sets catalog, schema, timezone, query_timeout, consistency."),
    ("GetSessionOptions", "Gives the options of the session."),
    ("CloseSession", "Ends the session."),
];

/// The list of actions.
pub(crate) fn list() -> Outgoing<ActionType> {
    let actions = ACTIONS.map(|(name, description)| {
        Ok(ActionType { r#type: name.to_owned(), description: description.to_owned() })
    });
    futures::stream::iter(actions).boxed()
}

/// Carries out an action.
pub(crate) async fn run(
    shared: &Shared,
    call: &Call,
    action: Action,
) -> Result<Response<Outgoing<ActionResult>>, Status> {
    let mut state = call.state.clone();
    let mut closed = false;
    let body: Bytes = match action.r#type.as_str() {
        "CreatePreparedStatement" => {
            let request: ActionCreatePreparedStatementRequest = unpack(&action.body)?;
            prepare::create(shared, call, request).await?
        }
        "ClosePreparedStatement" => {
            let request: ActionClosePreparedStatementRequest = unpack(&action.body)?;
            prepare::close(shared, &request.prepared_statement_handle)?;
            Bytes::new()
        }
        "CancelFlightInfo" => {
            let request: CancelFlightInfoRequest = decode(&action.body)?;
            let info = request.info.ok_or_else(|| status::invalid("nothing to cancel is named"))?;
            let result = CancelFlightInfoResult::new(cancel(shared, &info)?);
            result.encode_to_vec().into()
        }
        "CancelQuery" => {
            let request: ActionCancelQueryRequest = unpack(&action.body)?;
            let info: FlightInfo = decode(&request.info)?;
            cancel_query_result(cancel(shared, &info)?)
        }
        "SetSessionOptions" => {
            let request: SetSessionOptionsRequest = decode(&action.body)?;
            session_options::set(shared, call, &mut state, request).await?.encode_to_vec().into()
        }
        "GetSessionOptions" => session_options::get(call).encode_to_vec().into(),
        "CloseSession" => {
            closed = true;
            let result = CloseSessionResult { status: CloseSessionStatus::Closed.into() };
            result.encode_to_vec().into()
        }
        "BeginTransaction" | "EndTransaction" | "BeginSavepoint" | "EndSavepoint" => {
            return Err(Status::unimplemented(
                "transactions are not supported: every statement commits by itself",
            ));
        }
        other => return Err(status::unsupported(&format!("action {other:?}"))),
    };
    let mut response = Response::new(futures::stream::iter([Ok(ActionResult { body })]).boxed());
    if closed {
        close_session(shared, call, &mut response);
    } else {
        shared.hold(call, &state, response.metadata_mut());
    }
    Ok(response)
}

fn close_session<T>(shared: &Shared, call: &Call, response: &mut Response<T>) {
    match call.holder {
        Holder::Cookie => set_cookie(response.metadata_mut(), &session::cookie_gone()),
        Holder::Token(id) => shared.sessions.lock().remove(&id),
        Holder::Nobody => {}
    }
}

/// Cancels what the tickets of this `FlightInfo` run. A query's ticket gives no rows from then on; a statement that writes is
/// cancelled only while it runs: what it has written stays.
fn cancel(shared: &Shared, info: &FlightInfo) -> Result<CancelStatus, Status> {
    let mut found = false;
    for endpoint in &info.endpoint {
        let Some(ticket) = &endpoint.ticket else { continue };
        // Tickets of metadata run no query.
        let Command::TicketStatementQuery(TicketStatementQuery { statement_handle }) =
            service::command(&ticket.ticket)?
        else {
            continue;
        };
        let statement = Statement::open(Purpose::Ticket, &statement_handle, &shared.seal)?;
        let queries = if statement.kind == StatementKind::Query {
            let queries = shared.running.cancel_query(&statement.id);
            shared.ahead.cancel(&statement.id);
            Some(queries)
        } else {
            shared.running.cancel(&statement.id)
        };
        found |= queries.is_some();
        for query in queries.unwrap_or_default() {
            shared.engine.cancel(query);
        }
    }
    Ok(if found { CancelStatus::Cancelled } else { CancelStatus::NotCancellable })
}

fn cancel_query_result(status: CancelStatus) -> Bytes {
    let any = Any {
        type_url: "type.googleapis.com/arrow.flight.protocol.sql.ActionCancelQueryResult"
            .to_owned(),
        value: CancelQueryResult { result: status.into() }.encode_to_vec().into(),
    };
    any.encode_to_vec().into()
}

/// A request wrapped in `Any`, as those of Flight SQL are.
fn unpack<M: ProstMessageExt>(body: &[u8]) -> Result<M, Status> {
    service::any(body)?
        .unpack()
        .map_err(|e| status::invalid(format!("the request cannot be read: {e}")))?
        .ok_or_else(|| status::invalid("the request is of another action"))
}

/// A bare request, as those of Flight are.
fn decode<M: Message + Default>(body: &[u8]) -> Result<M, Status> {
    M::decode(body).map_err(|e| status::invalid(format!("the request cannot be read: {e}")))
}
