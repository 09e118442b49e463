//! What may stand behind the `?` of a path.

/// Events kept for `GET /v1/events`, and so the most that can be asked for.
pub const KEPT: usize = 10_000;
/// Entries that an answer has at most, unless more are asked for.
const LIMIT: usize = 1000;

/// Which events are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of this group only.
    pub group: Option<String>,
    /// Those after this number, the oldest of them first; else the newest ones.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { group: None, after: None, limit: LIMIT }
    }
}

impl Wanted {
    /// As asked for in a query, `group=NAME&after=SEQ&limit=N`; `since` is the old name of `after`.
    pub fn parse(query: Option<&str>) -> Option<Self> {
        let mut wanted = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=')? {
                ("group", name) => wanted.group = Some(name.to_owned()),
                ("after" | "since", number) => wanted.after = Some(number.parse().ok()?),
                ("limit", number) => {
                    wanted.limit = number.parse().ok().filter(|limit| (1..=KEPT).contains(limit))?;
                }
                _ => return None,
            }
        }
        Some(wanted)
    }
}

/// Where a reader wants to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Behind everything that was recorded so far.
    Now,
    /// At these numbers, by shard; where one is missing, at the oldest event.
    Numbers(Vec<u64>),
}

impl After {
    /// Reads `after=12,34`; `None` where it is not understood.
    pub fn parse(query: Option<&str>) -> Option<Self> {
        let Some(query) = query.filter(|query| !query.is_empty()) else { return Some(Self::Now) };
        let numbers = query.strip_prefix("after=")?.split(',').map(str::parse);
        numbers.collect::<Result<_, _>>().ok().map(Self::Numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_number_for_each_shard() {
        assert_eq!(After::parse(None), Some(After::Now));
        assert_eq!(After::parse(Some("after=12,34")), Some(After::Numbers(vec![12, 34])));
        for bad in ["after=", "after=1,x", "since=1", "after=-1"] {
            assert_eq!(After::parse(Some(bad)), None, "{bad}");
        }
    }
}
