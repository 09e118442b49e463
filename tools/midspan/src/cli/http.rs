//! A small HTTP/1.1 client over a unix socket: one request a connection, bodies of known length, chunked or to the end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest line of a response's head, bytes.
const MAX_LINE: u64 = 16 * 1024;
/// Most header lines.
const MAX_HEADERS: usize = 100;

/// A response whose body has not been read yet.
#[derive(Debug)]
pub struct Response<R: Read = UnixStream> {
    /// The status code.
    pub status: u16,
    /// The body, decoded.
    pub body: BufReader<Body<R>>,
}

/// The body as it comes from the socket.
#[derive(Debug)]
pub struct Body<R: Read = UnixStream> {
    stream: BufReader<R>,
    length: Length,
}

#[derive(Debug)]
enum Length {
    /// So many bytes are left.
    Known(u64),
    /// So many bytes of this chunk are left; 0 before a chunk's first line.
    Chunked { left: u64, first: bool },
    /// Until the connection is closed.
    ToEnd,
    /// All was read.
    Done,
}

/// Sends a request and reads the head of the response. `silence` bounds each wait for the peer.
///
/// # Errors
/// What the socket says, `InvalidData` for a response that is not HTTP/1.1.
pub fn request(
    socket: &Path,
    method: &str,
    path: &str,
    json: Option<&str>,
    silence: Option<Duration>,
) -> io::Result<Response> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(silence)?;
    stream.set_write_timeout(silence)?;
    let body = json.unwrap_or("");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: midspan\r\nConnection: close\r\n");
    if json.is_some() {
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    read_response(stream)
}

/// Reads the head of a response.
///
/// # Errors
/// What the stream says, `InvalidData` for a response that is not HTTP/1.1.
pub fn read_response<R: Read>(stream: R) -> io::Result<Response<R>> {
    let mut stream = BufReader::new(stream);
    let first = line(&mut stream)?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| broken("not an HTTP/1.1 response"))?;
    let length = headers(&mut stream)?;
    Ok(Response { status, body: BufReader::new(Body { stream, length }) })
}

fn headers(stream: &mut impl BufRead) -> io::Result<Length> {
    let mut length = Length::ToEnd;
    for _ in 0..MAX_HEADERS {
        let text = line(stream)?;
        if text.is_empty() {
            return Ok(length);
        }
        let Some((name, value)) = text.split_once(':') else {
            return Err(broken("a header without a colon"));
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = Length::Known(value.trim().parse().map_err(|_| broken("content-length"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding")
            && value.trim().eq_ignore_ascii_case("chunked")
        {
            length = Length::Chunked { left: 0, first: true };
        }
    }
    Err(broken("too many headers"))
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    stream.take(MAX_LINE).read_line(&mut text)?;
    if !text.ends_with('\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon closed the connection"));
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected answer of the daemon: {what}"))
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = match &mut self.length {
                Length::Done => return Ok(0),
                Length::ToEnd => return self.stream.read(into),
                Length::Known(left) => left,
                Length::Chunked { left, first } => {
                    if *left == 0 {
                        if !*first {
                            line(&mut self.stream)?;
                        }
                        *first = false;
                        let size = line(&mut self.stream)?;
                        let size = size.split(';').next().unwrap_or("").trim();
                        *left = u64::from_str_radix(size, 16).map_err(|_| broken("chunk size"))?;
                        if *left == 0 {
                            self.length = Length::Done;
                            continue;
                        }
                    }
                    left
                }
            };
            if *left == 0 || into.is_empty() {
                return Ok(0);
            }
            let limit = usize::try_from(*left).unwrap_or(usize::MAX).min(into.len());
            let target = into.get_mut(..limit).unwrap_or_default();
            let count = self.stream.read(target)?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon closed the connection"));
            }
            *left -= count as u64;
            return Ok(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn answer(name: &str, response: &'static str) -> io::Result<(u16, String)> {
        let path = std::env::temp_dir().join(format!("midspan-http-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = BufReader::new(stream.try_clone().unwrap());
            while !line(&mut head).unwrap().is_empty() {}
            stream.write_all(response.as_bytes()).unwrap();
        });
        let outcome = request(&path, "GET", "/v1/status", None, Some(Duration::from_secs(5)));
        let outcome = outcome.and_then(|mut response| {
            let mut text = String::new();
            response.body.read_to_string(&mut text)?;
            Ok((response.status, text))
        });
        server.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        outcome
    }

    #[test]
    fn a_body_of_known_length_is_read_to_its_length() {
        let found = answer("known", "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabcdef").unwrap();
        assert_eq!(found, (404, "abc".to_owned()));
    }

    #[test]
    fn chunks_are_joined() {
        let text =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        assert_eq!(answer("chunked", text).unwrap(), (200, "abcde".to_owned()));
    }

    #[test]
    fn a_body_that_ends_early_is_an_error() {
        let error = answer("early", "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_answer_that_is_not_http_is_an_error() {
        assert_eq!(answer("other", "SSH-2.0-x\r\n").unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
