//! Comparisons of the sites: asked of the data plane, and told to the driver.

use midspan_format::control::GroupCommand;
use midspan_format::ids::VolumeId;
use midspan_node::port::{VerifyNote, VerifyRefusal, VerifyReport, VerifyStop};

use super::{DataPlane, Port, Wait};
use crate::api::types::{ApiError, Change, DifferentRange, VerifyOutcome, VerifyRequest};
use crate::driver::{News, Step};
use crate::following::Operation;
use crate::measure::Known;
use crate::words;

const END: Operation = Operation::Change(Change::EndVerify);

/// What is asked of the group's machine.
pub(super) fn command(known: &Known, request: &VerifyRequest) -> Result<GroupCommand, ApiError> {
    let volume = match &request.volume {
        None => None,
        Some(name) => {
            let found = known.volumes.iter().find(|volume| volume.name == *name);
            let id = found.and_then(|volume| u32::try_from(volume.volume).ok()).map(VolumeId);
            let unknown = || words::verify_error(&known.name, VerifyRefusal::UnknownVolume);
            Some(id.ok_or_else(unknown)?)
        }
    };
    let bytes_per_s = request.bytes_per_second.unwrap_or(0);
    Ok(GroupCommand::Verify { volume, bytes_per_s, repair: request.repair })
}

impl<P: DataPlane> Port<P> {
    pub(super) fn on_verify(&mut self, index: usize, step: &VerifyNote) {
        let (group, operation) = (self.name(index), Operation::Verify);
        match step {
            VerifyNote::Began { bytes } => {
                self.news.push(News::Step { group, operation, step: Step::Comparing { bytes: *bytes } });
            }
            VerifyNote::Sent => self.news.push(News::Step { group, operation, step: Step::Compared }),
            VerifyNote::Ended(report) => {
                let outcome = self.objects.groups.get(index).map(|known| outcome(known, report));
                if let Some(outcome) = outcome.map(Box::new).filter(|_| self.runs(index, operation)) {
                    // Whoever hears of the end must find it in the status, too.
                    let news = News::Verified { group, outcome };
                    self.waits.insert((index, operation), Wait::Ended(news));
                }
                if report.stopped == Some(VerifyStop::Asked) && self.runs(index, END) {
                    self.changed(index, Change::EndVerify);
                }
                self.ask_group(index);
            }
            VerifyNote::Refused(refusal) => {
                let error = words::verify_error(&group, *refusal);
                let asked = if *refusal == VerifyRefusal::NotRunning { END } else { operation };
                self.refuse(index, asked, error);
            }
        }
    }
}

fn outcome(known: &Known, report: &VerifyReport) -> VerifyOutcome {
    let name = |id: u32| {
        let found = known.volumes.iter().find(|volume| volume.volume == u64::from(id));
        found.map_or_else(|| format!("volume {id}"), |volume| volume.name.clone())
    };
    let differences = report.differences.iter().map(|found| DifferentRange {
        volume: name(found.volume),
        offset: found.offset,
        length: found.length,
        time_ns: found.time,
    });
    VerifyOutcome {
        statement: words::verify_statement(report),
        complete: words::verify_is_complete(report),
        bytes: report.bytes,
        compared_bytes: report.compared,
        different_bytes: report.different,
        differences: differences.collect(),
        repairs: report.repairs,
        stopped: report.stopped.map(words::verify_stop),
        took_ms: report.took_ns.div_ceil(1_000_000),
    }
}
