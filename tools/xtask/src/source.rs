//! A Rust file as the checks see it: code without comments and literals, and which lines are tests.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// One Rust file.
pub struct Source {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// The text as it is.
    pub text: String,
    /// The same with every comment and literal blanked; line breaks stay.
    pub code: String,
    /// Line numbers, from 1, of items under `#[cfg(test)]`.
    test_lines: BTreeSet<usize>,
}

impl Source {
    /// Reads the text of the file `path`.
    pub fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let test_lines = test_lines(&code);
        Self { path: path.to_owned(), text: text.to_owned(), code, test_lines }
    }

    /// Whether the whole file is a test: `tests.rs`, in a folder `tests` below a crate, or a suite.
    pub fn is_test_file(&self) -> bool {
        let mut folders: Vec<&str> = self.path.split('/').collect();
        let name = folders.pop().unwrap_or_default();
        let inner = folders.iter().skip(1).any(|folder| *folder == "tests");
        name == "tests.rs" || inner || self.path.starts_with("tests/suites/")
    }

    /// Whether the line, from 1, belongs to a test.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.is_test_file() || self.test_lines.contains(&line)
    }

    /// Lines that are not under `#[cfg(test)]`.
    pub fn lines_without_tests(&self) -> usize {
        self.text.lines().count() - self.test_lines.len()
    }

    /// Number and code of each line that is no test.
    pub fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines()).filter(|(line, _)| !self.is_test_line(*line))
    }

    /// Number and code of each line.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }
}

/// The identifiers and keywords of a line of code.
pub fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
}

/// The text with comments and the content of literals replaced by spaces.
fn blank(text: &str) -> String {
    let mut blanker = Blanker { input: text.chars().peekable(), output: String::with_capacity(text.len()) };
    let mut previous = ' ';
    while let Some(character) = blanker.input.next() {
        blanker.token(character, previous);
        previous = character;
    }
    blanker.output
}

struct Blanker<'text> {
    input: Peekable<Chars<'text>>,
    output: String,
}

impl Blanker<'_> {
    fn token(&mut self, character: char, previous: char) {
        let next = self.input.peek().copied();
        let in_word = previous.is_alphanumeric() || previous == '_';
        match (character, next) {
            ('/', Some('/')) => self.line_comment(),
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.string(),
            ('r', Some('"' | '#')) if !in_word || previous == 'b' => self.raw_string(),
            ('\'', _) => self.character_or_lifetime(),
            _ => self.output.push(character),
        }
    }

    fn hide(&mut self, character: char) {
        self.output.push(if character == '\n' { '\n' } else { ' ' });
    }

    fn line_comment(&mut self) {
        self.hide('/');
        while let Some(character) = self.input.next_if(|character| *character != '\n') {
            self.hide(character);
        }
    }

    fn block_comment(&mut self) {
        self.hide('/');
        let mut depth = 0_u32;
        let mut before = ' ';
        let mut first = true;
        while let Some(character) = self.input.next() {
            self.hide(character);
            if first || (before == '/' && character == '*') {
                depth += 1;
                before = ' ';
            } else if before == '*' && character == '/' {
                depth -= 1;
                before = ' ';
            } else {
                before = character;
            }
            first = false;
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.output.push('"');
        while let Some(character) = self.input.next() {
            match character {
                '\\' => {
                    self.hide(character);
                    if let Some(escaped) = self.input.next() {
                        self.hide(escaped);
                    }
                }
                '"' => {
                    self.output.push('"');
                    return;
                }
                _ => self.hide(character),
            }
        }
    }

    /// After `r`: `"…"`, `#"…"#` and so on; `r#name` is an identifier.
    fn raw_string(&mut self) {
        self.output.push('r');
        let mut hashes = 0_usize;
        while self.input.next_if_eq(&'#').is_some() {
            self.output.push('#');
            hashes += 1;
        }
        if self.input.next_if_eq(&'"').is_none() {
            return;
        }
        self.output.push('"');
        let mut closing = None;
        while let Some(character) = self.input.next() {
            closing = match (character, closing) {
                ('"', _) => Some(0),
                ('#', Some(seen)) => Some(seen + 1),
                _ => None,
            };
            self.hide(character);
            if closing == Some(hashes) {
                return;
            }
        }
    }

    /// `'x'` and `'\n'` are literals, `'name` is a lifetime.
    fn character_or_lifetime(&mut self) {
        self.output.push('\'');
        let mut ahead = self.input.clone();
        let literal = match ahead.next() {
            Some('\\') => true,
            Some(_) => ahead.next() == Some('\''),
            None => false,
        };
        if !literal {
            return;
        }
        let mut escaped = false;
        while let Some(character) = self.input.next() {
            self.hide(character);
            if character == '\'' && !escaped {
                return;
            }
            escaped = character == '\\' && !escaped;
        }
    }
}

/// Lines of every item that stands behind `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn test_lines(code: &str) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    let mut until = None;
    let mut depth = 0_usize;
    for (number, line) in (1..).zip(code.lines()) {
        let trimmed = line.trim_start();
        let starts = trimmed.starts_with("#[cfg(test)]") || trimmed.starts_with("#[cfg(all(test");
        if until.is_none() && starts {
            until = Some(depth);
        }
        if until.is_some() {
            lines.insert(number);
        }
        for character in line.chars() {
            match character {
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    until = until.filter(|outer| *outer != depth);
                }
                ';' => until = until.filter(|outer| *outer != depth),
                _ => {}
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text = "let a = \"x // \\\" y\"; // unsafe\n/* a /* b */ unsafe\n */ let b = r#\"un\"safe\"#;\nlet c = '\"'; fn f<'a>() {}\nlet d = '\\''; e\n";
        let code = blank(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert!(!code.contains("safe"), "{code}");
        for kept in ["let a", "let b", "let c", "fn f<'a>() {}", "let d", "; e"] {
            assert!(code.contains(kept), "{kept} in {code}");
        }
    }

    #[test]
    fn raw_identifiers_and_byte_strings_are_told_apart() {
        assert_eq!(blank("r#type + br\"unsafe\" + b\"unsafe\"").replace(' ', ""), "r#type+br\"+b\"\"");
    }

    #[test]
    fn test_modules_are_found_with_their_nested_braces() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if x { y } }\n}\nfn c() {}\n";
        let source = Source::new("x/src/a.rs", text);
        assert_eq!(source.test_lines, BTreeSet::from([2, 3, 4, 5]));
        assert_eq!(source.lines_without_tests(), 2);
        assert_eq!(source.production().map(|(line, _)| line).collect::<Vec<_>>(), [1, 6]);
    }

    #[test]
    fn a_test_module_in_its_own_file_is_two_lines() {
        let source = Source::new("x/src/a.rs", "#[cfg(test)]\nmod tests;\nfn c() {}\n");
        assert_eq!(source.test_lines, BTreeSet::from([1, 2]));
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        let is = |path: &str| Source::new(path, "").is_test_file();
        assert!(
            is("a/b/src/c/tests.rs") && is("dataplane/uring/tests/ring.rs") && is("tests/suites/kill.rs")
        );
        assert!(!is("tests/sim/lib.rs") && !is("a/src/lib.rs"));
    }
}
