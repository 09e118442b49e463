//! Which lines of a configuration are which table's.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table that has a header, `[[group]]` or one inside it such as `[[group.volume]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// The key at the top of the file.
    pub key: String,
    /// Which of the tables of that key it is, or is inside of.
    pub index: usize,
    /// Its bytes: whole lines. Comments directly above the header or directly below the last key are the table's, and so are
    /// empty lines that follow.
    pub lines: Range<usize>,
}

/// All tables that have headers, in the order of the file.
pub(super) fn tables(text: &str) -> Vec<Table> {
    let Ok(document) = DeTable::parse(text) else { return Vec::new() };
    let mut tables = Vec::new();
    for (key, value) in document.into_inner() {
        let mut add = |index: usize, value: &Spanned<DeValue<'_>>| {
            let mut headers = Vec::new();
            find_headers(text, value, &mut headers);
            let table = |at| Table { key: key.get_ref().to_string(), index, lines: at..at };
            tables.extend(headers.into_iter().map(table));
        };
        match value.get_ref() {
            DeValue::Array(array) => array.iter().enumerate().for_each(|(index, value)| add(index, value)),
            DeValue::Table(_) => add(0, &value),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
    tables.sort_by_key(|table| table.lines.start);
    let lines = Lines::of(text);
    let mut next = lines.0.len();
    for table in tables.iter_mut().rev() {
        let first = lines.above(table.lines.start);
        table.lines = lines.start(first)..lines.start(lines.behind(first, next));
        next = first;
    }
    tables
}

/// Where headers stand, at any depth.
fn find_headers(text: &str, value: &Spanned<DeValue<'_>>, found: &mut Vec<usize>) {
    let start = value.span().start;
    match value.get_ref() {
        DeValue::Table(table) => {
            if text.get(start..).is_some_and(|rest| rest.starts_with('[')) {
                found.push(start);
            }
            table.values().for_each(|inner| find_headers(text, inner, found));
        }
        DeValue::Array(array) => array.iter().for_each(|inner| find_headers(text, inner, found)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

/// The lines of a text: where each starts, and what it is.
struct Lines(Vec<(usize, Line)>, usize);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Empty,
    Comment,
    Code,
}

impl Lines {
    fn of(text: &str) -> Self {
        let mut at = 0;
        let line = |line: &str| {
            let (start, trimmed) = (at, line.trim());
            at += line.len();
            let kind = match trimmed.chars().next() {
                None => Line::Empty,
                Some('#') => Line::Comment,
                Some(_) => Line::Code,
            };
            (start, kind)
        };
        Self(text.split_inclusive('\n').map(line).collect(), text.len())
    }

    fn is(&self, number: usize, kind: Line) -> bool {
        self.0.get(number).is_some_and(|(_, found)| *found == kind)
    }

    /// Where a line starts; the end of the text behind the last one.
    fn start(&self, number: usize) -> usize {
        self.0.get(number).map_or(self.1, |(start, _)| *start)
    }

    /// The first of the comments directly above the line of this offset, else that line.
    fn above(&self, offset: usize) -> usize {
        let mut first = self.0.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        while let Some(above) = first.checked_sub(1).filter(|above| self.is(*above, Line::Comment)) {
            first = above;
        }
        first
    }

    /// The line behind a table that begins with line `first` and ends before `next`.
    fn behind(&self, first: usize, next: usize) -> usize {
        let mut end =
            (first..next).rev().find(|number| self.is(*number, Line::Code)).map_or(first, |last| last + 1);
        while end < next && self.is(end, Line::Comment) {
            end += 1;
        }
        while end < next && self.is(end, Line::Empty) {
            end += 1;
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# top\n\n# the node\n[node]\nid = 1\n# no more\n\n# loose\n\n[[group]] # one\nid = 1\n\
                        lanes = [\n  # one lane\n  { id = 0, node = 2 },\n]\n\n[[ group . volume ]]\nid = 1\n\n\n\
                        [nbd]\nlisten = []\n# two\n[[group]]\nid = 2\n[[export]]\nname = \"[[group]]\"\n# end";

    #[test]
    fn each_table_has_its_lines_with_the_comments_that_touch_it() {
        let found: Vec<(String, &str)> = tables(TEXT)
            .into_iter()
            .map(|table| (format!("{}{}", table.key, table.index), &TEXT[table.lines]))
            .collect();
        let wanted = [
            ("node0", "# the node\n[node]\nid = 1\n# no more\n\n"),
            ("group0", "[[group]] # one\nid = 1\nlanes = [\n  # one lane\n  { id = 0, node = 2 },\n]\n\n"),
            ("group0", "[[ group . volume ]]\nid = 1\n\n\n"),
            ("nbd0", "[nbd]\nlisten = []\n"),
            ("group1", "# two\n[[group]]\nid = 2\n"),
            ("export0", "[[export]]\nname = \"[[group]]\"\n# end"),
        ];
        assert_eq!(found, wanted.map(|(key, lines)| (key.to_owned(), lines)));
    }
}
