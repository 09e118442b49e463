//! All figures of two runs: what changed, what cannot be compared, and what to think of it.

use anyhow::Result;
use serde::Serialize;

use super::difference::{Change, Difference};
use super::figure::Run;
use crate::report::table;

/// Where runs may differ so that their figures say less about the software.
const CIRCUMSTANCES: [(&str, &str); 10] = [
    ("suite", "/suite"),
    ("kernel", "/environment/kernel"),
    ("CPU", "/environment/cpu"),
    ("cores", "/environment/cores"),
    ("governor", "/environment/governor"),
    ("file system", "/environment/filesystem"),
    ("device", "/environment/device"),
    ("build", "/environment/build"),
    ("disks in memory", "/settings/in_memory"),
    ("seconds of each load", "/settings/seconds"),
];

/// The comparison.
#[derive(Debug, Serialize)]
pub struct Verdict {
    suite: &'static str,
    commits: [String; 2],
    repeats: [u64; 2],
    threshold_percent: f64,
    /// In how many of 1000 figures ranges lie apart although nothing has changed.
    by_chance_per_mille: f64,
    /// Circumstances that differ, in words.
    circumstances: Vec<String>,
    only_in_a: Vec<String>,
    only_in_b: Vec<String>,
    figures: Vec<Difference>,
}

impl Verdict {
    /// Compares all figures that both runs have.
    pub fn of(a: &Run, b: &Run, threshold_percent: f64) -> Self {
        let lacking = |of: &Run, other: &Run| {
            let lacking = of.figures.keys().filter(|name| !other.figures.contains_key(*name));
            lacking.cloned().collect()
        };
        let circumstances = CIRCUMSTANCES.iter().filter_map(|(what, pointer)| {
            let (a, b) = (a.text(pointer), b.text(pointer));
            (a != b).then(|| format!("{what}: {a} / {b}"))
        });
        let both = a.figures.iter().filter_map(|(name, a)| Some((name, *a, *b.figures.get(name)?)));
        Self {
            suite: "compare",
            commits: [a, b].map(|run| run.text("/environment/commit")),
            repeats: [a, b].map(Run::repeats),
            threshold_percent,
            by_chance_per_mille: 1000.0 * by_chance(a.repeats(), b.repeats()),
            circumstances: circumstances.collect(),
            only_in_a: lacking(a, b),
            only_in_b: lacking(b, a),
            figures: both.map(|(name, a, b)| Difference::of(name, a, b, threshold_percent)).collect(),
        }
    }

    /// Whether some figure is worse.
    pub fn is_worse(&self) -> bool {
        self.count(Change::Worse) > 0
    }

    fn count(&self, change: Change) -> usize {
        self.figures.iter().filter(|figure| figure.change == change).count()
    }

    /// One line.
    ///
    /// # Errors
    /// Never with these types; the serializer's refusal otherwise.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// For people; with `all` the figures that did not change, too.
    pub fn text(&self, all: bool) -> String {
        let [a, b] = &self.commits;
        let mut text = format!("commit {a} to {b}\n");
        for circumstance in &self.circumstances {
            text += &format!("** not alike: {circumstance} **\n");
        }
        let mut shown = table(&["figure", "before", "after", "change", ""]);
        for figure in self.figures.iter().filter(|figure| all || figure.change != Change::Same) {
            let percent =
                figure.change_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:+.1} %"));
            let word = match figure.change {
                Change::Same => "",
                Change::Better => "better",
                Change::Worse => "WORSE",
                Change::Different => "different",
            };
            shown.add_row(vec![&figure.name, &figure.a.text(), &figure.b.text(), &percent, word]);
        }
        if !shown.is_empty() {
            text += &format!("{shown}\n");
        }
        for (only, which) in [(&self.only_in_a, "first"), (&self.only_in_b, "second")] {
            if !only.is_empty() {
                text += &format!("{} figures are in the {which} run only\n", only.len());
            }
        }
        text + &self.summary()
    }

    fn summary(&self) -> String {
        let [a, b] = self.repeats;
        format!(
            "{} figures compared: {} worse, {} better, {} different, {} the same\n\
             changed means: the ranges lie apart and the medians differ by more than {} %\n\
             with {a} and {b} repeats the ranges of {:.0} in 1000 unchanged figures lie apart by chance\n",
            self.figures.len(),
            self.count(Change::Worse),
            self.count(Change::Better),
            self.count(Change::Different),
            self.count(Change::Same),
            self.threshold_percent,
            self.by_chance_per_mille,
        )
    }
}

/// How likely the ranges of `a` and `b` draws from one distribution lie apart: all of one before all of the other.
fn by_chance(a: u64, b: u64) -> f64 {
    let orders: f64 = (1..=a).map(|number| (b + number) as f64 / number as f64).product();
    (2.0 / orders).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(commit: &str, iops: f64, more: &serde_json::Value) -> Run {
        let spread = |median: f64| json!({ "median": median, "min": median - 1.0, "max": median + 1.0 });
        Run::of(json!({
            "suite": "quick",
            "environment": { "commit": commit, "kernel": "6.1" },
            "settings": { "repeats": 3 },
            "path": { "x": { "iops": spread(iops), "mbps": spread(50.0), "more": more } },
        }))
    }

    #[test]
    fn only_what_changed_is_shown_unless_all_is_wanted() {
        let verdict = Verdict::of(&run("aaa", 100.0, &json!(1)), &run("bbb", 80.0, &json!(1)), 5.0);
        let text = verdict.text(false);
        assert!(verdict.is_worse() && text.contains("aaa to bbb"), "{text}");
        assert!(text.contains("path.x.iops") && text.contains("-20.0 %") && text.contains("WORSE"), "{text}");
        assert!(!text.contains("path.x.mbps") && verdict.text(true).contains("path.x.mbps"), "{text}");
        assert!(text.contains("2 figures compared: 1 worse, 0 better"), "{text}");
    }

    #[test]
    fn a_run_with_itself_shows_nothing() {
        let same = || run("aaa", 100.0, &json!(1));
        let verdict = Verdict::of(&same(), &same(), 0.0);
        assert!(!verdict.is_worse() && !verdict.text(false).contains("path.x"));
    }

    #[test]
    fn figures_and_circumstances_of_one_run_only_are_named() {
        let more = json!({ "median": 1.0, "min": 1.0, "max": 1.0 });
        let mut other = run("bbb", 100.0, &json!(1));
        other.value["environment"]["kernel"] = json!("6.2");
        let verdict = Verdict::of(&run("aaa", 100.0, &more), &other, 5.0);
        assert_eq!(verdict.only_in_a, ["path.x.more"]);
        assert_eq!(verdict.circumstances, ["kernel: 6.1 / 6.2"]);
        assert!(!verdict.is_worse() && verdict.json().unwrap().contains("\"by_chance_per_mille\":100"));
    }

    #[test]
    fn three_draws_lie_apart_from_three_in_one_of_ten() {
        assert!((by_chance(3, 3) - 0.1).abs() < 1e-12);
        assert!((by_chance(5, 5) - 2.0 / 252.0).abs() < 1e-12);
        assert!((by_chance(1, 1) - 1.0).abs() < 1e-12);
    }
}
