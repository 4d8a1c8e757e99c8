//! Changes of a server's power.

use ostler_driver::http::check_identifier;
use ostler_driver::{Action, Error, Force, Result};
use serde_json::{Value, json};

use crate::auth::Service;
use crate::http::Api;

impl Api {
    /// Starts an action; Nova answers at once and does it later.
    pub(crate) fn act(&self, id: &str, action: &Action) -> Result<()> {
        let body = body(action)?;
        check_identifier("node", id)?;
        match (self.post_action(id, &body), action) {
            // Nova has two ways to freeze a server and an action for the end of each; the state tells which.
            (Err(Error::Conflict(text)), Action::Resume) => match self.server(id)?.status.as_str() {
                "PAUSED" => self.post_action(id, &json!({"unpause": null})),
                _ => Err(Error::Conflict(text)),
            },
            (result, _) => result,
        }
    }

    fn post_action(&self, id: &str, body: &Value) -> Result<()> {
        self.post(Service::Compute, format!("/servers/{id}/action")).json_body(body).send()?;
        Ok(())
    }
}

/// Nova's name of an action. A stop asks the guest and cuts the power when its time is up (`shutdown_timeout`, 60 s by default);
/// Nova has no harder one, so `hard` is the same.
fn body(action: &Action) -> Result<Value> {
    Ok(match action {
        Action::Start => json!({"os-start": null}),
        Action::Stop(Force::Soft | Force::Hard) => json!({"os-stop": null}),
        Action::Reboot(Force::Soft) => json!({"reboot": {"type": "SOFT"}}),
        Action::Reboot(Force::Hard) => json!({"reboot": {"type": "HARD"}}),
        Action::Suspend => json!({"suspend": null}),
        Action::Resume => json!({"resume": null}),
        Action::Stop(Force::Other(_)) | Action::Reboot(Force::Other(_)) | Action::Other(_) => {
            return Err(Error::unsupported("this action"));
        }
    })
}
