//! What a proxy says first of a connection that it passes on to the HTTP server (S9 to S17): read
//! before anything else, since it decides whose connection that is.
//!
//! May import `limits`, `transport`, tokio.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

use crate::limits::PROXY_HEADER_MS_MAX;
use crate::transport::proxy_protocol::{self, Header, Opening, Wrong};

/// Why a connection does not go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unwelcome {
    /// It is gone, or has said nothing in time: a probe, of which nothing is said (S48).
    Gone,
    /// It has begun a header and not ended it in time.
    Slow,
    /// It has said something that begins like a header.
    Wrong(Wrong),
}

/// Reads the header that may come; `begun` is what came behind it.
pub(super) async fn header(
    stream: &mut (impl AsyncRead + Unpin),
    begun: &mut Vec<u8>,
    end: Instant,
) -> Result<Option<Header>, Unwelcome> {
    let mut deadline = end;
    let mut buffer = [0; 2048];
    loop {
        match proxy_protocol::read(begun) {
            Ok(Opening::Client) => return Ok(None),
            Ok(Opening::Header { header, taken }) => {
                begun.drain(..taken.min(begun.len()));
                return Ok(Some(header));
            }
            Ok(Opening::NeedMore { .. }) => {}
            Err(wrong) => return Err(Unwelcome::Wrong(wrong)),
        }
        let was_silent = begun.is_empty();
        let Ok(Ok(count @ 1..)) = timeout_at(deadline, stream.read(&mut buffer)).await else {
            return Err(if was_silent { Unwelcome::Gone } else { Unwelcome::Slow });
        };
        begun.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if was_silent {
            deadline = end.min(Instant::now() + Duration::from_millis(PROXY_HEADER_MS_MAX));
        }
    }
}
