//! Bodies: bounded each and together, and unpacked.
//!
//! A body reserves its bytes in the door's budget before they are held; what finds no room waits, and is told to come back
//! if that takes too long. What is only declared reserves little: it may never come. The limits are on what gzip unpacks to, not on what it looks like on the wire.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use futures::StreamExt;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

use super::door::Door;
use super::respond::HttpError;

/// What the budget counts in.
pub(super) const BODY_UNIT: usize = 1 << 10;
/// What a body reserves before any of it is there, if it declares as much; more as it comes.
const ROOM_FIRST_BYTES: usize = 256 << 10;
/// How long a body waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(10);
/// How long the next bytes of a body may take: it holds its room meanwhile.
const FRAME_WAIT: Duration = Duration::from_secs(30);

/// A body in memory, and the room that it takes.
#[derive(Debug)]
pub(super) struct HeldBody {
    /// Its bytes, unpacked.
    pub(super) bytes: Bytes,
    /// It should have been gzip, and there was none.
    missing: bool,
    _room: Room,
}

/// Bytes reserved in the budget.
#[derive(Debug)]
struct Room {
    permit: OwnedSemaphorePermit,
}

impl Room {
    async fn reserve(door: &Door, bytes: usize) -> Result<OwnedSemaphorePermit, HttpError> {
        let units = u32::try_from(bytes.div_ceil(BODY_UNIT)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&door.room).acquire_many_owned(units);
        match tokio::time::timeout(ROOM_WAIT, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => {
                Err(HttpError::unavailable("too many bytes are being written at once; retry"))
            }
        }
    }

    async fn new(door: &Door, bytes: usize) -> Result<Self, HttpError> {
        Ok(Self { permit: Self::reserve(door, bytes).await? })
    }

    /// Makes sure that `bytes` fit.
    async fn grow(&mut self, door: &Door, bytes: usize) -> Result<(), HttpError> {
        let have = self.permit.num_permits() * BODY_UNIT;
        if bytes > have {
            // By doubling, so that a long body asks seldom.
            let want = bytes.max(have * 2).min(door.options.body_bytes_max) - have;
            self.permit.merge(Self::reserve(door, want).await?);
        }
        Ok(())
    }
}

/// Reads the whole body, and unpacks it.
pub(super) async fn read(
    door: &Door,
    headers: &HeaderMap,
    body: Body,
) -> Result<HeldBody, HttpError> {
    let held = read_if_any(door, headers, body).await?;
    if held.missing {
        return Err(HttpError::invalid(
            "the body is empty, and no gzip as its Content-Encoding says; nothing was stored",
        ));
    }
    Ok(held)
}

/// Like [`read`], where a body may be missing: clients of InfluxDB 1 say gzip of a request that has none.
pub(super) async fn read_if_any(
    door: &Door,
    headers: &HeaderMap,
    body: Body,
) -> Result<HeldBody, HttpError> {
    let gzip = is_gzip(headers)?;
    let bytes_max = door.options.body_bytes_max;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > bytes_max) {
        return Err(HttpError::too_large(bytes_max));
    }
    let first = length.unwrap_or(0).clamp(BODY_UNIT, ROOM_FIRST_BYTES);
    let mut room = Room::new(door, first).await?;
    let bytes = collect(door, body, length.unwrap_or(0), &mut room).await?;
    let missing = gzip && bytes.is_empty();
    let packed = gzip && !missing;
    let bytes = if packed { unpack(door, bytes, &mut room).await? } else { bytes };
    door.counters.body(bytes.len());
    Ok(HeldBody { bytes, missing, _room: room })
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, HttpError> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|v| v.as_bytes().to_ascii_lowercase());
    match encoding.as_deref() {
        None | Some(b"" | b"identity") => Ok(false),
        Some(b"gzip" | b"x-gzip") => Ok(true),
        Some(other) => Err(HttpError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported",
            format!(
                "the body is encoded as {:?}; gzip and identity are taken",
                String::from_utf8_lossy(other)
            ),
        )),
    }
}

/// The frames of a body that says to be so long.
async fn collect(
    door: &Door,
    body: Body,
    length: usize,
    room: &mut Room,
) -> Result<Bytes, HttpError> {
    let mut frames = body.into_data_stream();
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let Ok(next) = tokio::time::timeout(FRAME_WAIT, frames.next()).await else {
            let message = "the rest of the body does not come";
            return Err(HttpError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message));
        };
        let Some(frame) = next else { break };
        let frame =
            frame.map_err(|e| HttpError::invalid(format!("the body ends too early: {e}")))?;
        let bytes = first.len() + all.len() + frame.len();
        if bytes > door.options.body_bytes_max {
            return Err(HttpError::too_large(door.options.body_bytes_max));
        }
        room.grow(door, bytes).await?;
        if first.is_empty() && all.is_empty() {
            first = frame;
            continue;
        }
        if all.is_empty() {
            // Room is taken for what is there; memory that nothing was written to is none yet.
            all.reserve(length.max(room.permit.num_permits() * BODY_UNIT));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&frame);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Why a body could not be unpacked.
#[derive(Debug)]
enum GzipProblem {
    TooLarge,
    Cut,
    NotGzip,
    Malformed(std::io::Error),
}

/// What every member of a gzip file begins with.
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

async fn unpack(door: &Door, packed: Bytes, room: &mut Room) -> Result<Bytes, HttpError> {
    // The last four bytes of gzip are the size, if there is one member only and nobody lies.
    let hint = packed.last_chunk().map_or(0, |size| u32::from_le_bytes(*size) as usize);
    let bytes_max = door.options.body_bytes_max;
    let mut limit = hint.clamp(packed.len(), bytes_max);
    loop {
        room.grow(door, limit).await?;
        let source = packed.clone();
        let unpacked = tokio::task::spawn_blocking(move || gunzip(&source, limit)).await;
        return match unpacked {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(GzipProblem::TooLarge)) if limit < bytes_max => {
                limit = bytes_max;
                continue;
            }
            Ok(Err(GzipProblem::TooLarge)) => Err(HttpError::too_large(bytes_max)),
            Ok(Err(GzipProblem::Cut)) => {
                Err(HttpError::invalid("the gzip body is cut off; nothing of it was stored"))
            }
            Ok(Err(GzipProblem::NotGzip)) => {
                Err(HttpError::invalid("the body is not gzip, as its Content-Encoding says"))
            }
            Ok(Err(GzipProblem::Malformed(e))) => {
                Err(HttpError::invalid(format!("the gzip body is damaged: {e}")))
            }
            Err(e) => Err(HttpError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                format!("unpacking failed: {e}"),
            )),
        };
    }
}

fn gunzip(packed: &[u8], bytes_max: usize) -> Result<Bytes, GzipProblem> {
    if packed.iter().zip(GZIP_MAGIC).any(|(found, want)| *found != want) {
        return Err(GzipProblem::NotGzip);
    }
    let mut out = Vec::with_capacity(bytes_max.min(packed.len() * 8));
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    match MultiGzDecoder::new(packed).take(limit).read_to_end(&mut out) {
        Ok(_) if out.len() > bytes_max => Err(GzipProblem::TooLarge),
        Ok(_) => Ok(out.into()),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(GzipProblem::Cut),
        Err(e) => Err(GzipProblem::Malformed(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_unpacked_up_to_the_limit() {
        let text = b"cpu usage=1 1\n".repeat(100);
        assert_eq!(gunzip(&pack(&text), text.len()).unwrap(), text);
        assert!(matches!(gunzip(&pack(&text), text.len() - 1), Err(GzipProblem::TooLarge)));
    }

    #[test]
    fn every_cut_of_a_gzip_body_is_an_error() {
        let packed = pack(&b"cpu usage=1 1\n".repeat(100));
        for cut in 1..packed.len() {
            let problem = gunzip(&packed[..cut], 1 << 20);
            assert!(matches!(problem, Err(GzipProblem::Cut)), "{cut}: {problem:?}");
        }
        assert!(matches!(gunzip(b"m f=1", 1 << 20), Err(GzipProblem::NotGzip)));
    }
}
