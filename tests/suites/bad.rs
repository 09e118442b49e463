//! Bad input and faults: each ends in a clear error that names the object; nothing panics, nothing wrong is served, and the
//! process stays up where it can.

mod disks;
mod space;
mod journal;
mod wire;
mod strangers;
mod rot;
mod failing;
mod early;

use rig::{Cluster, LIMIT, Place, Program, pause, wait_for};

use midspan_daemon::api::types::Event;

/// Runs commands of qemu-io on an export.
fn qemu_io(uri: &str, commands: &[&str]) -> String {
    let program = Program::new("qemu-io").args(["-f", "raw"]);
    program.args(commands.iter().flat_map(|command| ["-c", command])).arg(uri).run().well()
}

/// Waits until a node has told of an event whose kind and message are so.
fn wait_event(cluster: &mut Cluster, place: Place, kind: &str, words: &[&str]) -> Event {
    let what = format!("{} should tell `{kind}` with {words:?}", place.name());
    wait_for(&what, LIMIT, || {
        assert!(cluster.node(place).ended().is_none(), "{} has ended", place.name());
        // Until its API listens it tells nothing.
        cluster.node(place).status()?;
        let events = cluster.events(place);
        events.into_iter().find(|event| {
            let text = format!("{} {} {}", event.object, event.message, event.hint);
            event.kind == kind && words.iter().all(|word| text.contains(word))
        })
    })
}

/// The node stays up for a moment.
fn stays_up(cluster: &mut Cluster, place: Place) {
    pause(std::time::Duration::from_millis(300));
    assert!(cluster.node(place).ended().is_none(), "{} has ended: {}", place.name(), cluster.log(place));
    cluster.status(place);
}
