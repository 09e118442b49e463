//! A chart of lines: latency over percentiles, rate over depth, rate over time.

use super::scale::{Scale, Spacing};
use super::svg::{Anchor, Svg, escaped};
use super::unit::Unit;

/// How many colours the style has; further lines begin again with the first.
pub const COLOURS: usize = 8;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// One of the two axes.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// How values are laid out.
    pub spacing: Spacing,
    /// What values are.
    pub unit: Unit,
    /// What it shows.
    pub title: &'static str,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From below to above.
    pub y: Axis,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Whether points are marked: few, that were measured one by one.
    pub has_dots: bool,
}

/// Size of a chart, and of the room for marks around it.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 46.0;

impl Chart {
    /// The chart as a figure with title and legend; nothing without a line of two points.
    pub fn html(&self) -> String {
        if self.lines.iter().all(|line| line.points.len() < 2) {
            return String::new();
        }
        let mut svg = Svg::new(WIDTH, HEIGHT);
        let all = || self.lines.iter().flat_map(|line| line.points.iter());
        let x = Scale::over(self.x.spacing, all().map(|(x, _)| *x), LEFT, WIDTH - RIGHT);
        let y = Scale::over(self.y.spacing, all().map(|(_, y)| *y), HEIGHT - BOTTOM, TOP);
        self.draw_axes(&mut svg, &x, &y);
        for (number, line) in self.lines.iter().enumerate() {
            let class = format!("line s{}", number % COLOURS);
            let points: Vec<(f64, f64)> =
                line.points.iter().map(|(a, b)| (x.place(*a), y.place(*b))).collect();
            svg.path(&class, &points, &line.name);
            if self.has_dots {
                let dot = format!("dot s{}", number % COLOURS);
                for (place, (a, b)) in points.iter().zip(&line.points) {
                    let hint = format!("{}: {} at {}", line.name, self.y.unit.text(*b), self.x.unit.text(*a));
                    svg.dot(&dot, *place, &hint);
                }
            }
        }
        let names: Vec<&str> = self.lines.iter().map(|line| line.name.as_str()).collect();
        format!(
            "<figure><figcaption>{}</figcaption>{}{}</figure>\n",
            escaped(&self.title),
            svg.finish(&format!("{}: {} over {}", self.title, self.y.title, self.x.title)),
            legend(&names)
        )
    }

    fn draw_axes(&self, svg: &mut Svg, x: &Scale, y: &Scale) {
        let (floor, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for mark in y.marks() {
            let place = y.place(mark);
            svg.line("grid", (LEFT, place), (right, place));
            svg.text("mark", Anchor::End, (LEFT - 6.0, place + 4.0), &self.y.unit.text(mark));
        }
        for mark in x.marks() {
            let place = x.place(mark);
            svg.line("grid", (place, TOP), (place, floor));
            svg.text("mark", Anchor::Middle, (place, floor + 17.0), &self.x.unit.text(mark));
        }
        svg.line("axis", (LEFT, floor), (right, floor));
        svg.text("title", Anchor::Start, (4.0, 14.0), self.y.title);
        svg.text("title", Anchor::End, (right, HEIGHT - 8.0), self.x.title);
    }
}

/// Names beside their colours.
pub fn legend(names: &[&str]) -> String {
    let mut list = String::from("<ul class=\"legend\">");
    for (number, name) in names.iter().enumerate() {
        list += &format!("<li><i class=\"s{}\"></i>{}</li>", number % COLOURS, escaped(name));
    }
    list + "</ul>"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let x = Axis { spacing: Spacing::Nines, unit: Unit::Percent, title: "percentile" };
        let y = Axis { spacing: Spacing::Log, unit: Unit::Microseconds, title: "latency" };
        let lines = vec![Line { name: "a & b".to_owned(), points }];
        Chart { title: "Latency".to_owned(), x, y, lines, has_dots: false }
    }

    #[test]
    fn a_line_goes_from_one_side_of_the_chart_to_the_other() {
        let html = chart(vec![(0.0, 100.0), (99.0, 1000.0), (99.999, 9000.0)]).html();
        assert!(html.contains("M58.0 ") && html.contains("L466.0 "), "{html}");
        assert!(html.contains("a &amp; b") && html.contains("99.9 %") && html.contains("1 ms"), "{html}");
    }

    #[test]
    fn a_chart_without_lines_is_left_out() {
        assert_eq!(chart(Vec::new()).html(), "");
        assert_eq!(chart(vec![(50.0, 1.0)]).html(), "");
    }
}
