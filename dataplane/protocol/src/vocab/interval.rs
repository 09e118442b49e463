//! Which block ranges overlap which earlier ones: the core of the in-flight table and of the applier.
//!
//! An entry waits for all earlier entries of its range that conflict with it (two reads do not). Ranges of at most
//! [`BUCKET_BLOCKS`] blocks lie in one or two buckets of a fixed hash table; the few wider ones (zeroes, trims) are kept
//! on a list of their own. Nothing allocates after construction.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// Blocks a bucket spans: the longest ordinary request (128 KiB) touches at most two.
pub const BUCKET_BLOCKS: u64 = 32;

/// Whether entries of a kind conflict with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Conflicts with writes only.
    Read,
    /// Conflicts with everything.
    Write,
}

/// A block range of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Volume number.
    pub volume: u32,
    /// First block.
    pub first: u64,
    /// Number of blocks, at least 1.
    pub count: u64,
}

impl Blocks {
    const fn end(&self) -> u64 {
        self.first + self.count
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.volume == other.volume && self.first < other.end() && other.first < self.end()
    }
}

const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    blocks: Blocks,
    access: Access,
    /// Order of arrival; 0 = free slot.
    arrival: u64,
    blockers: u32,
    wide: bool,
    /// Next entry in the chain of the first and of the second bucket.
    next: [u32; 2],
}

const FREE: Entry = Entry {
    blocks: Blocks { volume: 0, first: 0, count: 0 },
    access: Access::Read,
    arrival: 0,
    blockers: 0,
    wide: false,
    next: [NIL; 2],
};

/// The table. Entries are named by small indexes that stay valid until they leave.
#[derive(Debug)]
pub struct Intervals {
    entries: Box<[Entry]>,
    free: Vec<u32>,
    /// Heads of chains; a chain holds (entry, side) of every bucket that hashes there.
    chains: Box<[u32]>,
    /// Entries wider than two buckets; and, while there are any, every entry is compared with them.
    wide: Vec<u32>,
    arrivals: u64,
}

impl Intervals {
    /// Room for `capacity` entries.
    pub fn new(capacity: usize) -> Self {
        let slots = capacity.next_power_of_two().max(16);
        let count = u32::try_from(capacity).unwrap_or(NIL - 1);
        Self {
            entries: alloc::vec![FREE; capacity].into_boxed_slice(),
            free: (0..count).rev().collect(),
            chains: alloc::vec![NIL; slots * 2].into_boxed_slice(),
            wide: Vec::with_capacity(capacity),
            arrivals: 0,
        }
    }

    /// Whether no entry is in the table.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }

    /// How many entries are in the table.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether another entry fits.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Enters a range behind all others. Returns its index; the indexes of the conflicting earlier entries are appended to
    /// `earlier`. `None` when the table is full.
    pub fn enter(&mut self, blocks: Blocks, access: Access, earlier: &mut Vec<u32>) -> Option<u32> {
        debug_assert!(blocks.count > 0);
        let id = self.free.pop()?;
        self.arrivals += 1;
        let wide = blocks.count > BUCKET_BLOCKS;
        let before = earlier.len();
        let me = Entry { blocks, access, arrival: self.arrivals, blockers: 0, wide, next: [NIL; 2] };
        self.conflicts(id, &me, |other| other.arrival < me.arrival, earlier);
        let blockers = u32::try_from(earlier.len() - before).unwrap_or(NIL);
        if let Some(entry) = self.entries.get_mut(id as usize) {
            *entry = Entry { blockers, ..me };
        }
        if wide {
            self.wide.push(id);
        } else {
            self.link(id, blocks);
        }
        Some(id)
    }

    /// Removes an entry; those that waited for it alone are appended to `released`.
    pub fn leave(&mut self, id: u32, released: &mut Vec<u32>) {
        let Some(me) = self.entries.get(id as usize).copied().filter(|e| e.arrival != 0) else {
            debug_assert!(false, "left twice");
            return;
        };
        if me.wide {
            self.wide.retain(|w| *w != id);
        } else {
            self.unlink(id, me.blocks);
        }
        let before = released.len();
        self.conflicts(id, &me, |other| other.arrival > me.arrival, released);
        let mut kept = before;
        for at in before..released.len() {
            let Some(&other) = released.get(at) else { break };
            let Some(entry) = self.entries.get_mut(other as usize) else { continue };
            entry.blockers = entry.blockers.saturating_sub(1);
            if entry.blockers == 0
                && let Some(place) = released.get_mut(kept)
            {
                *place = other;
                kept += 1;
            }
        }
        released.truncate(kept);
        if let Some(entry) = self.entries.get_mut(id as usize) {
            *entry = FREE;
        }
        self.free.push(id);
    }

    /// Which of these entries came last.
    pub fn latest(&self, of: &[u32]) -> Option<u32> {
        of.iter().copied().max_by_key(|id| self.arrival(*id))
    }

    /// When an entry came, as a number: indexes are used again, and say nothing of it. 0: it is not in the table.
    pub fn arrival(&self, id: u32) -> u64 {
        self.entries.get(id as usize).map_or(0, |entry| entry.arrival)
    }

    /// How many earlier conflicting entries an entry still waits for.
    pub fn blockers(&self, id: u32) -> u32 {
        self.entries.get(id as usize).map_or(0, |e| e.blockers)
    }

    /// Appends every entry other than `id` that conflicts with `me` and satisfies `wanted`.
    fn conflicts(&self, id: u32, me: &Entry, wanted: impl Fn(&Entry) -> bool, out: &mut Vec<u32>) {
        let hit = |other: &Entry| {
            other.arrival != 0
                && other.blocks.overlaps(&me.blocks)
                && (other.access == Access::Write || me.access == Access::Write)
        };
        if me.wide {
            for (index, other) in self.entries.iter().enumerate() {
                let index = u32::try_from(index).unwrap_or(NIL);
                if index != id && hit(other) && wanted(other) {
                    out.push(index);
                }
            }
            return;
        }
        for &index in &self.wide {
            if let Some(other) = self.entries.get(index as usize)
                && index != id
                && hit(other)
                && wanted(other)
            {
                out.push(index);
            }
        }
        let (first, last) = buckets(me.blocks);
        for bucket in first..=last {
            let mut at = self.chains.get(self.chain_of(me.blocks.volume, bucket)).copied().unwrap_or(NIL);
            while at != NIL {
                let index = at >> 1;
                let side = (at & 1) as usize;
                let Some(other) = self.entries.get(index as usize) else { break };
                // A pair that shares both buckets is counted in the one that holds the start of its overlap.
                let start = other.blocks.first.max(me.blocks.first) / BUCKET_BLOCKS;
                let here = buckets(other.blocks).0 + side as u64 == bucket && start == bucket;
                if index != id && here && hit(other) && wanted(other) {
                    out.push(index);
                }
                at = other.next.get(side).copied().unwrap_or(NIL);
            }
        }
    }

    fn chain_of(&self, volume: u32, bucket: u64) -> usize {
        let mixed = (bucket ^ (u64::from(volume) << 40)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        usize::try_from(mixed).unwrap_or(0) & (self.chains.len() - 1)
    }

    fn link(&mut self, id: u32, blocks: Blocks) {
        let (first, last) = buckets(blocks);
        for bucket in first..=last {
            let chain = self.chain_of(blocks.volume, bucket);
            let side = u32::from(bucket != first);
            let Some(head) = self.chains.get_mut(chain) else { continue };
            let before = core::mem::replace(head, id << 1 | side);
            if let Some(next) = self.entries.get_mut(id as usize).and_then(|e| e.next.get_mut(side as usize))
            {
                *next = before;
            }
        }
    }

    fn unlink(&mut self, id: u32, blocks: Blocks) {
        let (first, last) = buckets(blocks);
        for bucket in first..=last {
            let chain = self.chain_of(blocks.volume, bucket);
            let target = id << 1 | u32::from(bucket != first);
            let after = self.next_of(target);
            let mut at = self.chains.get(chain).copied().unwrap_or(NIL);
            if at == target {
                if let Some(head) = self.chains.get_mut(chain) {
                    *head = after;
                }
                continue;
            }
            while at != NIL {
                let next = self.next_of(at);
                if next == target {
                    if let Some(place) = self
                        .entries
                        .get_mut((at >> 1) as usize)
                        .and_then(|e| e.next.get_mut((at & 1) as usize))
                    {
                        *place = after;
                    }
                    break;
                }
                at = next;
            }
        }
    }

    fn next_of(&self, node: u32) -> u32 {
        let entry = self.entries.get((node >> 1) as usize);
        entry.and_then(|e| e.next.get((node & 1) as usize)).copied().unwrap_or(NIL)
    }
}

fn buckets(blocks: Blocks) -> (u64, u64) {
    (blocks.first / BUCKET_BLOCKS, (blocks.end() - 1) / BUCKET_BLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The obvious oracle: a list, compared pair by pair.
    #[derive(Default)]
    struct Slow(Vec<(u32, Blocks, Access, Vec<u32>)>);

    impl Slow {
        fn enter(&mut self, id: u32, blocks: Blocks, access: Access) -> Vec<u32> {
            let mut waits: Vec<u32> = Vec::new();
            for (other, range, kind, _) in &self.0 {
                if range.overlaps(&blocks) && (access == Access::Write || *kind == Access::Write) {
                    waits.push(*other);
                }
            }
            waits.sort_unstable();
            self.0.push((id, blocks, access, waits.clone()));
            waits
        }

        fn leave(&mut self, id: u32) -> Vec<u32> {
            self.0.retain(|e| e.0 != id);
            let mut free = Vec::new();
            for (other, _, _, waits) in &mut self.0 {
                let before = waits.len();
                waits.retain(|w| *w != id);
                if before > 0 && waits.is_empty() && before != waits.len() {
                    free.push(*other);
                }
            }
            free.sort_unstable();
            free
        }
    }

    #[test]
    fn agrees_with_a_list_compared_pair_by_pair() {
        let mut seed = 0x1234_5678_u64;
        let mut random = move |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        let mut table = Intervals::new(64);
        let mut slow = Slow::default();
        let mut live: Vec<u32> = Vec::new();
        for _ in 0..200_000 {
            if random(2) == 0 && table.has_room() {
                let count = if random(20) == 0 { 1 + random(200) } else { 1 + random(BUCKET_BLOCKS) };
                let blocks = Blocks { volume: u32::try_from(random(2)).unwrap(), first: random(150), count };
                let access = if random(3) == 0 { Access::Read } else { Access::Write };
                let mut earlier = Vec::new();
                let id = table.enter(blocks, access, &mut earlier).unwrap();
                earlier.sort_unstable();
                assert_eq!(earlier, slow.enter(id, blocks, access));
                assert_eq!(table.blockers(id) as usize, earlier.len());
                live.push(id);
            } else if !live.is_empty() {
                let id = live.swap_remove(usize::try_from(random(live.len() as u64)).unwrap());
                let mut released = Vec::new();
                table.leave(id, &mut released);
                released.sort_unstable();
                assert_eq!(released, slow.leave(id));
            }
        }
    }
}
