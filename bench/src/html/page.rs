//! The page: one file that needs no network and no script, in light and in dark.

use std::fmt::Write;

use serde_json::Value;

use super::entry::Entry;
use super::plots;
use super::svg::escaped;
use crate::compare::figure::Run;

const STYLE: &str = include_str!("style.css");

/// A run as a page.
pub fn page(run: &Run) -> String {
    let suite = run.text("/suite");
    let entries = Entry::all(&run.value);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>midspan-bench {0}, commit {1}</title>\n<style>\n{STYLE}</style></head>\n<body>\n\
         <h1>midspan-bench {0}</h1>\n{2}{3}",
        escaped(&suite),
        escaped(&run.text("/environment/commit")),
        surroundings(run),
        warnings(&run.value),
    );
    html += &goals(&run.value);
    for (title, what, charts) in [
        (
            "Ratios",
            "Each is taken inside a repeat; the bar is the median, the thin line the range, the thick mark a goal.",
            plots::ratios(&run.value),
        ),
        (
            "Latency",
            "What part of all operations took no longer than that. Every step to the right is another nine.",
            plots::latencies(&entries),
        ),
        (
            "Throughput against depth",
            "Operations a second, medians over the repeats.",
            plots::depths(&entries),
        ),
        ("Throughput", "Operations a second: median and range.", plots::rates(&entries)),
        ("Over time", "Operations a second while the load ran.", plots::timelines(&entries)),
        ("CPU time", "User and system time for each operation, by process.", plots::costs(&entries)),
    ] {
        if !charts.is_empty() {
            let _ = write!(html, "<h2>{title}</h2>\n<p>{what}</p>\n<div class=\"charts\">\n{charts}</div>\n");
        }
    }
    html + &all_figures(run) + "</body></html>\n"
}

/// Where and how: everything in `environment` and `settings` that has a value.
fn surroundings(run: &Run) -> String {
    let mut list = String::from("<dl>");
    for part in ["environment", "settings"] {
        let fields = run.value.get(part).and_then(Value::as_object);
        for (name, value) in fields.into_iter().flatten() {
            let text = shown(value);
            if !text.is_empty() {
                let _ =
                    write!(list, "<dt>{}</dt><dd>{}</dd>", escaped(&name.replace('_', " ")), escaped(&text));
            }
        }
    }
    for (name, pointer) in
        [("cores busy with others", "/others_cores"), ("kept back by the hypervisor", "/stolen_cores")]
    {
        if let Some(spread) = run.value.pointer(pointer).and_then(crate::compare::figure::spread) {
            let _ = write!(list, "<dt>{name}</dt><dd>{}</dd>", escaped(&spread.text()));
        }
    }
    list + "</dl>\n"
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let parts = fields.iter().filter(|(_, value)| !shown(value).is_empty());
            let parts = parts.map(|(name, value)| format!("{} {}", name.replace('_', " "), shown(value)));
            parts.collect::<Vec<_>>().join(", ")
        }
    }
}

fn warnings(run: &Value) -> String {
    let mut text = String::new();
    for missing in run.get("missing").and_then(Value::as_array).into_iter().flatten() {
        let field = |pointer: &str| missing.pointer(pointer).map(shown).unwrap_or_default();
        let _ = writeln!(
            text,
            "<p class=\"warning\">{} did not take part: {} is not installed (Debian: {})</p>",
            escaped(&field("/peer")),
            escaped(&field("/program/name")),
            escaped(&field("/program/package"))
        );
    }
    for warning in run.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        let _ = writeln!(text, "<p class=\"warning\">{}</p>", escaped(&shown(warning)));
    }
    text
}

fn goals(run: &Value) -> String {
    let goals = run.get("goals").and_then(Value::as_array);
    let mut rows = String::new();
    for goal in goals.into_iter().flatten() {
        let number = |field: &str| goal.get(field).and_then(Value::as_f64);
        let (Some(wanted), Some(what)) = (number("goal"), goal.get("what").map(shown)) else { continue };
        let is_low_good = goal.get("is_low_good").and_then(Value::as_bool).unwrap_or(false);
        let (class, word) = match goal.get("reached").and_then(Value::as_bool) {
            Some(true) => ("reached", "reached"),
            Some(false) => ("missed", "not reached"),
            None => ("", "not measured"),
        };
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{} {wanted}</td><td>{}</td><td class=\"{class}\">{word}</td></tr>",
            escaped(&what),
            if is_low_good { "≤" } else { "≥" },
            number("found").map_or_else(|| "–".to_owned(), crate::figures::digits),
        );
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<h2>Goals</h2>\n<div class=\"scroll\"><table><tr><th>what</th><th>wanted</th><th>found</th><th></th></tr>{rows}\
         </table></div>\n"
    )
}

fn all_figures(run: &Run) -> String {
    let mut rows = String::new();
    for (name, spread) in &run.figures {
        let [median, min, max] = [spread.median, spread.min, spread.max].map(crate::figures::digits);
        let _ =
            write!(rows, "<tr><td>{}</td><td>{median}</td><td>{min}</td><td>{max}</td></tr>", escaped(name));
    }
    format!(
        "<details><summary>All {} figures</summary><div class=\"scroll\"><table>\
         <tr><th>figure</th><th>median</th><th>least</th><th>most</th></tr>{rows}</table></div></details>\n",
        run.figures.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_holds_everything_itself_and_nothing_of_a_run_is_markup() {
        let range = json!({ "median": 2.0, "min": 1.0, "max": 3.0 });
        let run = Run::of(json!({
            "suite": "peers",
            "environment": { "commit": "abc", "kernel": "<script>alert(1)</script>", "governor": "" },
            "missing": [{ "peer": "nbdkit", "program": { "name": "nbdkit", "package": "nbdkit" } }],
            "goals": [{ "ratio": "a_vs_quorum", "what": "a", "goal": 4.0, "found": 2.0, "reached": false, "is_low_good": false }],
            "ratio_ranges": { "a_vs_quorum": range },
        }));
        let html = page(&run);
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
        for outside in ["http:", "https:", "src=", "<link", "@import"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(
            html.contains("not reached") && html.contains("≥ 4") && html.contains("nbdkit did not take part")
        );
        assert!(!html.contains("<dt>governor"), "what is empty is left out");
        assert!(html.contains("prefers-color-scheme: dark") && html.contains("width=device-width"));
    }

    #[test]
    fn sections_without_anything_to_show_are_left_out() {
        let html = page(&Run::of(json!({ "suite": "load" })));
        assert!(!html.contains("<h2>"), "{html}");
    }
}
