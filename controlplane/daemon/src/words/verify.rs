//! What is said of a comparison of the sites.

use midspan_node::port::{VerifyNote, VerifyRefusal, VerifyReport, VerifyStop};

use crate::api::types::ApiError;
use crate::events::Tell;

/// The event of a step; `None` for what only moves a progress bar, and for refusals, which are told to those who asked.
pub fn verify(object: &str, step: &VerifyNote) -> Option<Tell> {
    match step {
        VerifyNote::Began { bytes } => {
            let message = format!("the sites are compared beside what hosts do: {bytes} bytes");
            Some(Tell::info("verify_began", object, message))
        }
        VerifyNote::Sent | VerifyNote::Refused(_) => None,
        VerifyNote::Ended(report) => Some(match (report.different, is_complete(report)) {
            (0, true) => Tell::info("verify_done", object, statement(report)),
            (0, false) => Tell::warn("verify_incomplete", object, statement(report)).hint(hint(report)),
            (_, _) => Tell::error("verify_found", object, statement(report)).hint(hint(report)),
        }),
    }
}

/// Whether all that was to be compared was.
pub fn is_complete(report: &VerifyReport) -> bool {
    report.stopped.is_none() && report.compared >= report.bytes
}

/// The outcome in a sentence.
pub fn statement(report: &VerifyReport) -> String {
    let VerifyReport { bytes, compared, different, differences, repairs, stopped, .. } = report;
    let mut said = if *different == 0 {
        format!("{compared} bytes compared, no difference")
    } else {
        let listed: u64 = differences.iter().map(|found| found.length).sum();
        let ranges = differences.len();
        let mut said = format!("{compared} bytes compared, {different} bytes in {ranges} ranges differ");
        if listed < *different {
            said += &format!(", and {} bytes of them are not listed", different - listed);
        }
        said
    };
    if let Some(why) = stopped {
        said += &format!("; it ended before its time: {}", stop(*why));
    } else if compared < bytes {
        said += &format!(
            "; {} bytes were not compared: the secondary was started anew meanwhile, or lacked memory for it",
            bytes - compared
        );
    }
    if *repairs {
        said += "; a round sends what is listed to the other site now";
    }
    said
}

/// What to do next.
fn hint(report: &VerifyReport) -> &'static str {
    match (report.different, report.repairs) {
        (0, _) => "run it again",
        (_, true) => "run `midspan verify` again when the round has ended",
        (_, false) => {
            "which site is right is not known: look at both disks, then `midspan verify --repair` makes the secondary like the primary"
        }
    }
}

/// Why it ended.
pub fn stop(why: VerifyStop) -> String {
    match why {
        VerifyStop::Asked => "an operator asked for that".to_owned(),
        VerifyStop::NotPaired => {
            "the group is not in state `paired` any more, or changes its roles".to_owned()
        }
        VerifyStop::Unreadable { volume } => {
            format!("a part of volume {} cannot be read at this site", volume.0)
        }
    }
}

/// Why it did not begin, or was not ended, for those who asked.
pub fn verify_error(group: &str, refusal: VerifyRefusal) -> ApiError {
    let (message, hint) = match refusal {
        VerifyRefusal::NotPrimary => (
            "this site is not a primary that serves",
            "run it on the primary's site; `midspan status` shows the roles",
        ),
        VerifyRefusal::NotPaired => (
            "it is not in state `paired`, or its roles are being changed: the sites are known not to hold the same",
            "wait until `midspan status` says `paired`",
        ),
        VerifyRefusal::Running => (
            "a verify is running already",
            "wait for its end, or end it with `midspan verify GROUP --cancel`",
        ),
        VerifyRefusal::NotRunning => {
            ("no verify is running", "`midspan operations` shows how the last one ended")
        }
        VerifyRefusal::UnknownVolume => ("it has no such volume", "`midspan status` lists the volumes"),
    };
    ApiError::new("refused", format!("group {group}: {message}"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use midspan_format::receipt::Difference;

    fn report(compared: u64, different: u64) -> VerifyReport {
        VerifyReport { bytes: 1000, compared, different, ..VerifyReport::default() }
    }

    #[test]
    fn only_a_whole_comparison_says_nothing_more() {
        let kind = |report| verify("group:vault", &VerifyNote::Ended(Box::new(report))).unwrap().kind;
        assert_eq!(kind(report(1000, 0)), "verify_done");
        assert_eq!(kind(report(900, 0)), "verify_incomplete");
        assert_eq!(kind(report(1000, 8)), "verify_found");
        let stopped = VerifyReport { stopped: Some(VerifyStop::Asked), ..report(1000, 0) };
        assert_eq!(kind(stopped), "verify_incomplete");
    }

    #[test]
    fn the_statement_names_what_is_not_listed_and_what_was_not_compared() {
        let differences = vec![Difference { length: 5, ..Difference::default() }];
        let said = statement(&VerifyReport { differences, ..report(900, 8) });
        assert!(said.contains("8 bytes in 1 ranges differ, and 3 bytes of them are not listed"), "{said}");
        assert!(said.contains("100 bytes were not compared"), "{said}");
    }
}
