//! Nova: servers and flavors.

mod actions;
mod capacity;
mod create;
mod flavors;
mod list;
mod samples;
pub(crate) mod server;

use ostler_driver::http::{check_identifier, is_identifier};
use ostler_driver::{Error, Node, NodeState, Result};
use serde::Deserialize;
use serde_json::json;

use crate::auth::Service;
use crate::http::Api;
use crate::microversion::SERVERS;
use server::{ADDRESS, Server};

#[derive(Deserialize)]
struct One {
    server: Server,
}

impl Api {
    /// One server; `not-found` where there is none.
    pub(crate) fn server(&self, id: &str) -> Result<Server> {
        check_identifier("node", id)?;
        let version = self.microversion(SERVERS)?;
        let One { server } = self.get(Service::Compute, format!("/servers/{id}")).microversion(version).json()?;
        Ok(server)
    }

    /// One node. A public address that was ordered is attached here, as soon as the server has a port: the host polls this.
    pub(crate) fn node(&self, id: &str) -> Result<Node> {
        let mut server = self.server(id)?;
        if !server.lacks_address() {
            return Ok(server.node());
        }
        let token = server.token().unwrap_or_default().to_owned();
        match self.attach_floating(&server.id, &token) {
            Ok(None) => Ok(server.node()),
            Ok(Some(ip)) => {
                // From now on the address is not looked after: who takes it off wants it so.
                let body = json!({"metadata": {ADDRESS: ip}});
                self.post(Service::Compute, format!("/servers/{}/metadata", server.id)).json_body(&body).send()?;
                self.forget_snapshot();
                server.metadata.insert(ADDRESS.to_owned(), ip);
                Ok(server.node())
            }
            // What is worth another try is an error of this call; the rest is the end of the order.
            Err(error @ (Error::Transient(_) | Error::Throttled { .. } | Error::Unauthorized(_))) => Err(error),
            // Something else happens to the port just now.
            Err(Error::Conflict(text)) => Err(Error::Transient(text)),
            Err(error) => {
                let mut node = server.node();
                node.state = NodeState::Failed;
                node.state_detail = Some(format!("no public address: {}", error.message()));
                Ok(node)
            }
        }
    }

    /// Destroys a server and what was made for it: floating IPs by what they are marked with, ports and volumes by Nova, and
    /// volumes that Nova left behind.
    ///
    /// The floating IPs go first: once the server is gone nobody can find it by its token any more.
    pub(crate) fn destroy(&self, id: &str) -> Result<()> {
        let server = match self.server(id) {
            Ok(server) if !server.is_gone() => server,
            Ok(_) | Err(Error::NotFound(_)) if is_identifier(id) => {
                self.release_floating_of(id)?;
                self.release_volumes_of(id)?;
                return Err(Error::not_found("node", id));
            }
            Ok(_) => return Err(Error::not_found("node", id)),
            Err(error) => return Err(error),
        };
        if server.locked {
            return Err(Error::Conflict(format!("node `{id}` is locked")));
        }
        if server.wants_address() {
            self.release_floating_of(id)?;
        }
        self.forget_snapshot();
        match self.delete(Service::Compute, format!("/servers/{id}")).send() {
            Ok(_) => {}
            // Somebody else was faster.
            Err(Error::NotFound(_)) => return Err(Error::not_found("node", id)),
            Err(error) => return Err(error),
        }
        // Another instance may have attached an address in between.
        if server.wants_address() {
            self.release_floating_of(id)?;
        }
        Ok(())
    }
}
