//! Bars with ranges: ratios to a reference, rates and costs side by side.

use super::chart::{COLOURS, legend};
use super::scale::{Scale, Spacing};
use super::svg::{Anchor, Svg, escaped};
use super::unit::Unit;
use crate::figures::Spread;

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Above it.
    pub name: String,
    /// How long it is, and its range.
    pub spread: Spread,
    /// What is wanted: a mark across it.
    pub goal: Option<f64>,
    /// Whether it is good: decides its colour; `None`: nobody says.
    pub is_good: Option<bool>,
}

/// Bars under one title.
#[derive(Clone, Debug)]
pub struct Bars {
    /// Above them.
    pub title: String,
    /// What they are.
    pub unit: Unit,
    /// Ratios: bars begin at 1, on a logarithmic axis, and what is above and below is told apart.
    pub are_ratios: bool,
    /// The bars.
    pub bars: Vec<Bar>,
}

const WIDTH: f64 = 480.0;
const SIDE: f64 = 8.0;
/// A bar with its name above it.
const ROW: f64 = 40.0;
/// Below the last bar, for the marks of the axis.
const FOOT: f64 = 22.0;

impl Bars {
    /// As a figure; nothing without a bar.
    pub fn html(&self) -> String {
        if self.bars.is_empty() {
            return String::new();
        }
        let height = ROW * self.bars.len() as f64 + FOOT;
        let mut svg = Svg::new(WIDTH, height);
        let spacing = if self.are_ratios { Spacing::Log } else { Spacing::Linear };
        let reference = if self.are_ratios { 1.0 } else { 0.0 };
        let values = self.bars.iter().flat_map(|bar| {
            [Some(bar.spread.min), Some(bar.spread.max), bar.goal, Some(reference)].into_iter().flatten()
        });
        let scale = Scale::over(spacing, values, SIDE, WIDTH - SIDE);
        for mark in scale.marks() {
            let class = if self.are_ratios && mark.total_cmp(&1.0).is_eq() { "axis" } else { "grid" };
            svg.line(class, (scale.place(mark), 4.0), (scale.place(mark), height - FOOT));
            let place = scale.place(mark).clamp(SIDE + 8.0, WIDTH - SIDE - 12.0);
            svg.text("mark", Anchor::Middle, (place, height - 6.0), &self.unit.text(mark));
        }
        for (number, bar) in self.bars.iter().enumerate() {
            self.draw(&mut svg, &scale, bar, ROW * number as f64, scale.place(reference));
        }
        format!(
            "<figure class=\"bars\"><figcaption>{}</figcaption>{}</figure>\n",
            escaped(&self.title),
            svg.finish(&self.title)
        )
    }

    fn draw(&self, svg: &mut Svg, scale: &Scale, bar: &Bar, top: f64, origin: f64) {
        let Spread { median, min, max } = bar.spread;
        let class = match bar.is_good {
            Some(true) => "bar good",
            Some(false) => "bar bad",
            None => "bar s0",
        };
        let (above, below) = (top + 20.0, top + 34.0);
        let range =
            format!("{} [{} .. {}]", self.unit.text(median), self.unit.text(min), self.unit.text(max));
        svg.text("name", Anchor::Start, (SIDE, top + 14.0), &bar.name);
        svg.text("value", Anchor::End, (WIDTH - SIDE, top + 14.0), &self.unit.text(median));
        svg.bar(class, (origin, above), (scale.place(median), below), &range);
        if min < max {
            let middle = f64::midpoint(above, below);
            svg.line("whisker", (scale.place(min), middle), (scale.place(max), middle));
            for end in [min, max] {
                svg.line("whisker", (scale.place(end), above + 3.0), (scale.place(end), below - 3.0));
            }
        }
        if let Some(goal) = bar.goal {
            svg.line("goal", (scale.place(goal), above - 3.0), (scale.place(goal), below + 3.0));
        }
    }
}

/// Bars that are sums: each part in its own colour.
#[derive(Clone, Debug)]
pub struct Stacks {
    /// Above them.
    pub title: String,
    /// What they are.
    pub unit: Unit,
    /// Names of the parts, in the order of the colours.
    pub parts: Vec<String>,
    /// Each bar with as many values as there are parts.
    pub stacks: Vec<(String, Vec<f64>)>,
}

impl Stacks {
    /// As a figure; nothing without a bar.
    pub fn html(&self) -> String {
        if self.stacks.is_empty() {
            return String::new();
        }
        let height = ROW * self.stacks.len() as f64 + FOOT;
        let mut svg = Svg::new(WIDTH, height);
        let sums = self.stacks.iter().map(|(_, values)| values.iter().sum());
        let scale = Scale::over(Spacing::Linear, sums, SIDE, WIDTH - SIDE);
        for mark in scale.marks() {
            svg.line("grid", (scale.place(mark), 4.0), (scale.place(mark), height - FOOT));
            let place = scale.place(mark).clamp(SIDE + 8.0, WIDTH - SIDE - 12.0);
            svg.text("mark", Anchor::Middle, (place, height - 6.0), &self.unit.text(mark));
        }
        for (number, (name, values)) in self.stacks.iter().enumerate() {
            let top = ROW * number as f64;
            svg.text("name", Anchor::Start, (SIDE, top + 14.0), name);
            svg.text("value", Anchor::End, (WIDTH - SIDE, top + 14.0), &self.unit.text(values.iter().sum()));
            let mut sum = 0.0;
            for (colour, (value, part)) in values.iter().zip(&self.parts).enumerate() {
                let hint = format!("{part}: {}", self.unit.text(*value));
                let (from, to) = (scale.place(sum), scale.place(sum + value));
                svg.bar(&format!("bar s{}", colour % COLOURS), (from, top + 20.0), (to, top + 34.0), &hint);
                sum += value;
            }
        }
        let parts: Vec<&str> = self.parts.iter().map(String::as_str).collect();
        format!(
            "<figure class=\"bars\"><figcaption>{}</figcaption>{}{}</figure>\n",
            escaped(&self.title),
            svg.finish(&self.title),
            legend(&parts)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(median: f64, min: f64, max: f64) -> Bar {
        let spread = Spread { median, min, max };
        Bar { name: "x".to_owned(), spread, goal: Some(4.0), is_good: Some(false) }
    }

    #[test]
    fn a_ratio_begins_at_one_and_shows_its_range_and_goal() {
        let bars = vec![bar(0.5, 0.4, 0.6), bar(2.0, 2.0, 2.0)];
        let html = Bars { title: "Ratios".to_owned(), unit: Unit::Plain, are_ratios: true, bars }.html();
        assert_eq!(html.matches("class=\"whisker\"").count(), 3, "{html}");
        assert_eq!(html.matches("class=\"goal\"").count(), 2);
        // The axis' line at 1 is where the first bar ends and the second begins.
        let one = html.split("class=\"axis\" x1=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(html.contains(&format!("<rect class=\"bar bad\" x=\"{one}\"")), "{html}");
    }

    #[test]
    fn parts_of_a_stack_lie_one_behind_the_other() {
        let stacks = vec![("qd1".to_owned(), vec![50.0, 50.0])];
        let parts = vec!["primary".to_owned(), "relay".to_owned()];
        let html = Stacks { title: "CPU".to_owned(), unit: Unit::Microseconds, parts, stacks }.html();
        assert!(html.contains("bar s0\" x=\"8.0\"") && html.contains("width=\"232.0\""), "{html}");
        assert!(html.contains("bar s1\" x=\"240.0\""), "{html}");
        assert!(html.contains(">100 µs<"), "{html}");
    }

    #[test]
    fn nothing_is_drawn_without_bars() {
        let bars = Bars { title: String::new(), unit: Unit::Plain, are_ratios: false, bars: Vec::new() };
        assert_eq!(bars.html(), "");
    }
}
