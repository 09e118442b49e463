//! The cores that a node's shards are pinned to where its configuration names none.

/// One core of those that this process may use. Nodes with numbers one behind the other, as in a trial of all three on one machine,
/// get different ones as far as there are any: on one core they would wait for each other.
pub fn of_node(id: u16) -> usize {
    pick(&allowed(), id)
}

/// The first core that this process may use.
pub fn first() -> usize {
    allowed().first().copied().unwrap_or(0)
}

fn pick(allowed: &[usize], id: u16) -> usize {
    let turn = usize::from(id.saturating_sub(1)) % allowed.len().max(1);
    allowed.get(turn).copied().unwrap_or(0)
}

fn allowed() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    listed(list)
}

/// `0-2,5` as 0, 1, 2, 5.
fn listed(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cores_is_read_with_its_ranges() {
        assert_eq!(listed("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(listed("7"), [7]);
        assert_eq!(listed(""), [0; 0]);
    }

    #[test]
    fn nodes_one_behind_the_other_get_different_cores() {
        assert_eq!([1, 2, 3].map(|id| pick(&[4, 6], id)), [4, 6, 4]);
        assert_eq!([1, 2, 3].map(|id| pick(&[0, 1, 2, 3], id)), [0, 1, 2]);
        assert_eq!(pick(&[], 7), 0);
    }
}
