//! Bodies of the HTTP API, both ways, and the rows of the daemon's state, which are the same types: arbitrary text.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use midspan_daemon::api::types::{
    AreaStatus, ChangeProgress, ErrorBody, Event, ExportStatus, GroupConfig, GroupRecording, GroupStatus,
    HeldAlone, KeptManifests, NodeStatus, OperationStatus, ResolveRequest, TakeoverProgress, TakeoverRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|bytes: &[u8]| {
    // What the daemon is asked.
    look::<TakeoverRequest>(bytes);
    look::<ResolveRequest>(bytes);
    // What it answers, and the command line reads.
    look::<NodeStatus>(bytes);
    look::<GroupStatus>(bytes);
    look::<GroupConfig>(bytes);
    look::<GroupRecording>(bytes);
    look::<KeptManifests>(bytes);
    look::<HeldAlone>(bytes);
    look::<Vec<AreaStatus>>(bytes);
    look::<Vec<ExportStatus>>(bytes);
    look::<ErrorBody>(bytes);
    look::<TakeoverProgress>(bytes);
    look::<ChangeProgress>(bytes);
    // What its state keeps, row by row.
    look::<Event>(bytes);
    look::<OperationStatus>(bytes);
});

/// What was read means the same when it is written and read once more.
fn look<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(found) = serde_json::from_slice::<T>(bytes) {
        let text = serde_json::to_vec(&found).expect("it was JSON");
        assert_eq!(serde_json::from_slice::<T>(&text).expect("what we wrote ourselves"), found);
    }
}
