//! What a manager's node gets for its first boot: certificate and key, where to fetch its software, its configuration.
//!
//! No credential of a provider is among it: managers order nodes from this server.

use super::Settings;
use crate::authority::Bundle;
use ostler_store::{Service, ServiceKind};
use secrecy::ExposeSecret;
use std::fmt::Write;

/// Where the software goes.
const ROOT: &str = "/root";
/// Ends a text in the script; PEM and configuration cannot contain it.
const END: &str = "OSTLER_END_OF_TEXT";

/// The script for a manager's first boot.
pub(super) fn manager(settings: &Settings, service: &Service, user: i64, bundle: &Bundle) -> String {
    let director = settings.director.as_str().trim_end_matches('/');
    let mut script = String::from("#!/bin/bash\nset -u\numask 077\n");
    text(&mut script, "/tmp/cert.pem", &bundle.certificate);
    text(&mut script, "/tmp/key.pem", bundle.key.expose_secret());
    text(&mut script, "/tmp/ca_cert.pem", &bundle.authority);
    // Writing to a text cannot fail.
    let _ = write!(
        script,
        "ROOT_DIR={ROOT}\n\
         DIRECTOR={director}\n\
         CERT_DIR=/etc/cpsmanager/certs\n\
         mkdir -p \"$CERT_DIR\" /var/log/cpsmanager /var/tmp/cpsmanager /var/cache/cpsmanager /var/run/cpsmanager\n\
         mv /tmp/cert.pem /tmp/key.pem /tmp/ca_cert.pem \"$CERT_DIR\"\n\
         cd \"$ROOT_DIR\"\n\
         curl --fail --silent --show-error --retry 10 --retry-connrefused --cacert \"$CERT_DIR/ca_cert.pem\" \
         --output ConPaaS.tar.gz \"$DIRECTOR/download/ConPaaS.tar.gz\" || exit 1\n\
         tar -x -z -f ConPaaS.tar.gz\n\
         MY_IP=${{IP_PUBLIC:-$(hostname -I | cut -d' ' -f1)}}\n"
    );
    let type_name = match service.kind {
        ServiceKind::Manager => "application",
        _ => service.type_name.as_str(),
    };
    text(&mut script, "$ROOT_DIR/config.cfg", &configuration(director, service, type_name, user));
    script.push_str("sed -i \"s/^MY_IP = .*/MY_IP = $MY_IP/\" \"$ROOT_DIR/config.cfg\"\n");
    let start = settings.catalogue.get(&service.type_name).and_then(|known| known.script.as_deref());
    match start {
        Some(start) => {
            let start = start.replace("@TYPE@", type_name).replace("@SERVICE@", &service.id.to_string()).replace("@ROOT@", ROOT);
            script.push_str(&start);
        }
        None => {
            let _ = writeln!(
                script,
                "if [ -x \"$ROOT_DIR/ConPaaS/sbin/manager/{type_name}-cpsmanager\" ]; then MANAGER={type_name}; else MANAGER=default; fi\n\
                 exec \"$ROOT_DIR/ConPaaS/sbin/manager/$MANAGER-cpsmanager\" -c \"$ROOT_DIR/config.cfg\""
            );
        }
    }
    script
}

/// The script for an agent's first boot: certificate and key, the manager's variables, the manager's script.
pub(super) fn agent(context: &[(String, String)], startup_script: &str, bundle: &Bundle) -> String {
    let mut script = String::from("#!/bin/bash\nset -u\numask 077\n");
    text(&mut script, "/tmp/cert.pem", &bundle.certificate);
    text(&mut script, "/tmp/key.pem", bundle.key.expose_secret());
    text(&mut script, "/tmp/ca_cert.pem", &bundle.authority);
    script.push_str(
        "CERT_DIR=/etc/cpsagent/certs\nmkdir -p \"$CERT_DIR\"\nmv /tmp/cert.pem /tmp/key.pem /tmp/ca_cert.pem \"$CERT_DIR\"\n",
    );
    for (name, value) in context {
        // Between single quotes nothing means anything but the quote itself.
        let _ = writeln!(script, "export {name}='{}'", value.replace('\'', "'\\''"));
    }
    script.push_str(startup_script);
    script
}

/// A file of the node, by a quoted here-document: nothing in it is expanded.
fn text(script: &mut String, path: &str, content: &str) {
    let _ = writeln!(script, "cat > \"{path}\" <<'{END}'\n{}\n{END}", content.trim_end());
}

fn configuration(director: &str, service: &Service, type_name: &str, user: i64) -> String {
    let locator = super::locator(service);
    let (id, application) = (locator, service.application_id);
    format!(
        "[manager]\n\
         TYPE = {type_name}\n\
         BOOTSTRAP = {director}/download\n\
         MY_IP = \n\
         SERVICE_ID = {id}\n\
         USER_ID = {user}\n\
         APP_ID = {application}\n\
         CREDIT_URL = {director}/callback/decrementUserCredit.php\n\
         TERMINATE_URL = {director}/callback/terminateService.php\n\
         CA_URL = {director}/ca/get_cert.php\n\
         DIRECTOR_URL = {director}\n\
         LOG_FILE = /var/log/cpsmanager/manager.log\n\
         ETC = /etc/cpsmanager\n\
         CERT_DIR = /etc/cpsmanager/certs\n\
         VAR_TMP = /var/tmp/cpsmanager\n\
         VAR_CACHE = /var/cache/cpsmanager\n\
         VAR_RUN = /var/run/cpsmanager\n\
         CODE_REPO = /var/cache/cpsmanager/code_repo\n\
         CONPAAS_HOME = {ROOT}/ConPaaS\n"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn service(id: i64, kind: ServiceKind) -> Service {
        Service {
            id,
            application_id: 7,
            user_id: "u".into(),
            kind,
            type_name: "php".into(),
            name: "x".into(),
            cloud: "c".into(),
            state: ostler_store::ServiceState::Starting,
            number: None,
            address: None,
            node_id: None,
            prepaid: 0,
            operation: None,
            created_at: 0,
            updated_at: 0,
        }
    }

    #[test]
    fn a_script_of_the_catalogue_takes_the_place_of_the_usual_one() {
        let bundle = Bundle { certificate: "CERT".into(), key: "KEY".into(), authority: "CA".into(), serial: "1".into() };
        let mut settings = Settings {
            catalogue: crate::services::sample_catalogue("image", "size"),
            cloud: "c".into(),
            director: "https://director.example:5555".parse().unwrap(),
            start_timeout: std::time::Duration::from_secs(1),
            registration: crate::services::Registration::Closed,
            max_initial_credit: 0,
            metering: true,
            archive: None,
            manager_port: 443,
            prefix: "test".into(),
        };
        let usual = manager(&settings, &service(42, ServiceKind::Service), 3, &bundle);
        assert!(usual.contains("-cpsmanager\" -c"), "{usual}");
        settings.catalogue.get_mut("php").unwrap().script = Some("run @TYPE@ @SERVICE@ in @ROOT@; again @TYPE@ @OTHER@\n".into());
        for (kind, expected) in [
            (ServiceKind::Service, "\nrun php 42 in /root; again php @OTHER@\n"),
            (ServiceKind::Manager, "\nrun application 42 in /root; again application @OTHER@\n"),
        ] {
            let script = manager(&settings, &service(42, kind), 3, &bundle);
            assert!(script.ends_with(expected), "{script}");
            assert!(!script.contains("-cpsmanager\" -c"), "{script}");
        }
    }

    /// What the shell makes of it is what was meant, whatever is in it.
    #[test]
    fn nothing_in_a_context_is_run() {
        let bundle = Bundle { certificate: "CERT".into(), key: "KEY".into(), authority: "CA".into(), serial: "1".into() };
        let evil = "a'b $(touch /tmp/x) `id` \"c\" \\ \n'; exit 3; '";
        let script = agent(&[("VALUE".into(), evil.into())], "printf %s \"$VALUE\"", &bundle);
        // Without the parts that write where only root may.
        let start = script.find("export ").unwrap();
        let output = std::process::Command::new("bash").arg("-c").arg(&script[start..]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), evil);
        assert!(output.status.success());
    }
}
