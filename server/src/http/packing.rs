//! Rows packed with gzip on their way, for clients that take it.
//!
//! Each piece is packed as it comes: nothing waits for the end but what the algorithm itself keeps, some tens of
//! kilobytes. An answer that is cut off has no gzip trailer either.

use std::io::{self, Write};

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::accept::gzip;
use super::respond::HttpError;
use super::rows::Form;

/// How bytes go out.
#[derive(Debug)]
pub(super) enum Packing {
    Plain,
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

impl Packing {
    /// What the client asks for. Parquet is packed already.
    pub(super) fn wanted(form: Form, headers: &HeaderMap) -> Result<Self, HttpError> {
        let gzip = gzip(headers)? && form != Form::Parquet;
        if !gzip {
            return Ok(Self::Plain);
        }
        Ok(Self::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::fast()))))
    }

    /// The headers of an answer that is packed so.
    pub(super) fn headers(&self, form: Form) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
        headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
        if let Self::Gzip(_) = self {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers
    }

    /// Takes bytes, and gives those that can be sent.
    pub(super) fn pack(&mut self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(bytes),
            Self::Gzip(encoder) => {
                encoder.write_all(&bytes)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    /// The last bytes.
    pub(super) fn finish(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(Vec::new()),
            Self::Gzip(encoder) => {
                encoder.try_finish()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::http::header::ACCEPT_ENCODING;
    use flate2::read::GzDecoder;

    use super::*;

    fn packing(form: Form) -> Packing {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
        Packing::wanted(form, &headers).unwrap()
    }

    #[test]
    fn pieces_are_packed_as_they_come() {
        let mut packing = packing(Form::Csv);
        assert_eq!(packing.headers(Form::Csv)[CONTENT_ENCODING], "gzip");
        let (mut packed, mut piece, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..100_000_u32 {
            piece.extend_from_slice(n.wrapping_mul(2_654_435_761).to_string().as_bytes());
            if n % 10_000 == 0 {
                plain.extend_from_slice(&piece);
                packed.extend(packing.pack(std::mem::take(&mut piece)).unwrap());
            }
        }
        assert!(packed.len() > plain.len() / 4, "{} of {}", packed.len(), plain.len());
        let mut cut = Vec::new();
        assert!(GzDecoder::new(packed.as_slice()).read_to_end(&mut cut).is_err());
        packed.extend(packing.finish().unwrap());
        let mut unpacked = Vec::new();
        GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
    }

    #[test]
    fn parquet_is_not_packed_again() {
        let mut packing = packing(Form::Parquet);
        assert!(packing.headers(Form::Parquet).get(CONTENT_ENCODING).is_none());
        assert_eq!(packing.pack(b"PAR1".to_vec()).unwrap(), b"PAR1");
    }
}
