//! The Flight SQL service.

use std::net::SocketAddr;
use std::sync::Arc;

use quorate_engine::Engine;

/// Settings of the service.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Largest message that is taken.
    pub message_bytes_max: usize,
}

/// The Flight SQL service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {}

impl Service {
    /// A service over an engine.
    pub fn new(_engine: Arc<Engine>, _options: ServiceOptions) -> Self {
        unimplemented!()
    }
    /// Serves on a listener until `shutdown` resolves; streams in progress end first.
    pub async fn serve(
        self,
        _listener: tokio::net::TcpListener,
        _shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        unimplemented!()
    }
    /// As routes, so that the HTTP listener answers gRPC too (`routes().into_axum_router()`).
    pub fn routes(self) -> tonic::service::Routes {
        unimplemented!()
    }
    /// Where a client finds a bound address.
    pub fn uri(addr: SocketAddr) -> String {
        format!("grpc://{addr}")
    }
}
