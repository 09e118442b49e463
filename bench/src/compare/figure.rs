//! The figures in a run's JSON: everything that has a median and a range, by its place.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::figures::Spread;

/// Says how a machine was, not how the software is.
const NO_FIGURES: [&str; 4] = ["others_cores", "stolen_cores", "environment", "settings"];

/// One run.
#[derive(Debug)]
pub struct Run {
    /// All that its JSON holds.
    pub value: Value,
    /// Figures by their place in it, such as `path.randwrite_4k_qd1.p50_us`.
    pub figures: BTreeMap<String, Spread>,
}

impl Run {
    /// Reads what a suite has written with `--json`: the last line of a file.
    ///
    /// # Errors
    /// When the file is not there, or its last line is no run.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        let value: Value = serde_json::from_str(line)
            .with_context(|| format!("{}: the last line is not the JSON of a run", path.display()))?;
        ensure!(
            value.get("suite").is_some_and(Value::is_string),
            "{}: this is JSON, but not of a suite of midspan-bench: it has no `suite`",
            path.display()
        );
        Ok(Self::of(value))
    }

    /// Of JSON that is already here.
    pub fn of(value: Value) -> Self {
        let mut figures = BTreeMap::new();
        if let Value::Object(fields) = &value {
            // Suites that have both put the same figures into the map and the list.
            let is_twice = |name: &str| name == "loads" && fields.contains_key("path");
            for (name, inner) in fields {
                if !NO_FIGURES.contains(&name.as_str()) && !is_twice(name) {
                    collect(name, inner, &mut figures);
                }
            }
        }
        Self { value, figures }
    }

    /// A text somewhere in it; empty where there is none.
    pub fn text(&self, pointer: &str) -> String {
        match self.value.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    /// How often each figure was measured.
    pub fn repeats(&self) -> u64 {
        self.value.pointer("/settings/repeats").and_then(Value::as_u64).unwrap_or(1)
    }
}

/// A figure, if the value is one.
pub fn spread(value: &Value) -> Option<Spread> {
    let number = |name: &str| value.get(name).and_then(Value::as_f64);
    Some(Spread { median: number("median")?, min: number("min")?, max: number("max")? })
}

fn collect(place: &str, value: &Value, figures: &mut BTreeMap<String, Spread>) {
    if let Some(spread) = spread(value) {
        figures.insert(place.to_owned(), spread);
    } else if let Value::Object(fields) = value {
        for (name, inner) in fields {
            collect(&format!("{place}.{name}"), inner, figures);
        }
    } else if let Value::Array(list) = value {
        for inner in list {
            let text = |field: &str| inner.get(field).and_then(Value::as_str);
            if let Some(name) = text("name") {
                let on = text("on").map_or_else(String::new, |on| format!(".{on}"));
                collect(&format!("{place}.{name}{on}"), inner, figures);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_are_found_wherever_they_are_and_the_machine_is_none() {
        let spread = json!({ "median": 2.0, "min": 1.0, "max": 3.0 });
        let run = Run::of(json!({
            "suite": "quick",
            "path": { "randwrite_4k_qd1": { "p50_us": spread, "depth": 1, "p99_us": null } },
            "others_cores": spread,
            "ratios": { "a": 2.0 },
            "ratio_ranges": { "a": spread },
            "settings": { "repeats": 5 },
            "loads": [{ "name": "randwrite_4k_qd1", "p50_us": spread }],
        }));
        let names: Vec<&String> = run.figures.keys().collect();
        assert_eq!(names, ["path.randwrite_4k_qd1.p50_us", "ratio_ranges.a"]);
        assert_eq!(run.figures["ratio_ranges.a"], Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!((run.repeats(), run.text("/suite").as_str()), (5, "quick"));
    }

    #[test]
    fn loads_in_a_list_have_the_place_of_their_name_and_server() {
        let spread = json!({ "median": 2.0, "min": 1.0, "max": 3.0 });
        let loads =
            json!([{ "name": "a", "on": "quorum", "iops": spread }, { "name": "b", "iops": spread }, 7]);
        let run = Run::of(json!({ "suite": "peers", "loads": loads }));
        let names: Vec<&String> = run.figures.keys().collect();
        assert_eq!(names, ["loads.a.quorum.iops", "loads.b.iops"]);
    }

    #[test]
    fn what_is_no_run_is_refused_with_its_name() {
        let path = std::env::temp_dir().join(format!("midspan-run-{}", std::process::id()));
        std::fs::write(&path, "a table\n{\"suite\":\"x\"}\n\n").unwrap();
        assert_eq!(Run::read(&path).unwrap().text("/suite"), "x");
        for (text, said) in
            [("a table\n", "not the JSON"), ("{\"a\":1}\n", "no `suite`"), ("", "not the JSON")]
        {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", Run::read(&path).unwrap_err());
            assert!(error.contains(said) && error.contains("midspan-run-"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(format!("{:#}", Run::read(&path).unwrap_err()).contains("midspan-run-"));
    }
}
