//! The fixed places of a journal disk: who it belongs to, the permits of its groups, the states of a site's groups.

use midspan_format::area::{AreaKind, AreaSuperblock};
use midspan_format::geometry::{BLOCK, BLOCK_U64};
use midspan_format::ids::{AreaId, GroupId, LaneId, NodeId};
use midspan_format::superblock::{
    GROUP_SLOTS, GroupPermit, GroupState, NodeSuperblock, STATE_BYTES, node_offset, permit_offset,
    state_offset,
};
use serde_json::json;

use super::print::Printer;
use super::source::Source;
use crate::cli::cells::utc;
use crate::cli::exit::Failure;
use crate::cli::size;

/// An area to look into.
#[derive(Clone, Debug)]
pub struct AreaPlace {
    /// Its group.
    pub group: GroupId,
    /// Its lane.
    pub lane: LaneId,
    /// What it holds.
    pub kind: AreaKind,
    /// Its id.
    pub area: AreaId,
    /// Where its ring begins on the disk.
    pub start: u64,
    /// Bytes of its ring.
    pub size: u64,
    /// The prefix that the permit remembers as journaled.
    pub hinted: u64,
    /// The journal that its frames name: that of the ring in which it began.
    pub frames: AreaId,
    /// Where what it holds begins.
    pub began: u64,
    /// What lies before this place, behind the end of the chain, was left out of the journal.
    pub stale_to: u64,
    /// The node whose disk it is, if that is known.
    pub node: NodeId,
}

/// What stands at the fixed places.
#[derive(Debug, Default)]
pub struct Contents {
    /// Whether it is a journal disk at all.
    pub formatted: bool,
    /// The node whose disk it is, if that is known.
    pub node: NodeId,
    /// What is damaged.
    pub damage: u32,
    /// The areas, by the permits; by their own superblocks where no permit names them.
    pub areas: Vec<AreaPlace>,
}

/// Word of an area's kind.
pub fn word(kind: AreaKind) -> &'static str {
    match kind {
        AreaKind::Ring => "ring",
        AreaKind::Manifest => "manifest",
        AreaKind::Receipt => "receipt",
        AreaKind::State => "state",
        AreaKind::DirtyMap => "dirty_map",
        AreaKind::OwnRing => "own_ring",
    }
}

/// Reads the fixed places and prints what they say.
///
/// # Errors
/// When the output cannot be written.
pub fn read(source: &Source, printer: &mut Printer<'_>) -> Result<Contents, Failure> {
    let mut contents = Contents::default();
    node(source, printer, &mut contents)?;
    for slot in 0..GROUP_SLOTS {
        permit(source, printer, slot, &mut contents)?;
    }
    lost_areas(source, printer, &mut contents)?;
    Ok(contents)
}

fn block(source: &Source, offset: u64) -> Vec<u8> {
    source.read(offset, BLOCK).unwrap_or_default()
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn node(source: &Source, printer: &mut Printer<'_>, contents: &mut Contents) -> Result<(), Failure> {
    let (a, b) = (block(source, node_offset(0)), block(source, node_offset(1)));
    match NodeSuperblock::choose_slot(&a, &b) {
        Ok(found) => {
            (contents.formatted, contents.node) = (true, found.node);
            let text = format!(
                "journal disk {} of node {} ({:?}), formatted {}, {} of {} bytes in use by areas",
                found.disk,
                found.node,
                found.usage,
                utc(found.created_ns),
                found.free_offset,
                found.size_bytes
            );
            let value = json!({
                "disk": found.disk.to_string(), "node": found.node.0, "usage": format!("{:?}", found.usage).to_lowercase(),
                "size_bytes": found.size_bytes, "free_offset": found.free_offset, "groups": found.groups,
                "created_ns": found.created_ns,
            });
            printer.fact("node", &text, value)?;
            if found.size_bytes > source.size() {
                contents.damage += 1;
                let text = format!("the disk is shorter than when it was formatted: {} bytes", source.size());
                printer.fact("damage", &text, json!({ "what": "short", "size_bytes": source.size() }))?;
            }
        }
        Err(error) => {
            let text = format!("no node superblock: slot A and slot B: {error}");
            printer.fact(
                "damage",
                &text,
                json!({ "what": "node_superblock", "reason": error.to_string() }),
            )?;
            contents.damage += 1;
        }
    }
    Ok(())
}

fn permit(
    source: &Source,
    printer: &mut Printer<'_>,
    slot: u32,
    contents: &mut Contents,
) -> Result<(), Failure> {
    let (a, b) = (block(source, permit_offset(slot, 0)), block(source, permit_offset(slot, 1)));
    let permit = match GroupPermit::choose_slot(&a, &b) {
        Ok(permit) => permit,
        Err(_) if is_blank(&a) && is_blank(&b) => return Ok(()),
        Err(error) => {
            if contents.formatted {
                contents.damage += 1;
                let text = format!("permit {slot} is damaged in both slots: {error}");
                let value = json!({ "what": "permit", "slot": slot, "reason": error.to_string() });
                printer.fact("damage", &text, value)?;
            }
            return Ok(());
        }
    };
    let text = format!(
        "group {}: epoch {}, primary {}, secondary {}, lease {} ms, {} areas{}",
        permit.group,
        permit.epoch,
        permit.primary,
        permit.secondary,
        permit.lease_ms,
        permit.areas().len(),
        if permit.deleted { ", deleted" } else { "" }
    );
    let value = json!({
        "slot": slot, "group": permit.group.0, "epoch": permit.epoch.number, "epoch_node": permit.epoch.node.0,
        "primary": permit.primary.0, "secondary": permit.secondary.0, "deleted": permit.deleted,
        "former_epoch": permit.former_epoch.number, "sequence": permit.sequence,
    });
    printer.fact("permit", &text, value)?;
    // The space of a deleted group's areas may be another's.
    for entry in permit.areas().iter().filter(|_| !permit.deleted) {
        contents.areas.push(AreaPlace {
            group: permit.group,
            lane: entry.lane,
            kind: entry.kind,
            area: entry.area,
            start: entry.start,
            size: entry.size,
            hinted: entry.hint.journaled.0,
            frames: entry.frames(),
            began: entry.began.0,
            stale_to: entry.stale_to.0,
            node: contents.node,
        });
    }
    Ok(())
}

/// Areas that no readable permit names: found by their own superblocks, which follow each other, or follow what a deleted group
/// left free in front of a known one.
fn lost_areas(source: &Source, printer: &mut Printer<'_>, contents: &mut Contents) -> Result<(), Failure> {
    let mut offset = midspan_format::superblock::AREAS_OFFSET;
    while offset < source.size() {
        let Ok(found) = AreaSuperblock::decode(&block(source, offset)) else {
            let known = contents.areas.iter().map(|area| area.start.saturating_sub(BLOCK_U64));
            let Some(next) = known.filter(|start| *start > offset).min() else { return Ok(()) };
            offset = next;
            continue;
        };
        if !contents.areas.iter().any(|known| known.area == found.area) {
            let text = format!("area {} of group {} is named by no readable permit", found.area, found.group);
            let value = json!({ "what": "orphan", "area": found.area.to_string(), "group": found.group.0 });
            printer.fact("damage", &text, value)?;
            contents.damage += 1;
            contents.areas.push(AreaPlace {
                group: found.group,
                lane: found.lane,
                kind: found.kind,
                area: found.area,
                start: found.start,
                size: found.size,
                hinted: 0,
                frames: found.area,
                began: 0,
                stale_to: 0,
                node: contents.node,
            });
        }
        let Some(next) = found.start.checked_add(found.size) else { return Ok(()) };
        if next <= offset {
            return Ok(());
        }
        offset = next;
    }
    Ok(())
}

/// Prints what an area is; says whether its own superblock agrees.
///
/// # Errors
/// When the output cannot be written.
pub fn area(source: &Source, printer: &mut Printer<'_>, place: &AreaPlace) -> Result<bool, Failure> {
    let kind = word(place.kind);
    let text = format!(
        "\n{kind} of group {} lane {}: {} at {}, area {}",
        place.group,
        place.lane,
        size::show(place.size),
        place.start,
        place.area
    );
    let value = json!({
        "group": place.group.0, "lane": place.lane.0, "kind": kind, "area": place.area.to_string(),
        "start": place.start, "size": place.size, "hinted": place.hinted,
    });
    printer.fact("area", &text, value)?;
    let own = place.start.checked_sub(BLOCK_U64).map(|offset| AreaSuperblock::decode(&block(source, offset)));
    let wrong = match own {
        Some(Ok(found)) if found.area == place.area => return Ok(true),
        Some(Ok(found)) => format!("the area's superblock names another area, {}", found.area),
        Some(Err(error)) => format!("the area's superblock: {error}"),
        None => "the area has no place for a superblock".to_owned(),
    };
    printer.fact("damage", &format!("  {wrong}"), json!({ "what": "area_superblock", "reason": wrong }))?;
    Ok(false)
}

/// Prints a site's state of a group; says whether it could be read.
///
/// # Errors
/// When the output cannot be written.
pub fn state(source: &Source, printer: &mut Printer<'_>, place: &AreaPlace) -> Result<bool, Failure> {
    let slot = |sequence| source.read(state_offset(place.start, sequence), STATE_BYTES).unwrap_or_default();
    let (a, b) = (slot(0), slot(1));
    let state = match GroupState::choose_slot(&a, &b) {
        Ok(state) => state,
        Err(_) if is_blank(&a) && is_blank(&b) => {
            printer.fact("state", "  no state yet", json!({ "state": null }))?;
            return Ok(true);
        }
        Err(error) => {
            let text = format!("  the state is damaged in both slots: {error}");
            printer.fact("damage", &text, json!({ "what": "state", "reason": error.to_string() }))?;
            return Ok(false);
        }
    };
    let text = format!(
        "  {:?}, pair state {:?}, epoch {}, cut {}, left the lanes: {}",
        state.role,
        state.pair,
        state.epoch,
        utc(state.cut.0),
        state.left
    );
    let value = json!({
        "role": format!("{:?}", state.role).to_lowercase(), "pair": format!("{:?}", state.pair).to_lowercase(),
        "epoch": state.epoch.number, "epoch_node": state.epoch.node.0, "cut_ns": state.cut.0, "left": state.left,
        "sequence": state.sequence,
    });
    printer.fact("state", &text, value)?;
    for lane in state.lanes() {
        let text = format!(
            "    lane {} at node {}: position {} sequence {} header {:016x}",
            lane.lane, lane.node, lane.point.position.0, lane.point.sequence, lane.point.header_checksum
        );
        let value = json!({
            "lane": lane.lane.0, "node": lane.node.0, "position": lane.point.position.0,
            "sequence": lane.point.sequence, "header_checksum": format!("{:016x}", lane.point.header_checksum),
        });
        printer.fact("state_lane", &text, value)?;
    }
    Ok(true)
}
