//! Handshake: a bearer token for whoever asks.
//!
//! Drivers shake hands with `Basic` credentials, with a `Bearer` token, or with nothing at all, by one message or none.
//! All of them find `authorization: Bearer …` in the headers of the answer, which they send with every later call.
//! There are no users yet: every user name and password is right. The token's id names a session ([`crate::session`]).

use arrow_flight::{HandshakeRequest, HandshakeResponse};
use futures::StreamExt;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Response, Status, Streaming};

use crate::message::SessionState;
use crate::service::{Outgoing, Shared, set_cookie};
use crate::session;

/// Answers a handshake.
pub(crate) async fn shake(
    shared: &Shared,
    request: Request<Streaming<HandshakeRequest>>,
) -> Result<Response<Outgoing<HandshakeResponse>>, Status> {
    let bearer = bearer(&request)
        .filter(|token| session::from_token(&shared.seal, token).is_some())
        .unwrap_or_else(|| session::token(&shared.seal, &rand::random()));
    let first = request.into_inner().message().await?;
    let answer = first.map(|request| HandshakeResponse {
        protocol_version: request.protocol_version,
        payload: request.payload,
    });
    let mut response = Response::new(futures::stream::iter(answer.map(Ok)).boxed());
    let value = AsciiMetadataValue::try_from(format!("Bearer {bearer}"))
        .map_err(|e| Status::internal(format!("a token is no header: {e}")))?;
    response.metadata_mut().insert("authorization", value);
    set_cookie(response.metadata_mut(), &session::cookie(&shared.seal, &SessionState::default()));
    Ok(response)
}

/// The token that the client brought.
fn bearer<T>(request: &Request<T>) -> Option<String> {
    let value = request.metadata().get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}
