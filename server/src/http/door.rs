//! What all requests share, and which path goes where.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use quorate_engine::Engine;
use quorate_flight::Service;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::body::BODY_UNIT;
use super::keys::key_status;
use super::metrics::{Counters, metrics};
use super::openapi::openapi;
use super::probes::{health, ping, ready};
use super::respond::HttpError;
use super::sql::{query_v1, sql_get, sql_post};
use super::write::{write_v1, write_v2, write_v3};
use crate::udp::UdpCounters;

/// The methods of a path, with what answers them.
type Methods = fn() -> MethodRouter<Arc<Door>>;

/// Every path, as `openapi.json` describes it.
pub(super) const ROUTES: [(&str, Methods); 11] = [
    ("/write", || post(write_v1)),
    ("/api/v2/write", || post(write_v2)),
    ("/api/v3/write_lp", || post(write_v3)),
    ("/api/v1/sql", || get(sql_get).post(sql_post)),
    ("/api/v1/keys/{key}", || get(key_status)),
    ("/query", || get(query_v1).post(query_v1)),
    ("/health", || get(health)),
    ("/ready", || get(ready)),
    ("/ping", || get(ping)),
    ("/metrics", || get(metrics)),
    ("/openapi.json", || get(openapi)),
];

/// Settings of the door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DoorOptions {
    /// Largest body, decoded.
    pub(crate) body_bytes_max: usize,
    /// Bytes of all bodies together.
    pub(crate) bodies_bytes_max: usize,
}

/// The HTTP door. It opens before the engine does, and says so until then.
#[derive(Debug)]
pub(crate) struct Door {
    pub(super) options: DoorOptions,
    pub(super) counters: Counters,
    /// Those of the door for datagrams, which has no way to be asked.
    pub(super) udp: Arc<UdpCounters>,
    /// Room for bodies, in units of [`BODY_UNIT`].
    pub(super) room: Arc<Semaphore>,
    engine: OnceLock<Arc<Engine>>,
    flight: OnceLock<(Service, Router)>,
    stopping: AtomicBool,
}

impl Door {
    /// A door that is still closed.
    pub(crate) fn new(options: DoorOptions) -> Arc<Self> {
        let units = options.bodies_bytes_max.max(options.body_bytes_max) / BODY_UNIT + 1;
        Arc::new(Self {
            options,
            counters: Counters::default(),
            udp: Arc::default(),
            room: Arc::new(Semaphore::new(units)),
            engine: OnceLock::new(),
            flight: OnceLock::new(),
            stopping: AtomicBool::new(false),
        })
    }

    /// What the door for datagrams counts.
    pub(crate) fn udp(&self) -> &Arc<UdpCounters> {
        &self.udp
    }

    /// Opens the door.
    pub(crate) fn open(&self, engine: Arc<Engine>, flight: Service) {
        let _ = self.engine.set(engine);
        let routes = flight.clone().routes().into_axum_router();
        let _ = self.flight.set((flight, routes));
    }

    /// Flight SQL, once it is served.
    pub(super) fn flight(&self) -> Option<&Service> {
        self.flight.get().map(|(service, _)| service)
    }

    /// Lets nobody in any more; who is in may finish.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The engine, once it is open.
    pub(super) fn engine(&self) -> Result<&Arc<Engine>, HttpError> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(HttpError::unavailable("the node is stopping"));
        }
        self.engine.get().ok_or_else(|| HttpError::unavailable("the node is starting"))
    }

    /// The routes.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        ROUTES
            .iter()
            .fold(Router::new(), |router, (path, methods)| router.route(path, methods()))
            .fallback(other)
            .method_not_allowed_fallback(wrong_method)
            .layer(middleware::from_fn_with_state(Arc::clone(self), count))
            .with_state(Arc::clone(self))
    }
}

/// Counts requests by path and status.
async fn count(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    door.counters.request(&path, response.status());
    response
}

/// gRPC, or a path that is nowhere.
async fn other(State(door): State<Arc<Door>>, request: Request) -> Response {
    let grpc = request.headers().get(header::CONTENT_TYPE);
    if grpc.is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"))
        && let Some((_, routes)) = door.flight.get()
    {
        let answer: Result<Response, Infallible> = routes.clone().oneshot(request).await;
        return answer.unwrap_or_else(|never| match never {});
    }
    let path = request.uri().path();
    let message = format!("there is nothing at {path}; SQL is answered at /api/v1/sql");
    HttpError::new(StatusCode::NOT_FOUND, "not_found", message).into_response()
}

async fn wrong_method(method: Method, uri: Uri) -> HttpError {
    let message = format!("{} does not take {method}", uri.path());
    HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
