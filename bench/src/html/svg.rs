//! The few shapes that pictures are made of, as SVG text. Colours come from the page's style, so that they follow its theme.

use std::fmt::Write;

/// A picture under construction.
#[derive(Debug)]
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text stands relative to its place.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// It is centred there.
    Middle,
    /// It ends there.
    End,
}

impl Svg {
    /// An empty one, in units of which a phone's width has about 480.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// A straight line of a style's class.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(&format!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// A line through points; `hint` appears when one points at it.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)], hint: &str) {
        let mut way = String::new();
        for (number, (x, y)) in points.iter().enumerate() {
            let step = if number == 0 { 'M' } else { 'L' };
            let _ = write!(way, "{step}{x:.1} {y:.1}");
        }
        self.put(&format!("<path class=\"{class}\" d=\"{way}\"><title>{}</title></path>", escaped(hint)));
    }

    /// A filled rectangle between two corners.
    pub fn bar(&mut self, class: &str, from: (f64, f64), to: (f64, f64), hint: &str) {
        let (x, y) = (from.0.min(to.0), from.1.min(to.1));
        let (width, height) = ((from.0 - to.0).abs(), (from.1 - to.1).abs());
        self.put(&format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\">\
             <title>{}</title></rect>",
            escaped(hint)
        ));
    }

    /// A dot.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), hint: &str) {
        self.put(&format!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{}</title></circle>",
            escaped(hint)
        ));
    }

    /// A text.
    pub fn text(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.put(&format!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escaped(text)
        ));
    }

    /// The whole, which `label` describes to those who do not see it.
    pub fn finish(self, label: &str) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">{body}</svg>",
            escaped(label)
        )
    }

    fn put(&mut self, shape: &str) {
        self.body += shape;
    }
}

/// Text that cannot be taken for markup.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text("label", Anchor::Start, (1.0, 2.0), "<script>\"&");
        svg.path("s0", &[(0.0, 0.0), (1.0, 1.5)], "a<b");
        let text = svg.finish("\"><x");
        assert!(!text.contains("<script") && !text.contains("<x") && text.contains("a&lt;b"), "{text}");
        assert!(text.contains("M0.0 0.0L1.0 1.5"), "{text}");
    }
}
