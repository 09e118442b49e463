//! A node's API over its socket, as far as a bench asks it anything.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long a node may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may be silent while something that was asked for goes on.
const SILENCE: Duration = Duration::from_secs(60);
/// More is no answer.
const LONGEST: u64 = 4 << 20;

/// What the node behind this socket says of `path`.
///
/// # Errors
/// When nobody answers, or the answer is a refusal or no JSON.
pub fn get(socket: &Path, path: &str) -> Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Of version 1.0, so that the answer is in one piece and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: midspan\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(is_good(head), "refused: {body}");
    Ok(serde_json::from_str(body)?)
}

/// Asks for an operation and gives each line of its progress to `on_line`, until that says with true that it has ended.
///
/// # Errors
/// When the node refuses, what `on_line` says, or that the report ends before its end.
pub fn post(socket: &Path, path: &str, on_line: &mut dyn FnMut(&Value) -> Result<bool>) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let body = "{}";
    // Of version 1.0, so that the lines come unwrapped and end with the connection.
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: midspan\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = BufReader::new(stream).take(LONGEST);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let is_good = is_good(&line);
    while !line.trim_end().is_empty() {
        line.clear();
        answer.read_line(&mut line)?;
    }
    if !is_good {
        answer.read_to_string(&mut line)?;
        bail!("refused: {}", line.trim());
    }
    for line in answer.lines() {
        let line = line?;
        if !line.trim().is_empty() && on_line(&serde_json::from_str(&line)?)? {
            return Ok(());
        }
    }
    bail!("the node ended its report without an outcome")
}

/// How an operation has ended, if this line of its progress says so.
///
/// # Errors
/// That it was refused.
pub fn outcome(line: &Value) -> Result<Option<&Value>> {
    if let Some(error) = line.get("error").filter(|error| !error.is_null()) {
        bail!("refused: {}", error.get("message").and_then(Value::as_str).unwrap_or("without a reason"));
    }
    Ok(line.get("outcome").filter(|outcome| !outcome.is_null()))
}

/// Of an answer that begins with this line.
fn is_good(head: &str) -> bool {
    head.split(' ').nth(1) == Some("200")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A node that answers one request with these words; with what the asker makes of it.
    fn against<T>(name: &str, answer: &'static str, ask: impl FnOnce(&Path) -> T) -> (T, String) {
        let socket = std::env::temp_dir().join(format!("midspan-api-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let node = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let found = ask(&socket);
        std::fs::remove_file(&socket).unwrap();
        (found, node.join().unwrap())
    }

    #[test]
    fn an_answer_is_read_and_a_refusal_is_told() {
        let (found, asked) = against("get", "HTTP/1.0 200 OK\r\nx: y\r\n\r\n{\"a\":1}", |s| get(s, "/v1/x"));
        assert_eq!(found.unwrap()["a"], 1);
        assert!(asked.starts_with("GET /v1/x HTTP/1.0\r\n"), "{asked}");
        let (found, _) = against("no", "HTTP/1.0 404 No\r\n\r\n{\"error\":\"none\"}", |s| get(s, "/v1/x"));
        assert!(found.unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn lines_are_given_until_one_is_the_last_and_a_report_that_is_cut_is_an_error() {
        let follow = |s: &Path| {
            let mut lines = 0;
            let found = post(s, "/v1/groups/g/x", &mut |line| {
                lines += 1;
                Ok(outcome(line)?.is_some())
            });
            (found, lines)
        };
        let made =
            "HTTP/1.0 200 OK\r\n\r\n{\"phase\":\"starting\",\"outcome\":null}\n\n{\"outcome\":{}}\n{}\n";
        let ((found, lines), asked) = against("made", made, follow);
        found.unwrap();
        assert_eq!(lines, 2);
        assert!(asked.starts_with("POST /v1/groups/g/x HTTP/1.0\r\n"), "{asked}");
        for (name, answer, said) in [
            ("refused", "HTTP/1.0 200 OK\r\n\r\n{\"error\":{\"message\":\"not here\"}}\n", "not here"),
            ("cut", "HTTP/1.0 200 OK\r\n\r\n{\"phase\":\"starting\"}\n", "without an outcome"),
            ("bad", "HTTP/1.0 409 No\r\n\r\n{\"error\":\"busy\"}", "busy"),
        ] {
            let ((found, _), _) = against(name, answer, follow);
            let error = found.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
