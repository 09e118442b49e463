//! The loads in a run's JSON, as pictures need them: which belong into one, and what they have shown.

use serde_json::Value;

use crate::compare::figure::spread;
use crate::figures::Spread;

/// One load, on one server where there are several.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The load without its depth: what belongs into one picture.
    pub family: String,
    /// The load's name.
    pub name: String,
    /// Who served it; empty where there is only one.
    pub on: String,
    /// For people: what the load is.
    pub title: String,
    /// Operations under way.
    pub depth: Option<f64>,
    /// Operations a second.
    pub iops: Option<Spread>,
    /// Percentile and microseconds.
    pub percentiles: Vec<(f64, f64)>,
    /// Seconds and operations a second.
    pub timeline: Vec<(f64, f64)>,
    /// CPU time for each operation, by process.
    pub cpu_us: Vec<(String, f64)>,
}

impl Entry {
    /// All in a run: from its list `loads`, or the map `path` where there is no list.
    pub fn all(run: &Value) -> Vec<Self> {
        let text = |value: &Value, field: &str| {
            value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        match (run.get("loads"), run.get("path")) {
            (Some(Value::Array(list)), _) => {
                let named = list.iter().filter(|load| load.get("name").is_some_and(Value::is_string));
                named
                    .map(|load| Self::of(&text(load, "name"), &text(load, "on"), &text(load, "title"), load))
                    .collect()
            }
            (_, Some(Value::Object(map))) => {
                map.iter().map(|(name, load)| Self::of(name, "", name, load)).collect()
            }
            (_, _) => Vec::new(),
        }
    }

    fn of(name: &str, on: &str, title: &str, load: &Value) -> Self {
        let (family, depth) = match name.rsplit_once("_qd") {
            Some((family, depth)) => (family, depth.parse().ok()),
            None => (name, None),
        };
        let title = if title.is_empty() { name } else { title };
        let costs = load.get("cpu_us").and_then(Value::as_object);
        let costs = costs.into_iter().flatten();
        Self {
            family: family.to_owned(),
            name: name.to_owned(),
            on: on.to_owned(),
            title: title.to_owned(),
            depth: load.get("depth").and_then(Value::as_f64).or(depth),
            iops: load.get("iops").and_then(spread),
            percentiles: points(load.get("percentiles")),
            timeline: points(load.get("timeline")),
            cpu_us: costs.filter_map(|(part, cost)| Some((part.clone(), spread(cost)?.median))).collect(),
        }
    }

    /// What tells it from others in the same picture.
    pub fn label(&self) -> String {
        match (&self.depth, self.on.as_str()) {
            (Some(depth), "") => format!("depth {depth}"),
            (None, "") => self.name.clone(),
            (_, on) => on.to_owned(),
        }
    }
}

/// Pairs of numbers; whatever else is there is left out.
fn points(list: Option<&Value>) -> Vec<(f64, f64)> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|point| Some((point.get(0)?.as_f64()?, point.get(1)?.as_f64()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn loads_are_read_from_the_list_and_their_depth_is_no_part_of_the_family() {
        let spread = json!({ "median": 5.0, "min": 4.0, "max": 6.0 });
        let run = json!({
            "loads": [
                { "name": "write_4k_qd8", "title": "writes", "on": "quorum", "depth": 8, "iops": spread,
                  "percentiles": [[0, 10], [50, 20.5], ["x"]], "timeline": [[0.1, 5]],
                  "cpu_us": { "near": spread, "far": null } },
                { "no": "name" },
            ],
            "path": { "other": {} },
        });
        let all = Entry::all(&run);
        assert_eq!(all.len(), 1);
        let entry = &all[0];
        assert_eq!(
            (entry.family.as_str(), entry.depth, entry.label().as_str()),
            ("write_4k", Some(8.0), "quorum")
        );
        assert_eq!(entry.percentiles, [(0.0, 10.0), (50.0, 20.5)]);
        assert_eq!(entry.cpu_us, [("near".to_owned(), 5.0)]);
    }

    #[test]
    fn a_map_does_where_there_is_no_list() {
        let run = json!({ "path": { "randwrite_4k_qd32": { "iops": null } } });
        let all = Entry::all(&run);
        assert_eq!((all[0].family.as_str(), all[0].label().as_str()), ("randwrite_4k", "depth 32"));
        assert_eq!(Entry::all(&json!({ "suite": "x" })), []);
    }
}
