//! What a site in a split holds and nobody else has: read from its journal disk and its volumes, which nothing writes then.
//!
//! A primary outside the lanes marks each region durably before it changes it (I6): the map on the journal disk holds
//! everything that hosts were answered there. It is read offline: the shards are not asked.

use std::io;
use std::path::PathBuf;

use midspan_format::dirty_map::DirtyMap;
use midspan_format::geometry::{BLOCK_U64, REGION_BYTES};
use midspan_format::ids::{GroupId, LaneId, VolumeId};
use midspan_format::superblock::{GroupState, Role};
use midspan_format::time::Time;

use crate::api::types::{AloneRange, AloneVolume, ApiError, HeldAlone, MAX_PIECE_BYTES};
use crate::config::{self, Config};

use self::direct::Disk;
use self::journal::JournalError;

mod direct;
mod journal;

/// What the times of an answer are.
const TIMES: &str = "the times are those of the group as a whole: when the lanes were left, the newest time recorded, and when \
     this site found itself replaced; no range has a time of its own";

/// Where a site keeps a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The group.
    pub group: String,
    id: GroupId,
    lane: LaneId,
    journal: PathBuf,
    volumes: Vec<PlacedVolume>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PlacedVolume {
    id: VolumeId,
    name: String,
    path: PathBuf,
}

/// What is recorded of a group.
#[derive(Debug)]
pub struct Held {
    state: GroupState,
    map: DirtyMap,
}

/// A part of a volume that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    volume: VolumeId,
    offset: u64,
    length: u64,
}

/// Why it cannot be told what is held here alone.
#[derive(Debug, thiserror::Error)]
pub enum AloneError {
    /// A disk cannot be opened or read.
    #[error("group {group}: {}: {error}", .path.display())]
    Disk {
        /// The group.
        group: String,
        /// The disk.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The journal disk does not say it.
    #[error("group {group}: {}: {error}", .path.display())]
    Journal {
        /// The group.
        group: String,
        /// The disk.
        path: PathBuf,
        /// What is wrong.
        error: JournalError,
    },
    /// The recorded state is none of a site that answered hosts alone.
    #[error("group {group}: its recorded state says that this site has answered no hosts alone")]
    NotAlone {
        /// The group.
        group: String,
    },
    /// The group has no such volume here.
    #[error("group {group} has no volume {volume} here")]
    NoVolume {
        /// The group.
        group: String,
        /// The volume.
        volume: VolumeId,
    },
    /// It reaches beyond the volume.
    #[error("group {group}: volume {volume} ends at {size}, before {end}")]
    Beyond {
        /// The group.
        group: String,
        /// The volume.
        volume: VolumeId,
        /// Where the volume ends, bytes.
        size: u64,
        /// Where the piece would end.
        end: u64,
    },
}

impl From<AloneError> for ApiError {
    fn from(error: AloneError) -> Self {
        let (code, hint) = match &error {
            AloneError::Disk { .. } | AloneError::Journal { .. } => (
                "internal",
                "see that the disk can be read; `midspan journal dump` shows what stands on a journal disk",
            ),
            AloneError::NotAlone { .. } => ("refused", "`midspan status` shows how the group stands now"),
            AloneError::NoVolume { .. } => ("not_found", "GET /v1/groups/NAME/alone lists the volumes"),
            AloneError::Beyond { .. } => {
                ("bad_request", "GET /v1/groups/NAME/alone says how large each volume is")
            }
        };
        Self::new(code, error.to_string(), hint)
    }
}

/// Where this node keeps the groups whose volumes are here.
pub fn places(config: &Config) -> Vec<Place> {
    let volume = |volume: &config::Volume| PlacedVolume {
        id: VolumeId(volume.id.get().into()),
        name: volume.name.clone(),
        path: volume.path.clone(),
    };
    let place = |group: &config::Group| Place {
        group: group.name.clone(),
        id: GroupId(group.id.get().into()),
        lane: LaneId(group.lane_id().map_or(0, u16::from)),
        journal: config.node.journal.clone(),
        volumes: group.volumes.iter().map(volume).collect(),
    };
    config.groups.iter().filter(|group| group.role != config::Role::Relay).map(place).collect()
}

impl Place {
    /// Reads what is recorded of the group.
    ///
    /// # Errors
    /// The journal disk cannot be read, or says that this site answered no hosts alone.
    pub fn read(&self) -> Result<Held, AloneError> {
        let (disk, state, map_at) = self.recorded()?;
        let volumes = self.volumes.iter().map(|volume| (volume.id, size_in(&state, volume.id)));
        let map = journal::map(&disk, map_at, volumes).map_err(|error| self.unread(error))?;
        Ok(Held { state, map })
    }

    /// Reads a part of a volume as it stands on the disk.
    ///
    /// # Errors
    /// There is no such part, a disk cannot be read, or this site answered no hosts alone.
    pub fn piece(&self, piece: Piece) -> Result<Vec<u8>, AloneError> {
        let Piece { volume, offset, length } = piece;
        let (_, state, _) = self.recorded()?;
        let group = || self.group.clone();
        let Some(placed) = self.volumes.iter().find(|placed| placed.id == volume) else {
            return Err(AloneError::NoVolume { group: group(), volume });
        };
        let (size, end) = (size_in(&state, volume), offset.saturating_add(length));
        if end > size {
            return Err(AloneError::Beyond { group: group(), volume, size, end });
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = Disk::open(&placed.path).and_then(|disk| disk.read(offset, length));
        bytes.map_err(|error| AloneError::Disk { group: group(), path: placed.path.clone(), error })
    }

    /// The state of a site that answered hosts alone, and where its map begins.
    fn recorded(&self) -> Result<(Disk, GroupState, u64), AloneError> {
        let group = || self.group.clone();
        let disk = Disk::open(&self.journal);
        let disk =
            disk.map_err(|error| AloneError::Disk { group: group(), path: self.journal.clone(), error })?;
        let (state, map_at) =
            journal::state(&disk, self.id, self.lane).map_err(|error| self.unread(error))?;
        if state.role == Role::Primary && state.left {
            Ok((disk, state, map_at))
        } else {
            Err(AloneError::NotAlone { group: group() })
        }
    }

    fn unread(&self, error: JournalError) -> AloneError {
        AloneError::Journal { group: self.group.clone(), path: self.journal.clone(), error }
    }
}

impl Piece {
    /// Reads `volume=N&offset=N&length=N`; `None` where it is not understood, or no range of whole blocks that one answer can
    /// hold.
    pub fn parse(query: Option<&str>) -> Option<Self> {
        let (mut volume, mut offset, mut length) = (None, None, None);
        for part in query?.split('&') {
            let (name, value) = part.split_once('=')?;
            let place = match name {
                "volume" => &mut volume,
                "offset" => &mut offset,
                "length" => &mut length,
                _ => return None,
            };
            *place = Some(value.parse::<u64>().ok()?);
        }
        let (volume, offset, length) = (VolumeId(u32::try_from(volume?).ok()?), offset?, length?);
        let whole = offset.is_multiple_of(BLOCK_U64) && length.is_multiple_of(BLOCK_U64);
        (whole && (BLOCK_U64..=MAX_PIECE_BYTES).contains(&length)).then_some(Self { volume, offset, length })
    }
}

impl Held {
    /// The marked regions as ranges; the last one of a volume ends where the volume does.
    fn ranges(&self) -> impl Iterator<Item = AloneRange> + '_ {
        self.map.runs().map(|run| {
            let offset_bytes = u64::from(run.first) * REGION_BYTES;
            let end = offset_bytes.saturating_add(u64::from(run.count) * REGION_BYTES);
            let length_bytes =
                end.min(size_in(&self.state, VolumeId(run.volume))).saturating_sub(offset_bytes);
            AloneRange { volume: run.volume.into(), offset_bytes, length_bytes }
        })
    }

    /// The answer, with at most `limit` ranges behind the first `after`. What the disk does not know is left open.
    pub fn answer(&self, place: &Place, after: u64, limit: usize) -> HeldAlone {
        let volume = |placed: &PlacedVolume| {
            let of_volume = || self.ranges().filter(|range| range.volume == u64::from(placed.id.0));
            AloneVolume {
                volume: placed.id.0.into(),
                name: placed.name.clone(),
                size_bytes: size_in(&self.state, placed.id),
                bytes: of_volume().map(|range| range.length_bytes).sum(),
                ranges: of_volume().count() as u64,
            }
        };
        let volumes: Vec<AloneVolume> = place.volumes.iter().map(volume).collect();
        HeldAlone {
            group: place.group.clone(),
            left_ns: known(self.state.left_cut),
            newest_ns: known(self.state.clock.max(self.state.left_cut)),
            times: TIMES.to_owned(),
            bytes: volumes.iter().map(|volume| volume.bytes).sum(),
            ranges_total: volumes.iter().map(|volume| volume.ranges).sum(),
            ranges: self.ranges().skip(usize::try_from(after).unwrap_or(usize::MAX)).take(limit).collect(),
            volumes,
            ..HeldAlone::default()
        }
    }
}

/// The size of a volume as it joined the group.
fn size_in(state: &GroupState, volume: VolumeId) -> u64 {
    let recorded = state.volumes().iter().find(|recorded| recorded.volume == volume);
    recorded.map_or(0, |recorded| recorded.size)
}

fn known(time: Time) -> Option<u64> {
    (time != Time::ZERO).then_some(time.0)
}

#[cfg(test)]
mod tests;
