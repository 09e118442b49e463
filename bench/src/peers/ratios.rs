//! Midspan over each peer: every ratio is taken inside a repeat, and named for scripts.

use super::contender::{Contender, Figure, Found, JOBS, Job, QUEUE};
use super::program::Peer;
use super::sample::Sample;
use crate::figures::{Spread, ratio};

/// One ratio over all repeats.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerRatio {
    /// Its name in the JSON.
    pub name: String,
    /// Whether less is better.
    pub is_low_good: bool,
    /// Over all repeats.
    pub spread: Spread,
}

/// All ratios for which there are samples, in the order of loads, peers, and held before attached.
pub fn ratios(found: &Found) -> Vec<PeerRatio> {
    let mut all = Vec::new();
    for (number, job) in JOBS.iter().enumerate() {
        for peer in Peer::ALL {
            for (contender, suffix) in [(Contender::Held, ""), (Contender::Attached, "_attached")] {
                let spread = inside_repeats(found, number, contender, peer, |sample| figure(job, sample));
                let name = format!("{}{suffix}_vs_{}", job.ratio, peer.name());
                all.extend(spread.map(|spread| PeerRatio {
                    name,
                    is_low_good: job.figure == Figure::Median,
                    spread,
                }));
            }
        }
    }
    for peer in Peer::ALL {
        for (contender, suffix) in [(Contender::Held, ""), (Contender::Attached, "_attached")] {
            let spread = inside_repeats(found, QUEUE, contender, peer, answering_cpu_us);
            let name = format!("cpu_us_qd32{suffix}_vs_{}", peer.name());
            all.extend(spread.map(|spread| PeerRatio { name, is_low_good: true, spread }));
        }
    }
    all
}

fn inside_repeats(
    found: &Found,
    job: usize,
    contender: Contender,
    peer: Peer,
    take: impl Fn(&Sample) -> Option<f64>,
) -> Option<Spread> {
    let ours = found.get(&(job, contender))?;
    let theirs = found.get(&(job, Contender::Peer(peer)))?;
    let pairs = ours.iter().zip(theirs);
    Spread::of(pairs.filter_map(|(ours, theirs)| ratio(take(ours)?, take(theirs)?)))
}

fn figure(job: &Job, sample: &Sample) -> Option<f64> {
    match job.figure {
        Figure::Rate => Some(sample.tally.per_second()),
        Figure::Median => sample.tally.latencies().at_us(0.5),
    }
}

/// Of all nodes without which there is no answer: the secondary is not one of them.
fn answering_cpu_us(sample: &Sample) -> Option<f64> {
    let parts = sample.costs.iter().filter(|(part, _)| *part != "secondary");
    let used: f64 = parts.map(|(_, cost)| cost.cpu_us).sum();
    (used > 0.0).then_some(used)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::path::Cost;
    use crate::proc::Noise;
    use crate::window::{Tally, Window};

    /// So many operations, of this latency, that cost primary and secondary (or the peer) so much.
    fn sample(count: usize, latency_ns: u64, parts: &[(&'static str, f64)]) -> Sample {
        let window = Window { warm: Duration::ZERO, measured: Duration::from_millis(10) };
        let mut tally = Tally::new(window, 0).unwrap();
        for _ in 0..count {
            tally.complete(0, latency_ns);
        }
        let cost = |(part, cpu_us): &(&'static str, f64)| (*part, Cost { cpu_us: *cpu_us, switches: 1.0 });
        Sample { tally, costs: parts.iter().map(cost).collect(), client: None, noise: Noise::default() }
    }

    fn of<'a>(all: &'a [PeerRatio], name: &str) -> &'a PeerRatio {
        all.iter().find(|ratio| ratio.name == name).unwrap()
    }

    #[test]
    fn ratios_are_taken_inside_a_repeat_and_the_secondary_is_not_charged() {
        let mut found = Found::new();
        let ours = [("primary", 3.0), ("relay", 1.0), ("secondary", 50.0)];
        let held = vec![sample(400, 1000, &ours), sample(40, 1000, &ours), sample(900, 1000, &ours)];
        let theirs = [("near", 6.0), ("far", 2.0)];
        let quorum = vec![sample(100, 2000, &theirs), sample(10, 2000, &theirs), sample(100, 2000, &theirs)];
        found.insert((QUEUE, Contender::Held), held);
        found.insert((QUEUE, Contender::Peer(Peer::Quorum)), quorum);
        let all = ratios(&found);
        let rate = of(&all, "randwrite_4k_qd32_vs_quorum");
        assert_eq!((rate.spread.median, rate.spread.min, rate.spread.max), (4.0, 4.0, 9.0));
        assert!(!rate.is_low_good);
        let cpu = of(&all, "cpu_us_qd32_vs_quorum");
        assert_eq!((cpu.spread.median, cpu.is_low_good), (0.5, true));
        // Nothing about those who did not take part.
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn a_single_operation_is_compared_by_its_latency() {
        let mut found = Found::new();
        found.insert((0, Contender::Attached), vec![sample(10, 1_000_000, &[])]);
        found.insert((0, Contender::Peer(Peer::QemuNbd)), vec![sample(10, 2_000_000, &[])]);
        let all = ratios(&found);
        let latency = of(&all, "randwrite_4k_qd1_p50_attached_vs_qemu_nbd");
        assert!((latency.spread.median - 0.5).abs() < 0.01 && latency.is_low_good);
    }
}
