//! How fast the failure detector is and how often it errs, under models of jitter: the tables of `docs/fault-detection.md`.
//!
//! `cargo test -p midspan-control --test fault_figures -- --nocapture --test-threads 1` prints them.
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use midspan_control::fault::{Detector, Level, Settings, Suspicion};

const MS: u64 = 1_000_000;
const DAY_NS: u64 = 86_400_000 * MS;
const DAYS: u64 = 4;
/// Crashes for each detection time.
const CRASHES: u64 = 2_000;
/// An unattended takeover waits for such a silence, unless configured.
const TAKEOVER_AFTER_NS: u64 = 10_000 * MS;

/// SplitMix64: the same seed, the same figures.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// Above 0, up to 1.
    fn unit(&mut self) -> f64 {
        ((self.draw() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }
}

#[derive(Clone, Copy)]
enum Delay {
    Constant(u64),
    /// From 0 to this.
    Uniform(u64),
    /// At least the first; more than `x` times it with the probability of `x` to the power of minus the second.
    Pareto(u64, f64),
}

#[derive(Clone, Copy)]
struct Model {
    name: &'static str,
    delay: Delay,
    /// Of a thousand heartbeats, so many are lost.
    loss: u64,
    /// Once in so many minutes (about) the sender does not run, for 0.2 s to so long.
    pauses: Option<(u64, u64)>,
}

const fn model(name: &'static str, delay: Delay) -> Model {
    Model { name, delay, loss: 0, pauses: None }
}

const MODELS: [Model; 10] = [
    model("constant, 1 ms", Delay::Constant(MS)),
    model("uniform, 0 to 50 ms", Delay::Uniform(50 * MS)),
    model("uniform, 0 to 500 ms", Delay::Uniform(500 * MS)),
    model("Pareto from 5 ms, exponent 2", Delay::Pareto(5 * MS, 2.0)),
    model("Pareto from 5 ms, exponent 1.5", Delay::Pareto(5 * MS, 1.5)),
    Model { loss: 10, ..model("loss of 1 %", Delay::Uniform(5 * MS)) },
    Model { loss: 100, ..model("loss of 10 %", Delay::Uniform(5 * MS)) },
    Model { loss: 300, ..model("loss of 30 %", Delay::Uniform(5 * MS)) },
    Model { pauses: Some((10, 1_500 * MS)), ..model("pauses up to 1.5 s", Delay::Uniform(5 * MS)) },
    Model { pauses: Some((10, 5_000 * MS)), ..model("pauses up to 5 s", Delay::Uniform(5 * MS)) },
];
/// Those in which nobody should be held for dead: all but heavy tails and long pauses.
const SOUND: [usize; 7] = [0, 1, 2, 5, 6, 7, 8];

/// A sender and its path. Heartbeats do not overtake each other: a late one holds up those behind it.
struct Path {
    model: Model,
    random: Random,
    interval_ns: u64,
    sent_ns: u64,
    arrived_ns: u64,
}

impl Path {
    fn new(model: Model, interval_ns: u64, seed: u64) -> Self {
        Self { model, random: Random(seed), interval_ns, sent_ns: 0, arrived_ns: 0 }
    }

    /// When the next heartbeat that is not lost is sent, and when it arrives.
    fn next(&mut self) -> (u64, u64) {
        loop {
            self.sent_ns += self.interval_ns;
            if let Some((minutes, longest)) = self.model.pauses
                && self.random.below(minutes * 60_000 * MS / self.interval_ns) == 0
            {
                self.sent_ns += 200 * MS + self.random.below(longest - 200 * MS);
            }
            if self.random.below(1_000) >= self.model.loss {
                break;
            }
        }
        let delay = match self.model.delay {
            Delay::Constant(delay) => delay,
            Delay::Uniform(most) => self.random.below(most),
            Delay::Pareto(least, exponent) => {
                (least as f64 * self.random.unit().powf(-1.0 / exponent)).min(60e9) as u64
            }
        };
        self.arrived_ns = self.arrived_ns.max(self.sent_ns + delay);
        (self.sent_ns, self.arrived_ns)
    }
}

#[derive(Default)]
struct Figures {
    suspected: u64,
    false_deaths: u64,
    long_silences: u64,
    median_ms: u64,
    p99_ms: u64,
}

fn measure(model: Model, settings: Settings, seed: u64) -> Figures {
    let mut figures = Figures::default();
    let mut path = Path::new(model, settings.interval_ns, seed);
    let mut detector = Detector::new(settings, 0);
    let mut times = Vec::new();
    let mut crash_ns = DAYS * DAY_NS / CRASHES;
    loop {
        let (sent, arrived) = path.next();
        if arrived > DAYS * DAY_NS {
            break;
        }
        if sent > crash_ns {
            // Had it crashed then: everything that was sent before has arrived, or would have.
            times.push(detection_ms(&detector, crash_ns));
            crash_ns += DAYS * DAY_NS / CRASHES + path.random.below(settings.interval_ns);
        }
        match detector.level(arrived) {
            Level::Alive => {}
            Level::Suspect => figures.suspected += u64::from(detector.was_heard()),
            Level::Dead => {
                figures.false_deaths += 1;
                figures.long_silences += u64::from(detector.silent_ns(arrived) >= TAKEOVER_AFTER_NS);
            }
        }
        detector.on_heartbeat(arrived);
    }
    times.sort_unstable();
    figures.median_ms = times[times.len() / 2];
    figures.p99_ms = times[times.len() * 99 / 100];
    figures
}

/// How long after the crash the node is held for dead.
fn detection_ms(detector: &Detector, crash_ns: u64) -> u64 {
    let (mut low, mut high) = (0, 600_000);
    while low < high {
        let middle = (low + high) / 2;
        if detector.level(crash_ns + middle * MS) == Level::Dead { high = middle } else { low = middle + 1 }
    }
    low
}

fn every(interval_ms: u64) -> Settings {
    Settings { interval_ns: interval_ms * MS, ..Settings::default() }
}

fn print(title: &str, settings: Settings) -> Vec<Figures> {
    println!("\n{title}\n");
    println!("| model | suspect | dead | silent 10 s | median | p99 |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let one = |(seed, model): (usize, &Model)| {
        let figures = measure(*model, settings, 1 + seed as u64);
        let a_day = |count: u64| count as f64 / DAYS as f64;
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} s | {:.2} s |",
            model.name,
            a_day(figures.suspected),
            a_day(figures.false_deaths),
            a_day(figures.long_silences),
            figures.median_ms as f64 / 1e3,
            figures.p99_ms as f64 / 1e3,
        );
        figures
    };
    MODELS.iter().enumerate().map(one).collect()
}

#[test]
fn with_the_defaults_sound_paths_are_never_dead_and_a_crash_is_seen_within_four_seconds() {
    let figures = print("Heartbeat 100 ms, pause 1 s, dead at 8:", every(100));
    for index in SOUND {
        assert_eq!(figures[index].false_deaths, 0, "{}", MODELS[index].name);
        assert!(figures[index].p99_ms < 4_000, "{}", MODELS[index].name);
    }
}

#[test]
fn with_seldom_heartbeats_sound_paths_are_never_dead() {
    let figures = print("Heartbeat 500 ms, pause 1 s, dead at 8:", every(500));
    for index in SOUND {
        assert_eq!(figures[index].false_deaths, 0, "{}", MODELS[index].name);
    }
}

#[test]
fn without_a_pause_a_stalled_host_is_dead() {
    let figures = print("Heartbeat 100 ms, no pause, dead at 8:", Settings { pause_ns: 0, ..every(100) });
    assert!(figures[9].false_deaths > 0);
}

#[test]
fn a_lower_threshold_is_faster_and_errs_more() {
    let low = Settings { dead: Suspicion::SUSPECT, ..every(100) };
    let (low, high) =
        (print("Heartbeat 100 ms, pause 1 s, dead at 3:", low), measure(MODELS[9], every(100), 10));
    assert!(low[9].median_ms < high.median_ms && low[9].false_deaths > high.false_deaths);
}

/// The paper's own: a normal tail, a window of 1000, nothing else.
#[derive(Default)]
struct Paper {
    intervals: std::collections::VecDeque<f64>,
    sum: f64,
    squares: f64,
    last_ns: u64,
}

impl Paper {
    /// A normal variable is so many deviations above its mean once in 10^8.
    const DEVIATIONS: f64 = 5.61;

    /// Whether it was dead when this heartbeat came.
    fn on_heartbeat(&mut self, now_ns: u64) -> bool {
        let interval = (now_ns - self.last_ns) as f64;
        self.last_ns = now_ns;
        let count = self.intervals.len().max(1) as f64;
        let mean = self.sum / count;
        let deviation = (self.squares / count - mean * mean).max(0.0).sqrt();
        let was_dead = self.intervals.len() == 1_000 && interval > mean + Self::DEVIATIONS * deviation;
        if self.intervals.len() == 1_000 {
            let oldest = self.intervals.pop_front().unwrap();
            self.sum -= oldest;
            self.squares -= oldest * oldest;
        }
        self.intervals.push_back(interval);
        self.sum += interval;
        self.squares += interval * interval;
        was_dead
    }
}

#[test]
fn the_normal_tail_alone_takes_loss_for_death() {
    println!("\nHeartbeat 100 ms, the paper's detector, dead at 8:\n\n| model | dead |\n| --- | ---: |");
    let mut deaths = [0; MODELS.len()];
    for (seed, model) in MODELS.iter().enumerate() {
        let mut path = Path::new(*model, 100 * MS, 1 + seed as u64);
        let mut paper = Paper::default();
        while path.arrived_ns < DAYS * DAY_NS {
            let (_, arrived) = path.next();
            deaths[seed] += u64::from(paper.on_heartbeat(arrived));
        }
        println!("| {} | {:.2} |", model.name, deaths[seed] as f64 / DAYS as f64);
    }
    assert!(deaths[5] > 1_000 && deaths[6] > 1_000);
}
