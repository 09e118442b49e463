//! NBD addresses: `nbd://host:port/export` and `nbd+unix:///export?socket=/path`.

use std::path::PathBuf;

use super::error::NbdError;

/// The port that IANA gave to NBD.
const DEFAULT_PORT: u16 = 10809;

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port; the host may be a name or an address.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// Where the server listens.
    pub endpoint: Endpoint,
    /// The export's name, decoded; may be empty (the server's default export).
    pub export: String,
}

impl Uri {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, NbdError> {
        parse(text).map_err(|reason| NbdError::Uri { uri: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<Uri, &'static str> {
    if let Some(rest) = text.strip_prefix("nbd+unix://") {
        let (path, query) = rest.split_once('?').ok_or("a unix address needs ?socket=PATH")?;
        let export =
            path.strip_prefix('/').ok_or("a unix address has no host: nbd+unix:///export?socket=PATH")?;
        let socket = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("socket="))
            .filter(|socket| !socket.is_empty())
            .ok_or("a unix address needs ?socket=PATH")?;
        return Ok(Uri { endpoint: Endpoint::Unix(PathBuf::from(decode(socket)?)), export: decode(export)? });
    }
    let Some(rest) = text.strip_prefix("nbd://") else {
        return Err("it must begin with nbd:// or nbd+unix://");
    };
    let (authority, export) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = split_port(authority)?;
    if host.is_empty() {
        return Err("the host is missing");
    }
    Ok(Uri { endpoint: Endpoint::Tcp { host: host.to_owned(), port }, export: decode(export)? })
}

fn split_port(authority: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, after) = inner.split_once(']').ok_or("the bracket of the address is not closed")?;
            (host, after.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port
        .map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_| "the port is not a number up to 65535"))?;
    Ok((host, port))
}

fn decode(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let value = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(value.ok_or("a % must be followed by two hexadecimal digits")?);
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, export: &str) -> Uri {
        Uri { endpoint: Endpoint::Tcp { host: host.into(), port }, export: export.into() }
    }

    #[test]
    fn addresses_are_read_with_their_defaults_and_escapes() {
        assert_eq!(Uri::parse("nbd://localhost").unwrap(), tcp("localhost", 10809, ""));
        assert_eq!(Uri::parse("nbd://10.0.0.1:77/a/b").unwrap(), tcp("10.0.0.1", 77, "a/b"));
        assert_eq!(Uri::parse("nbd://[::1]:5/x%20y").unwrap(), tcp("::1", 5, "x y"));
        let unix = Uri::parse("nbd+unix:///vol?socket=/tmp/a%3Fb").unwrap();
        assert_eq!(unix, Uri { endpoint: Endpoint::Unix("/tmp/a?b".into()), export: "vol".into() });
    }

    #[test]
    fn a_wrong_address_is_refused_with_its_reason() {
        for wrong in [
            "",
            "http://x/",
            "nbd://",
            "nbd://h:99999/",
            "nbd://[::1/",
            "nbd+unix:///x",
            "nbd://h/%zz",
            "nbd://h/%f",
        ] {
            let message = Uri::parse(wrong).unwrap_err().to_string();
            assert!(message.contains(wrong), "{message}");
        }
    }
}
