//! [`Service::warm_up`]: calls that nobody made.
//!
//! The first call of a process pays for what every call uses after it, as the first query does. So a node makes some of its own
//! through a connection in memory, to a service that counts for itself: they show in no metric.

use std::io;
use std::sync::Arc;

use arrow::error::ArrowError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Endpoint, Server};

use crate::{ClientError, Service};

/// Bytes on their way in each direction.
const PIPE_BYTES: usize = 64 << 10;

impl Service {
    /// Calls the service in the way that drivers do: a statement is prepared and closed, and rows about the catalog are
    /// fetched.
    pub async fn warm_up(&self) -> Result<(), ClientError> {
        let shared = &self.shared;
        let service = Self::new(Arc::clone(&shared.engine), shared.options.clone());
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let incoming = futures::stream::iter([Ok::<_, io::Error>(far)]);
        let server = Server::builder().add_service(service.into_server());
        let _server = AbortOnDropHandle::new(tokio::spawn(server.serve_with_incoming(incoming)));
        let mut near = Some(TokioIo::new(near));
        let connector = tower::service_fn(move |_| {
            let near = near.take();
            async move { near.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe)) }
        });
        let endpoint = Endpoint::from_static("http://node");
        let connected = endpoint.connect_with_connector(connector).await;
        let channel = connected.map_err(|e| ArrowError::ExternalError(Box::new(e)))?;
        let mut client = FlightSqlServiceClient::new(channel);
        client.prepare("SELECT 1".to_owned(), None).await?.close().await?;
        let info = client.get_table_types().await?;
        for ticket in info.endpoint.into_iter().filter_map(|endpoint| endpoint.ticket) {
            client.do_get(ticket).await?.try_for_each(async |_| Ok(())).await?;
        }
        Ok(())
    }
}
