//! Counts of calls, by method and status.
//!
//! *What it is*: a layer around the service, below tonic, where the status of a call is known: it comes with the head of an
//! answer that is an error, and with the trailers of all others, which are behind the last row. *Limits*: a call whose client
//! goes away before its status is sent is `CANCELLED`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower::Service;

use crate::status::code_name;

/// The calls of Flight. What a client calls otherwise is `other`, so that clients cannot make up series.
const METHODS: [&str; 10] = [
    "Handshake",
    "ListFlights",
    "GetFlightInfo",
    "PollFlightInfo",
    "GetSchema",
    "DoGet",
    "DoPut",
    "DoExchange",
    "DoAction",
    "ListActions",
];

/// Counts of all calls since the start.
#[derive(Debug, Default)]
pub struct CallCounts {
    ended: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    running: AtomicU64,
}

impl CallCounts {
    /// Calls that have ended: method, status and how many.
    pub fn ended(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.ended
            .lock()
            .iter()
            .map(|((method, status), count)| (*method, *status, *count))
            .collect()
    }

    /// Calls that run now.
    pub fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }
}

/// A service whose calls are counted.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    counts: Arc<CallCounts>,
}

impl<S> Counted<S> {
    pub(crate) fn new(inner: S, counts: Arc<CallCounts>) -> Self {
        Self { inner, counts }
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut call = RunningCall::new(request.uri().path(), Arc::clone(&self.counts));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            call.note(answer.headers());
            Ok(answer.map(|inner| Body::new(Answer { inner, call })))
        })
    }
}

/// A call, counted when it is dropped.
#[derive(Debug)]
struct RunningCall {
    method: &'static str,
    status: Code,
    counts: Arc<CallCounts>,
}

impl RunningCall {
    fn new(path: &str, counts: Arc<CallCounts>) -> Self {
        counts.running.fetch_add(1, Ordering::Relaxed);
        let called = path.rsplit('/').next().unwrap_or_default();
        let method = METHODS.into_iter().find(|method| *method == called).unwrap_or("other");
        Self { method, status: Code::Cancelled, counts }
    }

    /// Takes the status from headers or trailers that have one.
    fn note(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.status = status.code();
        }
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.counts.running.fetch_sub(1, Ordering::Relaxed);
        *self.counts.ended.lock().entry((self.method, code_name(self.status))).or_default() += 1;
    }
}

/// The body of an answer.
#[derive(Debug)]
struct Answer {
    inner: Body,
    call: RunningCall,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.call.note(trailers);
                }
            }
            Some(Err(status)) => this.call.status = status.code(),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
