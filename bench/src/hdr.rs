//! Files for the standard HdrHistogram tools: a load's percentile distribution (`.hgrm`) and its interval log (`.hlog`).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use midspan_uring::clock::{boottime_ns, realtime_ns};

use crate::figures::{Latencies, in_us};
use crate::window::Tally;

/// Steps of a distribution between one halving of what is left to 100 % and the next, as the tools have it.
const TICKS_PER_HALF: u32 = 5;
/// Unit of the longest latency that each interval names: the log's histograms are in nanoseconds.
const NS_PER_MS: f64 = 1e6;

/// Where files go.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Writes `NAME.hgrm` over all repeats together and, where the course over time is known, `NAME.hlog`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, name: &str, repeats: &[&Tally]) -> Result<()> {
        let all = Latencies::merged(repeats.iter().map(|tally| tally.latencies()))?;
        let write = |kind: &str, content: &dyn Fn(&mut BufWriter<File>) -> Result<()>| {
            let path = self.0.join(format!("{name}.{kind}"));
            let written = || -> Result<()> {
                let mut out = BufWriter::new(File::create(&path)?);
                content(&mut out)?;
                Ok(out.flush()?)
            };
            written().with_context(|| format!("writing {}", path.display()))
        };
        write("hgrm", &|out| Ok(distribution(all.histogram(), out)?))?;
        if repeats.iter().any(|tally| tally.slices().next().is_some()) {
            write("hlog", &|out| intervals(name, repeats, out))?;
        }
        Ok(())
    }
}

/// The distribution in microseconds, as `HistogramLogProcessor` and the plotter of HdrHistogram read and write it.
fn distribution(histogram: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        let (value, part) = (in_us(step.value_iterated_to()), step.quantile_iterated_to());
        count += step.count_since_last_iteration();
        if part < 1.0 {
            writeln!(out, "{value:12.3} {part:2.12} {count:10} {:14.2}", 1.0 / (1.0 - part))?;
        } else {
            writeln!(out, "{value:12.3} {part:2.12} {count:10}")?;
        }
    }
    let us = |ns: f64| ns / 1e3;
    let max = in_us(histogram.max());
    let (mean, deviation) = (us(histogram.mean()), us(histogram.stdev()));
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(out, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len())?;
    // Counts of the histogram are in powers of two: what the tools call buckets and sub-buckets.
    writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), SUB_BUCKETS)
}

/// Of a histogram of three digits.
const SUB_BUCKETS: u32 = 2048;

/// The intervals of all repeats, one behind the other, with the time at which each was.
fn intervals(name: &str, repeats: &[&Tally], out: &mut impl Write) -> Result<()> {
    let boot_ns = realtime_ns().saturating_sub(boottime_ns());
    let began = |tally: &Tally| Duration::from_nanos(boot_ns.saturating_add(tally.began_ns()));
    let start = repeats.first().map_or(Duration::ZERO, |tally| began(tally));
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new();
    log.add_comment("[Histogram log format version 1.3]");
    log.add_comment(&format!("[{name}: latencies in nanoseconds, longest in milliseconds]"));
    log.with_start_time(SystemTime::UNIX_EPOCH + start).with_base_time(SystemTime::UNIX_EPOCH + start);
    let mut log = log.with_max_value_divisor(NS_PER_MS).begin_log_with(out, &mut serializer)?;
    for tally in repeats {
        let offset = began(tally).saturating_sub(start);
        for (begin, length, slice) in tally.slices() {
            log.write_histogram(slice.histogram(), offset + begin, length, None)
                .map_err(|error| anyhow!("{error}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Window;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    /// A hundred latencies of 1 to 100 µs, each in a slice of its own round.
    fn tally(now_ns: u64) -> Tally {
        let window = Window { warm: Duration::ZERO, measured: Duration::from_millis(100) };
        let mut tally = Tally::with_slices(window, now_ns).unwrap();
        for number in 0..100 {
            let ended = now_ns + number * 1_000_000 + 500_000;
            tally.complete(ended - (number + 1) * 1000, ended);
        }
        tally
    }

    fn written(tallies: &[&Tally], name: &str) -> (String, Option<String>) {
        let path = std::env::temp_dir().join(format!("midspan-hdr-{name}-{}", std::process::id()));
        Folder::create(&path).unwrap().write("load", tallies).unwrap();
        let read = |kind: &str| fs::read_to_string(path.join(format!("load.{kind}"))).ok();
        let found = (read("hgrm").unwrap(), read("hlog"));
        fs::remove_dir_all(&path).unwrap();
        found
    }

    #[test]
    fn the_distribution_reads_back_as_numbers_that_rise_to_all_latencies() {
        let (text, _) = written(&[&tally(1 << 40)], "distribution");
        assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"), "{text}");
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]), "{text}");
        let half = rows.iter().find(|row| row[1] == 0.5).unwrap();
        assert!((half[0] - 50.0).abs() < 0.1 && half[2] == 50.0 && half[3] == 2.0, "{half:?}");
        let last = rows.last().unwrap();
        assert!((last[0] - 100.0).abs() < 0.1 && last[1] == 1.0 && last[2] == 100.0, "{last:?}");
        assert!(text.contains("Total count    =          100]"), "{text}");
    }

    #[test]
    fn the_log_reads_back_with_every_interval_of_every_repeat() {
        let (first, second) = (tally(1 << 40), tally((1 << 40) + 3_000_000_000));
        let (_, log) = written(&[&first, &second], "log");
        let log = log.unwrap();
        assert!(log.starts_with("#[Histogram log format version 1.3]\n"), "{log}");
        let (mut counts, mut begins) = (Vec::new(), Vec::new());
        for entry in IntervalLogIterator::new(log.as_bytes()) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let bytes = decoded(interval.encoded_histogram());
                let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
                counts.push(histogram.len());
                begins.push(interval.start_timestamp().as_millis());
                assert_eq!(interval.duration(), Duration::from_millis(5));
                assert!((histogram.max() as f64 / NS_PER_MS - interval.max()).abs() < 0.01);
            }
        }
        assert_eq!(counts, vec![5; 40]);
        assert_eq!((begins[0], begins[1], begins[20]), (0, 5, 3000));
    }

    #[test]
    fn without_a_course_over_time_there_is_no_log() {
        let window = Window { warm: Duration::ZERO, measured: Duration::from_millis(100) };
        let mut tally = Tally::new(window, 0).unwrap();
        tally.complete(0, 1000);
        assert_eq!(written(&[&tally], "plain").1, None);
    }

    /// Of base 64.
    fn decoded(text: &str) -> Vec<u8> {
        const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
        for digit in text.trim_end_matches('=').chars() {
            let value = u32::try_from(DIGITS.find(digit).unwrap()).unwrap();
            bits = (bits << 6 | value) & 0xffff;
            held += 6;
            if held >= 8 {
                held -= 8;
                bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
            }
        }
        bytes
    }
}
