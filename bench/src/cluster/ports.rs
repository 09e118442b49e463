//! Ports for nodes on this machine.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// Ports that nobody listens on now. All are held at once, so that they differ.
///
/// # Errors
/// When there are not as many.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free loopback port");
    let listeners: Vec<TcpListener> = (0..N).map(|_| listen()).collect::<Result<_>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ() {
        let ports: std::collections::BTreeSet<u16> = free_ports::<4>().unwrap().into();
        assert_eq!(ports.len(), 4);
    }
}
