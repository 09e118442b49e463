//! `midspan journal dump`: what a journal disk or a ring file holds, offline, damaged or not.

mod source;
mod chain;
mod print;
mod disk;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use midspan_format::area::AreaKind;
use midspan_format::frame::FrameHeader;
use midspan_format::ids::NodeId;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::status::Form;
use disk::{AreaPlace, Contents};
use print::Printer;
use source::{RingView, Source};

/// `midspan journal ...`
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Show what a journal disk holds, without its daemon: superblocks, permits, areas, frames, records
    ///
    /// Every frame is verified, and so is its link to the frame before it; where a chain ends, it says why. It works on
    /// disks of relays and sites, on files that hold a ring alone, and on damaged ones. Nothing is written.
    #[command(after_help = "Example:
  midspan journal dump /dev/sdb
  midspan journal dump relay.journal --group 1 --area ring --from 1048576
  midspan journal dump relay.journal --output json | jq .type

Exit code 6 when anything is damaged.")]
    Dump(Arguments),
}

/// Arguments of `journal dump`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The disk or file
    pub file: PathBuf,
    /// Only this group, by its number
    #[arg(long, value_name = "ID")]
    pub group: Option<u32>,
    /// Only areas of this kind
    #[arg(long, value_enum)]
    pub area: Option<Kind>,
    /// Only frames from this ring position on
    #[arg(long, value_name = "POS", default_value_t = 0)]
    pub from: u64,
    /// Only what the disk is and where chains end, not every frame
    #[arg(long)]
    pub summary: bool,
    /// Form of the output; JSON is one object a line, each with a `type`
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
}

/// Kinds of areas with frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Journal frames: a lane's ring, or a site's own.
    Ring,
    /// What the primary issued.
    Manifest,
    /// What the secondary issued.
    Receipt,
}

/// Runs the command.
///
/// # Errors
/// When the file cannot be opened or the output cannot be written; damage is no error of the command.
pub fn run(command: &JournalCommand, out: &mut dyn Write) -> Outcome {
    let JournalCommand::Dump(arguments) = command;
    let source = Source::open(&arguments.file)?;
    let mut printer = Printer::new(out, arguments.output);
    let mut contents = disk::read(&source, &mut printer)?;
    if !contents.formatted && contents.areas.is_empty() {
        return bare(&source, &mut printer, arguments);
    }
    let areas: Vec<AreaPlace> =
        contents.areas.iter().filter(|place| wanted(arguments, place)).cloned().collect();
    for place in &areas {
        dump_area(&source, &mut printer, arguments, place, &mut contents)?;
    }
    Ok(if contents.damage == 0 { Exit::Ok } else { Exit::Degraded })
}

fn wanted(arguments: &Arguments, place: &AreaPlace) -> bool {
    let kind = match arguments.area {
        None => true,
        Some(Kind::Ring) => matches!(place.kind, AreaKind::Ring | AreaKind::OwnRing),
        Some(Kind::Manifest) => place.kind == AreaKind::Manifest,
        Some(Kind::Receipt) => place.kind == AreaKind::Receipt,
    };
    kind && arguments.group.is_none_or(|group| group == place.group.0)
}

fn dump_area(
    source: &Source,
    printer: &mut Printer<'_>,
    arguments: &Arguments,
    place: &AreaPlace,
    contents: &mut Contents,
) -> Result<(), Failure> {
    contents.damage += u32::from(!disk::area(source, printer, place)?);
    match place.kind {
        AreaKind::State => contents.damage += u32::from(!disk::state(source, printer, place)?),
        AreaKind::DirtyMap => {}
        AreaKind::Ring | AreaKind::OwnRing | AreaKind::Manifest | AreaKind::Receipt => {
            let Some(ring) = RingView::new(source, place.start, place.size) else {
                let text = "  the area reaches beyond the end of the disk".to_owned();
                printer.fact("damage", &text, json!({ "what": "beyond_the_disk" }))?;
                contents.damage += 1;
                return Ok(());
            };
            let stop = dump_ring(&ring, printer, arguments, Some(place), contents)?;
            if stop.max(place.began) < place.hinted {
                contents.damage += 1;
                let text = format!(
                    "  {:>12} was journaled once, the chain ends before it: this is damage",
                    place.hinted
                );
                printer.fact(
                    "damage",
                    &text,
                    json!({ "what": "short_chain", "journaled": place.hinted, "end": stop }),
                )?;
            }
        }
    }
    Ok(())
}

/// Prints the runs of a ring; returns where the last one ends.
fn dump_ring(
    ring: &RingView<'_>,
    printer: &mut Printer<'_>,
    arguments: &Arguments,
    place: Option<&AreaPlace>,
    contents: &mut Contents,
) -> Result<u64, Failure> {
    let (area, node) = (place.map(|place| place.frames), place.map_or(NodeId::NONE, |place| place.node));
    let (began, stale_to) = place.map_or((0, 0), |place| (place.began, place.stale_to));
    let mut headers = chain::headers(ring, area);
    // What a later round of the ring has half overwritten is no part of the journal any more.
    let newest = headers.last().map_or(0, |header| header.end().0);
    headers.retain(|header| header.position.0 >= arguments.from && header.position.0 + ring.size >= newest);
    // Where a ring was told to begin, what it held before is no part of it.
    headers.retain(|header| header.position.0 >= began);
    let mut runs = chain::runs(ring, area, node, &headers);
    // Nor is what it was told to leave out behind its end.
    let kept = runs.iter().position(|run| run.stop() >= place.map_or(u64::MAX, |place| place.hinted));
    if let Some(kept) = kept.filter(|_| runs.last().is_some_and(|run| run.stop() <= stale_to)) {
        runs.truncate(kept + 1);
    }
    let frames: usize = runs.iter().map(|run| run.headers.len()).sum();
    let first = runs.first().map_or(0, chain::Run::start);
    let newest = runs.last().map_or(newest, chain::Run::stop);
    let text = format!("  {frames} frames from {first} to {newest}");
    printer.fact("frames", &text, json!({ "frames": frames, "from": first, "to": newest }))?;
    for (index, run) in runs.iter().enumerate() {
        for header in &run.headers {
            if !arguments.summary {
                frame(ring, printer, header)?;
            }
        }
        let is_last = index + 1 == runs.len();
        contents.damage += u32::from(!is_last || run.is_damaged());
        printer.end(run, is_last)?;
    }
    Ok(runs.last().map_or(0, chain::Run::stop))
}

fn frame(ring: &RingView<'_>, printer: &mut Printer<'_>, header: &FrameHeader) -> Result<(), Failure> {
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    match ring.read(header.position.0, length) {
        Some(bytes) => printer.frame(header, &bytes),
        None => Ok(()),
    }
}

/// A file without superblocks: the whole of it is looked at as one ring.
fn bare(source: &Source, printer: &mut Printer<'_>, arguments: &Arguments) -> Outcome {
    let size = source.size() / 4096 * 4096;
    let text = "not a journal disk: looked at as the bytes of a ring alone";
    printer.fact("bare", text, json!({ "size_bytes": source.size() }))?;
    let mut contents = Contents::default();
    let Some(ring) = RingView::new(source, 0, size) else {
        return Err(Failure::new(Exit::NotFound, format!("{}: holds no block", arguments.file.display())));
    };
    dump_ring(&ring, printer, arguments, None, &mut contents)?;
    Ok(Exit::Degraded)
}
