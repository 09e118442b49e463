//! Every bound of the data path in one place (I10): at a limit there is back-pressure, never growth.

/// Bounds of one group's machine. All tables are allocated from these once, at construction.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Host requests (pieces of at most 128 KiB) in the in-flight table.
    pub requests: usize,
    /// Sealed frames whose records have not all landed on the local disk.
    pub frames: usize,
    /// Sealed frames not yet reported journaled: beyond it records gather in the open frame, so that load makes batches.
    pub unjournaled_frames: usize,
    /// Where two lanes share the data of frames: shorter ones go whole to both. The head is a good part of them, and a lane writes many
    /// of them at once where nothing lies between.
    pub shared_bytes: u64,
    /// Range reads that a secondary keeps in flight towards the relay.
    pub fetches: usize,
    /// Bytes of one range read; a whole frame must fit.
    pub fetch_bytes: u32,
    /// Frames that a secondary holds in memory between acquiring and applying.
    pub apply_frames: usize,
    /// Records among them whose disk write is waiting or running.
    pub apply_records: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 1024,
            frames: 1024,
            unjournaled_frames: 8,
            shared_bytes: 64 * 1024,
            fetches: 32,
            fetch_bytes: 768 * 1024,
            apply_frames: 1024,
            apply_records: 4096,
        }
    }
}

/// How long machines wait, in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// I11: how long an answer of a lane permits reads, from the sending of the request.
    pub lease_ns: u64,
    /// Idle time on a lane after which it is pinged.
    pub heartbeat_ns: u64,
    /// A link that answered nothing for so long is dropped and connected anew.
    pub silence_ns: u64,
    /// Pause before a failed link is tried again.
    pub reconnect_ns: u64,
    /// A manifest frame is issued at latest so long after the first frame it lists was journaled.
    pub manifest_ns: u64,
    /// A receipt is issued at most this often.
    pub receipt_ns: u64,
    /// The volumes are flushed at most this often to move `landed` or the cut.
    pub flush_ns: u64,
    /// Longest wait of a long-poll read, milliseconds.
    pub poll_ms: u32,
    /// How long a full ring holds hosts up before the lanes are left, where that is allowed.
    pub leave_ns: u64,
    /// Bytes in a second that a round sends at most; 0: as many as hosts leave room for.
    pub round_bytes_per_s: u64,
    /// Percent of the ring from which on it counts as filling up.
    pub overflow_percent: u64,
    /// How long one write of a host is held back at most while it does; 0: none is.
    pub throttle_ns: u64,
}

impl Default for Pace {
    fn default() -> Self {
        const MS: u64 = 1_000_000;
        Self {
            lease_ns: 500 * MS,
            heartbeat_ns: 100 * MS,
            silence_ns: 3_000 * MS,
            reconnect_ns: 100 * MS,
            manifest_ns: 2 * MS,
            receipt_ns: 10 * MS,
            flush_ns: 200 * MS,
            poll_ms: 500,
            leave_ns: 2_000 * MS,
            round_bytes_per_s: 0,
            overflow_percent: 80,
            throttle_ns: 0,
        }
    }
}

/// Extra wait of a fence beyond the lease, against clocks that run at different speeds: a tenth of the lease.
pub const fn drift_margin(lease_ns: u64) -> u64 {
    lease_ns / 10
}

/// Longest piece of a host write that enters a group as one request, bytes.
pub const MAX_PIECE: usize = midspan_format::record::MAX_RECORD_DATA as usize;
/// Longest zero or trim piece, bytes.
pub const MAX_ZERO_PIECE: u64 = 1 << 30;
/// Ring space that is kept: for a frame without records, which makes a newer `landed` durable when the ring is full, and for
/// marks of a site that serves outside the lanes.
pub const RESERVE_BYTES: u64 = 16 * midspan_format::geometry::BLOCK_U64;
