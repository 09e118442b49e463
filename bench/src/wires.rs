//! The paths between the nodes as proxies: the near one from the primary to the relay, the far ones to and from the secondary.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;

use crate::cluster::Place;
use crate::proxy::{Distance, Proxy};

/// Proxies on all paths, and how long the paths are.
#[derive(Default)]
pub struct Wires {
    /// Between primary and relay.
    pub near: Arc<Distance>,
    /// Between the secondary and both others.
    pub far: Arc<Distance>,
    proxies: Vec<Proxy>,
}

impl Wires {
    /// Puts a proxy between two nodes and returns where the first finds the second.
    ///
    /// # Errors
    /// See [`Proxy::start`].
    pub fn route(&mut self, from: Place, to: Place, address: SocketAddr) -> Result<SocketAddr> {
        let is_far = [from, to].contains(&Place::Secondary);
        let distance = Arc::clone(if is_far { &self.far } else { &self.near });
        let proxy = Proxy::start(address, distance)?;
        let address = proxy.address();
        self.proxies.push(proxy);
        Ok(address)
    }
}
