//! Finds an area's durable prefix after a start: walk from the recorded hint, look for witnesses of more, flush (I2, I8).

use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::{BLOCK, Position, Ring};
use midspan_format::ids::{AreaId, NodeId};
use midspan_format::superblock::AreaEntry;

use crate::recovery::walk::{Found, Walk, later_claim};
use crate::stage::area::frame_kind;
use crate::stage::ring_read::{ReadStep, RingRead};
use crate::vocab::buffer::Buffers;
use crate::vocab::effect::{Context, Disk, DiskOp, DiskResult, Token};

/// How far behind the end of the chain a later frame is looked for: more than all un-journaled frames of a writer.
const WINDOW: u64 = 16 << 20;

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Walking,
    /// Looking for later valid headers up to this position.
    Looking {
        until: Position,
    },
    Flushing,
}

/// What the scan came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not done yet.
    Running,
    /// The prefix, durable.
    Prefix,
    /// The chain ends before a prefix that somebody knows to have been journaled.
    Damaged {
        /// That prefix.
        claimed: Position,
    },
    /// The disk cannot be read.
    Failed,
}

/// The scan of one area.
#[derive(Debug)]
pub struct AreaScan {
    area: AreaId,
    kind: FrameKind,
    ring: Ring,
    walk: Walk,
    read: RingRead,
    token: Token,
    /// Bytes of an ordinary read: the largest frame fits.
    chunk: usize,
    /// Bytes of the next read.
    want: usize,
    /// A read failed: from then on frame by frame, so that a block that nobody needs stops nothing.
    careful: bool,
    stage: Stage,
    at: Position,
    /// Largest prefix that a witness knows.
    claimed: Position,
    /// Claims up to here may be of an earlier use of the area.
    stale_to: Position,
    /// Where a read found nothing that continues the chain: it ends there only if the next one says so, too.
    doubted: Option<Position>,
    /// Where the chain would go on and nothing can be read, so far.
    unreadable: Option<Position>,
    /// Header of the last frame found.
    pub last: Option<FrameHeader>,
}

impl AreaScan {
    /// A scan at `node` from the hint of an area's entry; its disk operations carry `token`; it reads `chunk` bytes at a time.
    pub fn new(entry: &AreaEntry, node: NodeId, token: Token, chunk: usize) -> Self {
        let ring = Ring { start: entry.start, size: entry.size };
        let kind = frame_kind(entry.kind);
        let mut walk = if entry.hint.journaled.0 == 0 {
            Walk::behind(entry.frames(), kind, crate::vocab::tip::Tip::behind(Position(0), None))
        } else {
            Walk::at(entry.frames(), kind, entry.hint.position)
        };
        walk.at_lane(node);
        let chunk = chunk.min(usize::try_from(entry.size).unwrap_or(chunk));
        Self {
            area: entry.frames(),
            stale_to: entry.stale_to,
            kind,
            ring,
            at: walk.tip().position,
            walk,
            read: RingRead::new(token),
            token,
            chunk,
            want: chunk,
            careful: false,
            stage: Stage::Walking,
            claimed: entry.hint.journaled,
            doubted: None,
            unreadable: None,
            last: None,
        }
    }

    /// The prefix found so far.
    pub fn prefix(&self) -> Position {
        self.walk.tip().position
    }

    /// Whether it waits for a buffer.
    pub fn is_starved(&self) -> bool {
        !self.read.is_busy() && self.stage != Stage::Flushing
    }

    /// Starts, or tries again when the pool was empty.
    pub fn poke<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if self.is_starved() {
            self.read.start(context, self.ring, self.at, self.want);
        }
    }

    /// A disk operation of this scan ended.
    pub fn on_disk<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        result: DiskResult<S::Buf>,
    ) -> Verdict {
        if self.stage == Stage::Flushing {
            return match result {
                Ok(_) if self.claimed > self.prefix() => {
                    rare!(ScanFindsDamage);
                    Verdict::Damaged { claimed: self.claimed }
                }
                Ok(_) => Verdict::Prefix,
                Err(_) => {
                    rare!(ScanFlushFails);
                    Verdict::Failed
                }
            };
        }
        match self.read.on_disk(context, result) {
            ReadStep::Running => return Verdict::Running,
            ReadStep::Failed(_) => self.on_unreadable(),
            ReadStep::Done(position, data) => match self.stage {
                Stage::Walking => self.on_walked(position, data.bytes()),
                Stage::Looking { until } => self.on_looked(position, until, data.bytes()),
                Stage::Flushing => {}
            },
        }
        if self.stage == Stage::Flushing {
            context.disk(Disk::Journal, self.token, DiskOp::Flush);
        } else {
            self.poke(context);
        }
        Verdict::Running
    }

    /// An unreadable block holds no frame that can be used and makes no claim. Where the chain would go on it is no end either:
    /// a frame that was acknowledged may be the last one there, and then nobody else knows of it.
    fn on_unreadable(&mut self) {
        rare!(ScanUnreadable);
        match self.stage {
            Stage::Walking | Stage::Looking { .. } if !self.careful => {
                self.careful = true;
                self.want = BLOCK;
            }
            Stage::Walking if self.unreadable.replace(self.prefix()) == Some(self.prefix()) => {
                if self.kind == FrameKind::Journal {
                    self.claimed = self.claimed.max(self.prefix().add(BLOCK as u64));
                }
                self.look();
            }
            Stage::Walking => {}
            Stage::Looking { until } => self.go_on_looking(until),
            Stage::Flushing => {}
        }
    }

    fn on_walked(&mut self, position: Position, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            match self.walk.next(rest) {
                Found::Frame(header, _) => {
                    self.on_frame(&header);
                    rest = rest.get(header.length as usize..).unwrap_or_default();
                }
                Found::Head(header) => {
                    self.walk.pass(&header);
                    self.on_frame(&header);
                    rest = rest.get(header.length as usize..).unwrap_or_default();
                }
                Found::More(needed) => {
                    self.at = self.walk.tip().position;
                    let stands = self.at == position;
                    if self.careful {
                        self.want = if stands { needed } else { BLOCK };
                    }
                    // A frame that does not fit a whole chunk cannot be valid: the chunk holds the largest frame.
                    if needed > self.chunk || stands && !self.careful {
                        self.on_ended();
                    }
                    return;
                }
                Found::End => {
                    self.on_ended();
                    return;
                }
            }
        }
    }

    fn on_frame(&mut self, header: &FrameHeader) {
        if header.kind == FrameKind::Journal {
            self.claimed = self.claimed.max(header.journaled);
        }
        rare!(ScanMisread if self.doubted == Some(header.position));
        self.last = Some(*header);
    }

    /// Nothing continues the chain, a read says. It may be wrong once: then the journal neither ends here nor is damaged, and
    /// the next read says so.
    fn on_ended(&mut self) {
        self.at = self.prefix();
        if self.doubted.replace(self.at) == Some(self.at) {
            self.look();
        }
    }

    fn look(&mut self) {
        let prefix = self.prefix();
        let window = WINDOW.min(self.ring.size.saturating_sub(BLOCK as u64));
        self.at = Position(prefix.0 + BLOCK as u64);
        self.want = if self.careful { BLOCK } else { self.chunk };
        self.stage =
            if window == 0 { Stage::Flushing } else { Stage::Looking { until: Position(prefix.0 + window) } };
    }

    fn on_looked(&mut self, position: Position, until: Position, bytes: &[u8]) {
        if let Some(claim) = later_claim(self.area, position, bytes).filter(|claim| *claim > self.stale_to) {
            self.claimed = self.claimed.max(claim);
        }
        self.go_on_looking(until);
    }

    fn go_on_looking(&mut self, until: Position) {
        self.at = Position(self.at.0 + self.want as u64);
        if self.at >= until {
            self.stage = Stage::Flushing;
        }
    }
}

#[cfg(test)]
mod tests;
