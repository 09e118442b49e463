//! Which regions may differ between the sites: a persistent bitmap over the volumes of a group (I6).
//!
//! A map is a sequence of 4096-byte blocks, those of the first volume before those of the second. A damaged block counts
//! as all marked: a mark too many costs a transfer, one too few loses data.
//!
//! ```text
//!  0        8         10     12       16      20     24           32        40      56         64               4096
//!  ┌────────┬─────────┬──────┬────────┬───────┬──────┬────────────┬─────────┬───────┬──────────┬─────────────────┐
//!  │ magic  │ version │ zero │ volume │ index │ zero │ generation │ regions │ zero  │ checksum │ bits, low first │
//!  └────────┴─────────┴──────┴────────┴───────┴──────┴────────────┴─────────┴───────┴──────────┴─────────────────┘
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::block::BlockError;
use crate::checksum::Digest;
use crate::geometry::{BLOCK, REGION_BYTES};
use crate::ids::VolumeId;
use crate::manifest::RegionRun;
use crate::version::DISK_VERSION;
use crate::wire::{Put, Take, Wire};

const MAGIC: [u8; 8] = *b"MSPDIRTY";
const HEADER: usize = 64;
const CHECKSUM: usize = HEADER - 8;
const WORDS: usize = (BLOCK - HEADER) / 8;

/// Regions that one block of the map covers.
pub const BLOCK_REGIONS: u64 = WORDS as u64 * 64;
/// Bytes of a volume that one block of the map covers: nearly 2 GiB.
pub const BLOCK_COVERS: u64 = BLOCK_REGIONS * REGION_BYTES;
/// Longest range that can be marked at once, bytes: it lies in at most two blocks of the map.
pub const MAX_MARK: u64 = BLOCK_COVERS;

type Words = [u64; WORDS];

/// What marking a range touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The blocks of the map that hold the range's bits: the first and the last, often the same.
    pub blocks: [usize; 2],
    /// Those of them that changed: they must be written before the range may differ.
    pub changed: [Option<usize>; 2],
}

#[derive(Clone, Copy, Debug)]
struct Volume {
    id: VolumeId,
    regions: u64,
    first_block: usize,
    blocks: usize,
}

/// The map in memory. Allocated at construction, never later.
#[derive(Clone, Debug)]
pub struct DirtyMap {
    volumes: Box<[Volume]>,
    words: Box<[Words]>,
    generation: u64,
}

/// Blocks that the map of volumes of these sizes (bytes) needs.
pub fn blocks_for(sizes: impl IntoIterator<Item = u64>) -> u64 {
    sizes.into_iter().map(|size| size.div_ceil(BLOCK_COVERS)).sum()
}

impl DirtyMap {
    /// A map with nothing marked, over volumes of the given sizes in bytes, each volume once.
    pub fn new(volumes: impl IntoIterator<Item = (VolumeId, u64)>) -> Self {
        let mut first_block = 0;
        let mut list = Vec::new();
        for (id, size) in volumes {
            let blocks = usize::try_from(size.div_ceil(BLOCK_COVERS)).unwrap_or(usize::MAX);
            list.push(Volume { id, regions: size.div_ceil(REGION_BYTES), first_block, blocks });
            first_block += blocks;
        }
        let words = alloc::vec![[0; WORDS]; first_block].into_boxed_slice();
        Self { volumes: list.into_boxed_slice(), words, generation: 0 }
    }

    /// How many blocks it has on disk.
    pub fn blocks(&self) -> usize {
        self.words.len()
    }

    /// Its generation, which every block carries when written.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Begins another generation.
    pub fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// Marks all regions that a range of a volume touches.
    ///
    /// # Panics
    /// When the volume is not in the map, or the range is longer than [`MAX_MARK`] or beyond the volume's end: whoever
    /// marks has checked the request.
    pub fn mark(&mut self, volume: VolumeId, offset: u64, length: u64) -> Touched {
        assert!(length <= MAX_MARK, "a range longer than two blocks of the map");
        let place = self.volumes.iter().find(|v| v.id == volume).copied();
        assert!(place.is_some(), "a volume that is not in the map");
        let Some(volume) = place else { return Touched { blocks: [0; 2], changed: [None; 2] } };
        let first = offset / REGION_BYTES;
        let end = (offset + length).div_ceil(REGION_BYTES).max(first);
        assert!(end <= volume.regions, "a range beyond the volume's end");
        let block = |region: u64| volume.first_block + usize::try_from(region / BLOCK_REGIONS).unwrap_or(0);
        let blocks = [
            block(first.min(volume.regions.saturating_sub(1))),
            block(end.max(first + 1).min(volume.regions).saturating_sub(1)),
        ];
        let [low, high] = blocks;
        let border = first - first % BLOCK_REGIONS + BLOCK_REGIONS;
        let in_low = self.set(low, first % BLOCK_REGIONS, end.min(border) - first);
        let in_high = end > border && self.set(high, 0, end - border);
        Touched { blocks, changed: [in_low.then_some(low), in_high.then_some(high)] }
    }

    /// Marks everything: of one volume, or of all.
    pub fn mark_all(&mut self, volume: Option<VolumeId>) {
        for index in 0..self.volumes.len() {
            let Some(found) = self.volumes.get(index).copied() else { break };
            if volume.is_none_or(|wanted| wanted == found.id) {
                (0..found.blocks).for_each(|block| self.fill(found.first_block + block));
            }
        }
    }

    /// Removes all marks.
    pub fn clear_all(&mut self) {
        self.words.fill([0; WORDS]);
    }

    /// Marks whatever is marked in another map over the same volumes.
    ///
    /// # Panics
    /// When it has another shape.
    pub fn merge(&mut self, other: &Self) {
        assert!(self.words.len() == other.words.len(), "maps over different volumes");
        for (words, others) in self.words.iter_mut().zip(&other.words) {
            words.iter_mut().zip(others).for_each(|(word, other)| *word |= other);
        }
    }

    /// Whether the region that holds this byte is marked; `false` outside the map.
    pub fn is_marked(&self, volume: VolumeId, offset: u64) -> bool {
        let Some(volume) = self.volumes.iter().find(|v| v.id == volume) else { return false };
        let region = offset / REGION_BYTES;
        region < volume.regions && self.bit(volume, region)
    }

    /// How many regions are marked.
    pub fn count(&self) -> u64 {
        // Mostly nothing is marked.
        let marked = |words: &&[u64]| words.iter().fold(0, |all, word| all | word) != 0;
        let words = self.words.iter().flat_map(|words| words.chunks(16)).filter(marked);
        words.flatten().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The marked regions, in order of volume and place, as the longest possible runs.
    pub fn runs(&self) -> impl Iterator<Item = RegionRun> + '_ {
        self.volumes.iter().flat_map(move |volume| {
            let mut next = 0;
            core::iter::from_fn(move || {
                let first = self.find(volume, next, true)?;
                let end = self.find(volume, first, false).unwrap_or(volume.regions);
                next = end;
                let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
                Some(RegionRun { volume: volume.id.0, first: narrow(first), count: narrow(end - first) })
            })
        })
    }

    /// The first marked regions at or behind a place, `most` at most, all next to each other: volume, byte offset, and number of
    /// regions.
    pub fn next_marked(&self, from: (VolumeId, u64), most: u64) -> Option<(VolumeId, u64, u64)> {
        let (wanted, offset) = from;
        let start = self.volumes.iter().position(|volume| volume.id == wanted)?;
        let mut region = offset.div_ceil(REGION_BYTES);
        for volume in self.volumes.get(start..)? {
            if let Some(first) = self.find(volume, region, true) {
                let end = self.find(volume, first, false).unwrap_or(volume.regions);
                return Some((volume.id, first * REGION_BYTES, (end - first).min(most)));
            }
            region = 0;
        }
        None
    }

    /// Writes a block of the map; nothing when there is no such block.
    pub fn encode_block(&self, index: usize, block: &mut [u8; BLOCK]) {
        let (Some(words), Some(volume)) = (self.words.get(index), self.volume_of(index)) else { return };
        block.fill(0);
        let (header, bits) = block.split_at_mut(HEADER);
        let mut out = Put::new(header);
        self.put_header(volume, index, &mut out);
        for (place, word) in bits.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        let digest = digest(header, bits);
        if let Some(place) = header.last_chunk_mut::<8>() {
            *place = digest.to_le_bytes();
        }
    }

    /// Takes a block of the map over as read from disk, with its generation when that is newer.
    ///
    /// # Errors
    /// What is wrong with it; all that it covers is marked then.
    pub fn load_block(&mut self, index: usize, bytes: &[u8]) -> Result<(), BlockError> {
        match self.check_block(index, bytes) {
            Ok((generation, words)) => {
                self.generation = self.generation.max(generation);
                if let Some(place) = self.words.get_mut(index) {
                    *place = words;
                }
                Ok(())
            }
            Err(error) => {
                self.fill(index);
                Err(error)
            }
        }
    }

    fn check_block(&self, index: usize, bytes: &[u8]) -> Result<(u64, Words), BlockError> {
        let block = bytes.first_chunk::<BLOCK>().ok_or(BlockError::Short)?;
        let volume = self.volume_of(index).ok_or(BlockError::Malformed)?;
        let (header, bits) = block.split_at_checked(HEADER).ok_or(BlockError::Short)?;
        if !header.starts_with(&MAGIC) {
            return Err(BlockError::Magic);
        }
        if header.last_chunk::<8>().is_none_or(|sum| u64::from_le_bytes(*sum) != digest(header, bits)) {
            return Err(BlockError::Checksum);
        }
        let mut input = Take::new(header.get(8..).unwrap_or_default());
        let version = u16::take(&mut input).map_err(|_| BlockError::Short)?;
        if version != DISK_VERSION {
            return Err(BlockError::Version(version));
        }
        // Everything else but the generation must be as this map would write it.
        let generation =
            header.get(24..32).and_then(|g| g.first_chunk::<8>()).map_or(0, |g| u64::from_le_bytes(*g));
        let mut wanted = [0; CHECKSUM];
        let as_loaded = Self { volumes: Box::default(), words: Box::default(), generation };
        as_loaded.put_header(volume, index, &mut Put::new(&mut wanted));
        let mut words = [0; WORDS];
        for (word, place) in words.iter_mut().zip(bits.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*place);
        }
        let valid = valid_bits(volume, index);
        let stray = words.iter().zip(valid).any(|(word, valid)| word & !valid != 0);
        if !header.starts_with(&wanted) || stray {
            return Err(BlockError::Malformed);
        }
        Ok((generation, words))
    }

    fn put_header(&self, volume: &Volume, index: usize, out: &mut Put<'_>) {
        out.bytes(&MAGIC);
        DISK_VERSION.put(out);
        out.zeroes(2);
        volume.id.put(out);
        u32::try_from(index - volume.first_block).unwrap_or(u32::MAX).put(out);
        out.zeroes(4);
        self.generation.put(out);
        volume.regions.put(out);
        out.zeroes(16);
    }

    fn volume_of(&self, index: usize) -> Option<&Volume> {
        self.volumes
            .iter()
            .find(|volume| (volume.first_block..volume.first_block + volume.blocks).contains(&index))
    }

    fn fill(&mut self, index: usize) {
        let Some(volume) = self.volume_of(index).copied() else { return };
        if let Some(words) = self.words.get_mut(index) {
            words.iter_mut().zip(valid_bits(&volume, index)).for_each(|(word, valid)| *word = valid);
        }
    }

    /// Sets bits of one block; says whether any was not set before.
    fn set(&mut self, index: usize, first: u64, count: u64) -> bool {
        let Some(words) = self.words.get_mut(index) else { return false };
        let mut changed = false;
        for (number, word) in (0..).zip(words.iter_mut()) {
            let bits = bits_of(number, first, first + count);
            changed |= bits & !*word != 0;
            *word |= bits;
        }
        changed
    }

    fn bit(&self, volume: &Volume, region: u64) -> bool {
        let index = volume.first_block + usize::try_from(region / BLOCK_REGIONS).unwrap_or(usize::MAX);
        let word = usize::try_from(region % BLOCK_REGIONS / 64).unwrap_or(usize::MAX);
        self.words
            .get(index)
            .and_then(|words| words.get(word))
            .is_some_and(|word| word >> (region % 64) & 1 == 1)
    }

    /// The first region from `from` on that is marked, or is not.
    fn find(&self, volume: &Volume, from: u64, marked: bool) -> Option<u64> {
        let mut region = from;
        while region < volume.regions {
            let index = volume.first_block + usize::try_from(region / BLOCK_REGIONS).ok()?;
            let word = *self.words.get(index)?.get(usize::try_from(region % BLOCK_REGIONS / 64).ok()?)?;
            let wanted = if marked { word } else { !word } >> (region % 64);
            if wanted != 0 {
                let found = region + u64::from(wanted.trailing_zeros());
                return (found < volume.regions).then_some(found);
            }
            region = region - region % 64 + 64;
        }
        None
    }
}

/// Those bits of a word that stand for regions from `first` to before `end`, both counted within the block.
fn bits_of(word: u64, first: u64, end: u64) -> u64 {
    let low = first.saturating_sub(word * 64).min(64);
    let high = end.saturating_sub(word * 64).min(64);
    let below = |bit: u64| if bit == 64 { u64::MAX } else { (1 << bit) - 1 };
    below(high) & !below(low)
}

/// The bits of a block that stand for regions of its volume; the last block of a volume has others.
fn valid_bits(volume: &Volume, index: usize) -> impl Iterator<Item = u64> + use<> {
    let before = (index - volume.first_block) as u64 * BLOCK_REGIONS;
    let regions = volume.regions.saturating_sub(before);
    (0..WORDS as u64).map(move |word| bits_of(word, 0, regions))
}

fn digest(header: &[u8], bits: &[u8]) -> u64 {
    let mut digest = Digest::new();
    digest.update(header.get(..CHECKSUM).unwrap_or_default());
    digest.update(bits);
    digest.finish()
}

#[cfg(test)]
mod tests;
