//! The dump's lines: text for people, one JSON object a line for programs.

use std::io::Write;

use midspan_format::checked::CheckedFrame;
use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::ids::NodeId;
use midspan_format::record::{Record, RecordKind};
use serde_json::{Value, json};

use super::chain::Run;
use crate::cli::cells::utc;
use crate::cli::exit::Failure;
use crate::cli::status::Form;

/// Where lines go.
pub struct Printer<'a> {
    out: &'a mut dyn Write,
    form: Form,
}

impl<'a> Printer<'a> {
    /// A printer of one form.
    pub fn new(out: &'a mut dyn Write, form: Form) -> Self {
        Self { out, form }
    }

    /// One fact, as text (with its indentation) and as an object with a `type`.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn fact(&mut self, kind: &str, text: &str, mut value: Value) -> Result<(), Failure> {
        match self.form {
            Form::Table => writeln!(self.out, "{text}")?,
            Form::Json => {
                if let Some(object) = value.as_object_mut() {
                    object.insert("type".to_owned(), kind.into());
                }
                writeln!(self.out, "{value}")?;
            }
        }
        Ok(())
    }

    /// A frame with what is in it; `frame` is the whole frame, which verifies.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn frame(&mut self, header: &FrameHeader, frame: &[u8]) -> Result<(), Failure> {
        let epoch = format!("{}@{}", header.epoch.number, header.epoch.node.0);
        let text = format!(
            "  {:>12} seq {} epoch {epoch} {} bytes, time {} .. {}, closed {}, landed {}, journaled {}, header {:016x}{}",
            header.position.0,
            header.sequence,
            header.length,
            header.first_time.0,
            utc(header.last_time.0),
            header.closed_time.0,
            header.landed.0,
            header.journaled.0,
            header.checksum,
            elsewhere(header, frame),
        );
        let value = json!({
            "position": header.position.0, "sequence": header.sequence, "epoch": header.epoch.number,
            "epoch_node": header.epoch.node.0, "length": header.length, "lane": header.lane.0,
            "origin_lane": header.origin_lane.0, "first_time_ns": header.first_time.0,
            "last_time_ns": header.last_time.0, "closed_time_ns": header.closed_time.0,
            "landed": header.landed.0, "journaled": header.journaled.0,
            "data_at": (header.data_at != NodeId::NONE).then_some(header.data_at.0),
            "chain": format!("{:016x}", header.chain), "header_checksum": format!("{:016x}", header.checksum),
        });
        self.fact("frame", &text, value)?;
        // It was verified before; damage in between is reported by the next dump.
        match CheckedFrame::parse(frame).or_else(|_| CheckedFrame::parse_head(frame)) {
            Ok(checked) => self.content(header, &checked),
            Err(_) => Ok(()),
        }
    }

    fn content(&mut self, header: &FrameHeader, frame: &CheckedFrame<'_>) -> Result<(), Failure> {
        match header.kind {
            FrameKind::Journal => {
                for record in frame.records() {
                    self.record(&record)?;
                }
            }
            FrameKind::Manifest => {
                let manifest = frame.manifest();
                for entry in manifest.iter().flat_map(|manifest| manifest.entries.iter()) {
                    let text = format!(
                        "{:16}lists frame at {} seq {} of {} bytes, {} runs of regions, header {:016x}",
                        "",
                        entry.position,
                        entry.sequence,
                        entry.length,
                        entry.regions,
                        entry.header_checksum
                    );
                    let value = json!({
                        "position": entry.position, "sequence": entry.sequence, "length": entry.length,
                        "lane": entry.lane, "regions": entry.regions,
                        "header_checksum": format!("{:016x}", entry.header_checksum),
                    });
                    self.fact("manifest_entry", &text, value)?;
                }
            }
            FrameKind::Receipt => {
                if let Some(receipt) = frame.receipt() {
                    let text =
                        format!("{:16}cut {}, manifests read to {}", "", utc(receipt.cut), receipt.manifest);
                    let value = json!({
                        "cut_ns": receipt.cut, "manifest": receipt.manifest, "verify_run": receipt.run,
                        "compared": receipt.compared, "different": receipt.different,
                    });
                    self.fact("receipt", &text, value)?;
                    for lane in receipt.lanes.iter() {
                        let text = format!(
                            "{:16}lane {}: acquired to {}, applied to {}, header {:016x}",
                            "", lane.lane, lane.position, lane.applied, lane.header_checksum
                        );
                        let value = json!({
                            "lane": lane.lane, "acquired": lane.position, "applied": lane.applied,
                            "header_checksum": format!("{:016x}", lane.header_checksum),
                        });
                        self.fact("receipt_lane", &text, value)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &Record) -> Result<(), Failure> {
        let kind = record.kind().map_or_else(|| format!("kind {}", record.kind), word);
        let text = format!(
            "{:16}{kind} volume {} offset {} length {} time {}",
            "", record.volume, record.offset, record.length, record.time
        );
        let value = json!({
            "kind": kind, "volume": record.volume, "offset": record.offset, "length": record.length,
            "time_ns": record.time, "flags": record.flags,
        });
        self.fact("record", &text, value)
    }

    /// Where and why a run ends.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn end(&mut self, run: &Run, is_last: bool) -> Result<(), Failure> {
        let sentence = run.end.sentence();
        let what = if is_last { "the chain ends" } else { "the chain breaks, frames follow later" };
        let text = format!("  {:>12} {what}: {sentence}", run.stop());
        self.fact("end", &text, json!({ "position": run.stop(), "last": is_last, "reason": sentence }))
    }
}

/// Where the data of a frame lies that two lanes share; whether it is here, too.
fn elsewhere(header: &FrameHeader, frame: &[u8]) -> String {
    match header.data_at {
        NodeId::NONE => String::new(),
        node if CheckedFrame::parse(frame).is_ok() => format!(", data at node {node}, whole here"),
        node => format!(", data at node {node}, the head here"),
    }
}

/// A kind's word, for example `round_begin`.
fn word(kind: RecordKind) -> String {
    let mut word = String::new();
    for letter in format!("{kind:?}").chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}
