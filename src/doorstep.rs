//! What a connection that may come through a proxy says before anything else. Read here, before the
//! connection begins, since it decides whose connection that is: which limits hold for it, and what
//! every layer calls its other end.
//!
//! May import `hub`, `transport`, `limits`, `ringmq_shards`.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ringmq_shards::{ReadBuffer, Socket, Stream};

use crate::hub::Hub;
use crate::limits::{HANDSHAKE_MS_MAX, PROXY_HEADER_MS_MAX};
use crate::transport::proxy_protocol::{self, Header, Opening, Wrong};

/// How often somebody who says nothing is looked after: whether the node stops. Arbitrary, well
/// below the time that a stop may take.
const LOOK_EVERY_MS: u64 = 500;

/// What came of it.
#[derive(Debug)]
pub(crate) enum Met {
    /// The connection may begin.
    Welcome {
        socket: Socket,
        /// What a proxy has said.
        header: Option<Header>,
        /// What came behind that.
        early: Vec<u8>,
    },
    /// It has said something that begins like a header.
    Wrong(Wrong),
    /// It has begun a header and not ended it in time.
    Slow,
    /// It is gone, or has said nothing: a probe, of which nothing is said (S48).
    Gone,
}

/// Reads the header that may come.
pub(crate) async fn meet(hub: &Rc<Hub>, socket: Socket, accepted_ms: u64) -> Met {
    let mut stream = Stream::from_socket(socket, hub.shard.quiet());
    let mut input = ReadBuffer::new(hub.shard.buffers());
    let end_ms = accepted_ms.saturating_add(HANDSHAKE_MS_MAX);
    let mut deadline_ms = end_ms;
    let header = loop {
        match proxy_protocol::read(input.filled()) {
            Ok(Opening::Client) => break None,
            Ok(Opening::Header { header, taken }) => {
                input.consume(taken);
                break Some(header);
            }
            Ok(Opening::NeedMore { .. }) => {
                let was_silent = input.is_empty();
                if !more(hub, &mut stream, &mut input, deadline_ms).await {
                    return if was_silent { Met::Gone } else { Met::Slow };
                }
                if was_silent {
                    let begun_ms = hub.now().mono_ms;
                    deadline_ms = end_ms.min(begun_ms.saturating_add(PROXY_HEADER_MS_MAX));
                }
            }
            Err(wrong) => return Met::Wrong(wrong),
        }
    };
    // A connection is made of a socket, here or on another shard.
    match stream.into_socket() {
        Ok(socket) => Met::Welcome { socket, header, early: input.filled().to_vec() },
        Err(_) => Met::Gone,
    }
}

/// Reads what comes; false: no more, or not in time.
async fn more(hub: &Hub, stream: &mut Stream, input: &mut ReadBuffer, deadline_ms: u64) -> bool {
    loop {
        let now_ms = hub.now().mono_ms;
        if hub.is_stopping() || now_ms >= deadline_ms {
            return false;
        }
        let mut look =
            pin!(hub.shard.sleep_until(deadline_ms.min(now_ms.saturating_add(LOOK_EVERY_MS))));
        let read = poll_fn(|task| match stream.poll_fill(task, input) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => look.as_mut().poll(task).map(|()| None),
        });
        match read.await {
            Some(Ok(1..)) => return true,
            Some(Ok(0) | Err(_)) => return false,
            None => {}
        }
    }
}
