//! Hosts that write beside a test: the hammer, stopped to judge what is there, and taken from site to site.

use midspan::hammer::command::random_run_id;
use midspan::hammer::{Config, Counts, Hammer, Handle, Initial, Ledger, OnDisconnect, SizeMix, Verdict};

use super::cluster::Cluster;
use super::place::Place;
use super::{LIMIT, wait_for};

/// So many writes must be answered before hosts count as served again.
const ANSWERS: u64 = 50;

/// A workload with the record of everything that was written.
#[derive(Debug)]
pub struct Load {
    config: Config,
    run: Run,
    /// Errors that hosts were answered with at a site that was replaced.
    excused: u64,
}

/// The workload runs, or has stopped.
#[derive(Debug)]
enum Run {
    Going(Handle),
    Stopped(Ledger),
    /// While one becomes the other.
    Between,
}

impl Load {
    /// Starts it.
    pub fn start(config: Config) -> Self {
        let handle = Hammer::start(config.clone(), random_run_id()).unwrap();
        Self { config, run: Run::Going(handle), excused: 0 }
    }

    /// Hosts at the primary that are in no hurry, and wait where they are not served.
    pub fn gentle(cluster: &Cluster) -> Self {
        Self::of_sizes(cluster, "4k:90,64k:10")
    }

    /// So, with writes of these sizes.
    pub fn of_sizes(cluster: &Cluster, sizes: &str) -> Self {
        let load = Self::start(Config {
            connections: 2,
            seed: random_run_id(),
            sizes: SizeMix::parse(sizes).unwrap(),
            rate: Some(300),
            on_disconnect: OnDisconnect::Reconnect { give_up_after: LIMIT },
            initial: Initial::Zeroes,
            ..Config::new(cluster.uris(Place::Primary))
        });
        load.wait_for_answers();
        load
    }

    /// The workload, which runs.
    pub fn handle(&self) -> &Handle {
        match &self.run {
            Run::Going(handle) => handle,
            Run::Stopped(_) | Run::Between => panic!("the workload does not run"),
        }
    }

    /// Waits until hosts are served, or served again, on every connection.
    pub fn wait_for_answers(&self) {
        let connections = self.config.connections * u32::try_from(self.config.uris.len()).unwrap();
        let handle = self.handle();
        let before = handle.counts().answered;
        wait_for("hosts should be served again", LIMIT, || {
            assert!(!handle.is_finished(), "the workload has ended: {:?}", handle.messages());
            let snapshot = handle.snapshot();
            (snapshot.counts.answered >= before + ANSWERS && snapshot.connected == connections).then_some(())
        });
    }

    /// Stops it; no request may have been answered with an error.
    pub fn stop(&mut self) {
        let counts = self.end();
        assert_eq!(counts.errors, self.excused, "no request is answered with an error: {counts:?}");
    }

    /// Stops it where the site was replaced or may have been: what came too late there was answered with an error, which
    /// says as little of a write as no answer.
    pub fn stop_replaced(&mut self) {
        self.excused = self.end().errors;
    }

    fn end(&mut self) -> Counts {
        let ledger = match std::mem::replace(&mut self.run, Run::Between) {
            Run::Going(handle) => handle.into_ledger(),
            Run::Stopped(ledger) => ledger,
            Run::Between => panic!("there is no workload"),
        };
        let counts = ledger.counts.clone();
        self.run = Run::Stopped(ledger);
        counts
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        match &self.run {
            Run::Going(handle) => handle.counts(),
            Run::Stopped(ledger) => ledger.counts.clone(),
            Run::Between => panic!("there is no workload"),
        }
    }

    /// Stops it and judges everything that these exports hold.
    pub fn verify(&mut self, uris: &[String]) -> Verdict {
        self.stop();
        let Run::Stopped(ledger) = &self.run else { panic!("it has stopped") };
        let verdict = ledger.verify(uris, LIMIT, |_| {}).unwrap();
        assert!(verdict.held(), "at {uris:?}: {verdict:#?}");
        verdict
    }

    /// Goes on with these exports; what was written before stays under judgement.
    pub fn resume(&mut self, uris: Vec<String>) {
        let Run::Stopped(ledger) = std::mem::replace(&mut self.run, Run::Between) else {
            panic!("the workload runs");
        };
        self.config.uris = uris;
        self.run = Run::Going(Hammer::resume(self.config.clone(), ledger).unwrap());
    }
}
