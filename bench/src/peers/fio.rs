//! fio as the host: its command line for a load, and what it reports.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use midspan_uring::clock::boottime_ns;
use serde::Deserialize;

use super::sample::Sample;
use crate::calls::Process;
use crate::figures::Latencies;
use crate::generator::{Arrival, Load, Mix, Pattern};
use crate::path::Cost;
use crate::proc::{Cores, Noise, Usage};
use crate::window::Tally;

/// What one run of fio has found.
#[derive(Debug)]
pub struct Report {
    /// Operations that have ended; a write and its FLUSH are one.
    pub operations: u64,
    /// How long it ran.
    runtime: Duration,
    latencies: Latencies,
    /// CPU time of fio and its context switches, over all operations.
    used: Usage,
}

/// The part of fio's JSON that is read.
#[derive(Debug, Deserialize)]
struct Output {
    jobs: Vec<JobOutput>,
}

#[derive(Debug, Deserialize)]
struct JobOutput {
    error: i32,
    read: Direction,
    write: Direction,
    /// Percent of the running time.
    usr_cpu: f64,
    sys_cpu: f64,
    /// Context switches.
    ctx: u64,
}

#[derive(Debug, Deserialize)]
struct Direction {
    total_ios: u64,
    /// Milliseconds.
    runtime: u64,
    lat_ns: Latency,
}

#[derive(Debug, Deserialize)]
struct Latency {
    /// Nanoseconds, and how many took so long.
    #[serde(default)]
    bins: BTreeMap<String, u64>,
}

/// Runs the load. It begins at once: fio has no warm-up whose operations it would leave out of its counts alone.
///
/// # Errors
/// What fio says.
pub fn run(load: &Load) -> Result<Report> {
    let output = command(load)?.output().context("cannot start fio")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "fio ended with {}: {}", output.status, said.trim());
    parse(&String::from_utf8_lossy(&output.stdout), load.work.mix).with_context(|| said.trim().to_owned())
}

/// Runs the load, with what each of the server's processes used from its beginning to its end.
///
/// # Errors
/// What fio says, or that one of the processes has ended.
pub fn measure(load: &Load, processes: &[Process]) -> Result<Sample> {
    let usages = || -> Result<Vec<Usage>> {
        let usage = |process: &Process| {
            Usage::of(process.pid).with_context(|| format!("the {} has ended", process.part))
        };
        processes.iter().map(usage).collect()
    };
    let (before, cores, began_ns) = (usages()?, Cores::now(), boottime_ns());
    let report = run(load);
    // A process that has ended explains a load that has failed.
    let after = usages()?;
    let report = report?;
    let (last, took_ns) = (Cores::now(), boottime_ns().saturating_sub(began_ns));
    let used: Vec<Usage> = after.iter().zip(&before).map(|(after, before)| after.since(*before)).collect();
    let ours: u64 = used.iter().map(|used| used.cpu_us).sum::<u64>() + report.used.cpu_us;
    let parts = processes.iter().zip(&used);
    let cost = |used: Usage| Cost::of(used, report.operations);
    Ok(Sample {
        costs: parts.filter_map(|(process, used)| Some((process.part, cost(*used)?))).collect(),
        client: cost(report.used),
        noise: Noise::of(cores, last, ours, took_ns),
        tally: Tally::of(report.runtime, report.latencies),
    })
}

fn command(load: &Load) -> Result<Command> {
    let [uri] = load.uris.as_slice() else { bail!("fio loads one export") };
    let work = load.work;
    ensure!(work.arrival == Arrival::Closed, "fio is not asked for a rate here");
    let (pattern, fsync) = match (work.pattern, work.mix) {
        (Pattern::Random, Mix::Write) => ("randwrite", 0),
        (Pattern::Random, Mix::WriteFlush) => ("randwrite", 1),
        (Pattern::Random, Mix::Read) => ("randread", 0),
        (Pattern::Sequential, Mix::Write) => ("write", 0),
        (Pattern::Sequential, Mix::Read) => ("read", 0),
        (_, Mix::WriteFlush | Mix::Mixed) => bail!("fio is not asked for this mix here"),
    };
    let mut command = Command::new("fio");
    command.args(["--name=load", "--ioengine=nbd", "--time_based", "--norandommap", "--output-format=json+"]);
    command.args(["--lat_percentiles=1", "--clat_percentiles=0"]);
    command.arg(format!("--uri={uri}")).arg(format!("--rw={pattern}")).arg(format!("--fsync={fsync}"));
    command.arg(format!("--bs={}", work.bytes)).arg(format!("--iodepth={}", work.depth));
    command.arg(format!("--runtime={}ms", load.window.measured.as_millis().max(1)));
    command.arg(format!("--randseed={}", load.seed + 1));
    command.stdin(Stdio::null());
    Ok(command)
}

/// Warnings may stand before the JSON.
fn parse(output: &str, mix: Mix) -> Result<Report> {
    let json = output.find('{').and_then(|start| output.get(start..)).context("fio reported nothing")?;
    let output: Output = serde_json::from_str(json).context("fio's report")?;
    let job = output.jobs.first().context("fio's report has no job")?;
    ensure!(job.error == 0, "fio met error {}", job.error);
    let direction = if mix == Mix::Read { &job.read } else { &job.write };
    let mut latencies = Latencies::new()?;
    for (nanoseconds, count) in &direction.lat_ns.bins {
        latencies.record_many(nanoseconds.parse().context("fio's report: a latency")?, *count);
    }
    let runtime = Duration::from_millis(direction.runtime.max(1));
    let cpu = runtime.mul_f64((job.usr_cpu + job.sys_cpu).max(0.0) / 100.0);
    let used = Usage { cpu_us: u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX), switches: job.ctx };
    Ok(Report { operations: direction.total_ios, runtime, latencies, used })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Work;
    use crate::window::Window;

    const REPORT: &str = r#"note: a warning {
        "jobs": [{ "error": 0, "usr_cpu": 10.0, "sys_cpu": 15.0, "ctx": 7,
            "read": { "total_ios": 0, "runtime": 0, "lat_ns": { "min": 0 } },
            "write": { "total_ios": 4, "runtime": 200, "lat_ns": { "bins": { "1000": 3, "9000": 1 } } } }] }"#;

    #[test]
    fn a_report_becomes_counts_and_latencies() {
        let report = parse(REPORT, Mix::Write).unwrap();
        assert_eq!(report.operations, 4);
        assert_eq!(report.used, Usage { cpu_us: 50_000, switches: 7 });
        assert!((report.latencies.at_us(0.5).unwrap() - 1.0).abs() < 0.01);
        let tally = Tally::of(report.runtime, report.latencies);
        assert!((tally.per_second() - 20.0).abs() < 0.1, "{}", tally.per_second());
    }

    #[test]
    fn what_is_no_report_or_tells_of_an_error_is_refused() {
        assert!(parse("fio: nothing to do", Mix::Write).is_err());
        let failed = REPORT.replace("\"error\": 0", "\"error\": 5");
        assert!(parse(&failed, Mix::Write).unwrap_err().to_string().contains("error 5"));
    }

    #[test]
    fn a_load_becomes_a_command() {
        let work = Work {
            pattern: Pattern::Random,
            mix: Mix::WriteFlush,
            bytes: 4096,
            depth: 16,
            arrival: Arrival::Closed,
        };
        let window = Window { warm: Duration::ZERO, measured: Duration::from_millis(1500) };
        let load = Load { uris: vec!["nbd://h/v".to_owned()], work, core: 0, seed: 2, window };
        let command = command(&load).unwrap();
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        for wanted in ["--uri=nbd://h/v", "--rw=randwrite", "--fsync=1", "--iodepth=16", "--runtime=1500ms"] {
            assert!(arguments.iter().any(|argument| argument == wanted), "{wanted}: {arguments:?}");
        }
    }
}
