//! Room for messages on their way in.
//!
//! *What it is*: a limit on the bytes of messages that have begun to come and are not whole yet, of all calls together. *Where
//! it sits*: around the service, below tonic, which keeps what has come of a message until the last byte is there.
//!
//! *How it works*: the body of each call is followed from message to message by the five bytes before each, which hold its
//! length. What has come of the current message is taken from the room, and given back once the next one is asked for: then
//! it is decoded, and is the engine's to bound. Where there is no room, the call ends and may be repeated; nobody waits for
//! room while holding some. A message that stops coming gives its room back by the end of its call.
//!
//! *Limits*: a message that is packed as a whole is counted as it comes, and unpacked by itself.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// What room is counted in.
const UNIT: usize = 1 << 10;

/// How long the next bytes of a message that has begun may take.
const BYTES_WAIT: Duration = Duration::from_secs(30);

/// Bytes before a message: whether it is packed, and its length.
const HEAD_BYTES: usize = 5;

/// A service whose requests share room.
#[derive(Clone, Debug)]
pub(crate) struct Roomed<S> {
    inner: S,
    room: Arc<Semaphore>,
}

impl<S> Roomed<S> {
    /// The service, in this room.
    pub(crate) fn new(inner: S, room: Arc<Semaphore>) -> Self {
        Self { inner, room }
    }
}

/// Room for so many bytes.
pub(crate) fn room(bytes_max: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((bytes_max / UNIT).min(Semaphore::MAX_PERMITS)))
}

impl<S: NamedService> NamedService for Roomed<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Roomed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let room = Arc::clone(&self.room);
        self.inner.call(request.map(|body| Body::new(Messages::new(body, room, BYTES_WAIT))))
    }
}

/// Where a body is between its messages.
#[derive(Debug, Default)]
struct Place {
    head: [u8; HEAD_BYTES],
    /// How much of the head is there.
    head_bytes: usize,
    /// What is missing of the message after it.
    missing: usize,
    /// What is there of the head and the message.
    held: usize,
}

impl Place {
    fn advance(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let wanted = if self.missing > 0 { self.missing } else { HEAD_BYTES - self.head_bytes };
            let (piece, rest) = data.split_at(wanted.min(data.len()));
            data = rest;
            self.held += piece.len();
            if self.missing > 0 {
                self.missing -= piece.len();
            } else {
                let end = self.head_bytes + piece.len();
                self.head[self.head_bytes..end].copy_from_slice(piece);
                self.head_bytes = end % HEAD_BYTES;
                if end == HEAD_BYTES {
                    let [_, length @ ..] = self.head;
                    self.missing = u32::from_be_bytes(length) as usize;
                }
            }
            if self.missing == 0 && self.head_bytes == 0 {
                self.held = 0;
            }
        }
    }
}

/// The body of a call.
#[derive(Debug)]
struct Messages {
    inner: Body,
    place: Place,
    room: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
    bytes_wait: Duration,
    /// Runs while a message has begun and nothing comes.
    wait: Option<Pin<Box<Sleep>>>,
}

impl Messages {
    fn new(inner: Body, room: Arc<Semaphore>, bytes_wait: Duration) -> Self {
        Self { inner, place: Place::default(), room, taken: None, bytes_wait, wait: None }
    }

    /// Gives back the room of messages that are whole.
    fn give_back(&mut self) {
        let needed = self.place.held.div_ceil(UNIT);
        let Some(taken) = &mut self.taken else { return };
        let surplus = taken.num_permits().saturating_sub(needed);
        drop(taken.split(surplus));
    }

    /// Takes room for what has come.
    fn take(&mut self, data: &Bytes) -> Result<(), Status> {
        let needed = (self.place.held + data.len()).div_ceil(UNIT);
        let have = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(needed.saturating_sub(have)).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.room)
            .try_acquire_many_owned(more)
            .map_err(|_| Status::unavailable("too many bytes are being uploaded at once; retry"))?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        self.place.advance(data);
        Ok(())
    }

    /// Whether a message has begun and stopped coming.
    fn has_stopped(&mut self, cx: &mut Context<'_>) -> bool {
        if self.place.held == 0 {
            return false;
        }
        let bytes_wait = self.bytes_wait;
        let wait = self.wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(bytes_wait)));
        wait.as_mut().poll(cx).is_ready()
    }
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        this.give_back();
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            if this.has_stopped(cx) {
                let message = "the rest of a message does not come";
                return Poll::Ready(Some(Err(Status::deadline_exceeded(message))));
            }
            return Poll::Pending;
        };
        this.wait = None;
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(status) = this.take(data)
        {
            return Poll::Ready(Some(Err(status)));
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body::Body as _;
    use tonic::Code;

    use super::*;

    /// Pieces of a body, after which nothing comes.
    #[derive(Debug)]
    struct Pieces(VecDeque<Bytes>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            match self.0.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                None => Poll::Pending,
            }
        }
    }

    /// A message of so many bytes.
    fn message(bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).unwrap().to_be_bytes();
        [&[0][..], &length[..], &vec![7; bytes][..]].concat()
    }

    fn body(bytes: &[u8], piece: usize, room: &Arc<Semaphore>) -> Messages {
        let pieces = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
        let wait = Duration::from_millis(1);
        Messages::new(Body::new(Pieces(pieces)), Arc::clone(room), wait)
    }

    async fn next(body: &mut Messages) -> Result<Frame<Bytes>, Status> {
        std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.unwrap()
    }

    #[tokio::test]
    async fn messages_that_have_begun_share_room() {
        let room = Arc::new(Semaphore::new(100));
        let begun = &message(90 << 10)[..60 << 10];
        let (mut one, mut other) = (body(begun, 60 << 10, &room), body(begun, 60 << 10, &room));
        next(&mut one).await.unwrap();
        assert_eq!(next(&mut other).await.unwrap_err().code(), Code::Unavailable);
        drop((one, other));
        assert_eq!(room.available_permits(), 100);
    }

    #[tokio::test]
    async fn a_stream_holds_no_more_than_its_current_message() {
        let all = (0..200).flat_map(|i| message(i * 37 % 3_000)).collect::<Vec<_>>();
        for piece in [1, 4, 5, 6, 999, 4_096] {
            let room = Arc::new(Semaphore::new(8));
            let mut stream = body(&all, piece, &room);
            for _ in 0..all.len().div_ceil(piece) {
                next(&mut stream).await.unwrap();
            }
            stream.give_back();
            assert_eq!(room.available_permits(), 8, "pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn a_message_that_stops_coming_ends_its_call() {
        let room = Arc::new(Semaphore::new(8));
        let mut stopped = body(&message(1_000)[..500], 500, &room);
        next(&mut stopped).await.unwrap();
        assert_eq!(next(&mut stopped).await.unwrap_err().code(), Code::DeadlineExceeded);
    }
}
