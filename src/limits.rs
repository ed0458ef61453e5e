//! What a peer, a file or another shard can make grow, and how far. Every number has its unit in
//! its name, its source in its comment, and its relations asserted below.
//!
//! These are not settings: nobody needs to change them, and the code relies on how they relate.
//! What an operator may change is in `config`. May import nothing.

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

// --- Before login -------------------------------------------------------------------------------

/// From accept to the end of the login, whatever the peer sends meanwhile (RabbitMQ's
/// handshake_timeout; abuse row 4).
pub const HANDSHAKE_MS_MAX: u64 = 10_000;

/// From the first octet of what a proxy says to the last (abuse row 107).
pub const PROXY_HEADER_MS_MAX: u64 = 5_000;

/// The largest frame before the limits are negotiated (RabbitMQ's initial_frame_max, P14; abuse
/// row 7). Leaves room for a token of 8 KiB in start-ok, which 4096 does not (P15).
pub const FRAME_BYTES_BEFORE_TUNE: u32 = 8192;

/// The smallest frame limit a client may ask for (AMQP 0-9-1 4.2.3, P15).
pub const FRAME_BYTES_MIN: u32 = 4096;

/// The largest frame limit an operator may set: one frame must fit a read buffer, and nothing
/// gets faster beyond this.
pub const FRAME_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Failed logins a source may make at once (arbitrary: a person mistypes, a guesser does not
/// stop at five).
pub const LOGIN_FAILURES_MAX: u64 = 5;

/// Time in which a source gets one attempt back (arbitrary: 1,800 guesses an hour and shard).
pub const LOGIN_FAILURE_REFILL_MS: u64 = 2_000;

/// Failed logins as one user, from wherever, before further ones have to wait as well (arbitrary:
/// ten sources' worth).
pub const LOGIN_USER_FAILURES_MAX: u64 = 50;

/// Names remembered per shard, and sources from which somebody is known: 64 KiB each.
pub const LOGIN_NAMES_MAX: usize = 4096;

/// Sources remembered per shard; about 200 KiB.
pub const LOGIN_SOURCES_MAX: usize = 4096;

/// Addresses whose connections are counted, per listener and shard; about 200 KiB.
pub const CONNECT_SOURCES_MAX: usize = 4096;

/// The table of sources is walked at most this often when it is full.
pub const LOGIN_SWEEP_MS_MIN: u64 = 1_000;

/// A refused login is answered after this time, to slow guessing down (abuse row 48).
pub const LOGIN_REFUSAL_DELAY_MS: u64 = 1_000;

// --- A connection -------------------------------------------------------------------------------

/// Names on the wire are short strings: one length octet (AMQP 0-9-1 4.2.5.3, P41).
pub const NAME_BYTES_MAX: usize = 255;

/// Body frames in a row that bring no octet (abuse row 18).
pub const EMPTY_BODY_FRAMES_MAX: u32 = 1000;

/// Bodies that are being received, all channels of a connection together (abuse row 17). See
/// [`assembly_bytes_max`].
pub const ASSEMBLY_BYTES_MAX: u64 = 64 * MIB;

/// A body of which nothing more arrives (abuse row 17).
pub const ASSEMBLY_IDLE_MS_MAX: u64 = 30_000;

/// Output waiting for a slow reader, per connection: above it nothing more is delivered and
/// nothing more is read (abuse rows 44 and 45).
pub const OUTPUT_BYTES_HIGH: u64 = MIB;

/// How long a connection may stay above [`OUTPUT_BYTES_HIGH`] while the peer reads nothing
/// (abuse row 45).
pub const OUTPUT_STUCK_MS_MAX: u64 = 60_000;

/// How long we wait for the peer's answer to a close (abuse table, heading: close within 1 s).
pub const CLOSE_MS_MAX: u64 = 1_000;

/// Deliveries that are out on one channel when prefetch sets no bound (abuse row 31).
pub const UNSETTLED_PER_CHANNEL_MAX: u32 = 65_535;

/// Bodies of publishes in an open transaction, per connection (abuse row 52).
pub const TRANSACTION_BYTES_MAX: u64 = 64 * MIB;

/// Publishes and settlements in an open transaction, per connection: 64 MiB of one-octet bodies
/// would otherwise be many times that in bookkeeping (arbitrary).
pub const TRANSACTION_ENTRIES_MAX: usize = 100_000;

/// Channels opened on one connection within a second (abuse row 28).
pub const CHANNEL_OPENS_PER_SECOND_MAX: u32 = 10_000;

/// Heartbeats on one connection within a second (abuse row 47); an honest peer sends one in half
/// a second at most.
pub const HEARTBEATS_PER_SECOND_MAX: u32 = 100;

// --- The broker ---------------------------------------------------------------------------------

/// Exchanges a message passes on its way (abuse row 36).
pub const EXCHANGE_HOPS_MAX: usize = 64;

/// Consumers of one queue (abuse row 29).
pub const CONSUMERS_PER_QUEUE_MAX: u32 = 100_000;

// Until operators set them.

/// Topics with a retained message, per virtual host: some 200 octets of memory each (arbitrary).
pub const RETAINED_MAX: u64 = 10_000_000;

/// Octets of retained messages, per virtual host, most of them on the disk (arbitrary).
pub const RETAINED_BYTES_MAX: u64 = 64 * 1024 * MIB;

// --- The machine --------------------------------------------------------------------------------

/// The scheduler's own bounds of how long a thread keeps a core, microseconds.
pub const SLICE_US: std::ops::RangeInclusive<u32> = 100..=100_000;

// --- Between shards -----------------------------------------------------------------------------

/// Shards of one process: one bit each in an interest set, with room to spare on any machine.
pub const SHARDS_MAX: u16 = 256;

/// Longest that a publish which would reach nobody waits for other shards to catch up with their
/// sockets: a shard that is there answers within its turn on the core, one that has ended never.
/// Arbitrary: many slices of a core that many threads want.
pub const CATCH_UP_MS_MAX: u64 = 1_000;

/// Groups that queues are spread over; fixed when the data directory is made.
pub const GROUPS_MAX: u32 = 65_536;

/// Bytes under way on one lane, one direction between two shards: above it the sender's
/// publishers are not read (design section 4). A single larger message goes when the lane is
/// empty.
pub const LANE_BYTES_MAX: u64 = 8 * MIB;

/// Bytes one connection may have under way to other shards, so that no publisher fills a lane
/// alone. A single larger message goes when nothing else is under way.
pub const LINK_BYTES_MAX: u64 = MIB;

// --- Start and stop -----------------------------------------------------------------------------

/// Connections the kernel may hold for accept; it takes the smaller of this and
/// net.core.somaxconn.
pub const LISTEN_BACKLOG: u32 = 4096;

/// From the first SIGTERM to the end of the process.
pub const SHUTDOWN_MS_MAX: u64 = 10_000;

/// A definitions file (a real one of 100,000 queues has some 30 MB).
pub const DEFINITIONS_BYTES_MAX: u64 = 256 * MIB;

/// A settings file; the complete sample has some 10 KB.
pub const SETTINGS_BYTES_MAX: u64 = MIB;

/// Bodies that may be under assembly on a connection whose messages may have
/// `message_bytes_max`: a single message of the largest size always fits, whatever else is
/// limited.
pub const fn assembly_bytes_max(message_bytes_max: u64) -> u64 {
    if message_bytes_max > ASSEMBLY_BYTES_MAX { message_bytes_max } else { ASSEMBLY_BYTES_MAX }
}

const _: () = {
    assert!(FRAME_BYTES_BEFORE_TUNE >= 8192, "start-ok must hold a token of that size (P15)");
    assert!(
        FRAME_BYTES_MIN <= FRAME_BYTES_BEFORE_TUNE,
        "tune never makes the first frames illegal"
    );
    assert!(FRAME_BYTES_BEFORE_TUNE <= FRAME_BYTES_MAX);
    assert!(LINK_BYTES_MAX < LANE_BYTES_MAX, "no connection fills a lane alone");
    assert!(TRANSACTION_BYTES_MAX <= ASSEMBLY_BYTES_MAX, "what is held is at most what came in");
    assert!(PROXY_HEADER_MS_MAX < HANDSHAKE_MS_MAX, "what follows has time left");
    assert!(LOGIN_FAILURES_MAX >= 1);
    assert!(LOGIN_FAILURE_REFILL_MS >= LOGIN_SWEEP_MS_MIN, "a sweep finds somebody to forget");
    assert!(CLOSE_MS_MAX < SHUTDOWN_MS_MAX && LOGIN_REFUSAL_DELAY_MS < HANDSHAKE_MS_MAX);
    assert!(SHARDS_MAX as u32 <= GROUPS_MAX, "every shard can own a group");
    assert!(UNSETTLED_PER_CHANNEL_MAX as u64 >= u16::MAX as u64, "any prefetch can be filled");
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_of_the_largest_size_always_fits_the_assembly_limit() {
        assert_eq!(assembly_bytes_max(1), ASSEMBLY_BYTES_MAX);
        assert_eq!(assembly_bytes_max(128 * MIB), 128 * MIB);
    }
}
