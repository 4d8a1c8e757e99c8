//! What cloud-init reads.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use ostler_cloudinit::{Component, Error, Kind, Lifecycle, Limit, Machine, Operation, Options, Report, Source, user_data};
use serde_json::{Value, json};

use crate::place::{files, program, shell};
use crate::yaml;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

fn machine() -> Machine {
    let mut machine = Machine::new("m", "web.example.org", Duration::from_secs(60));
    machine.ssh_keys = vec![format!("{KEY} \"jos\u{e9}\": {{{{ x }}}} # '")];
    machine.packages = vec!["ansible-core".into()];
    let mut create = shell(Lifecycle::Create, "true");
    create.inputs.insert("PASSWORD".into(), "canary".into());
    let mut start = Operation::new(Lifecycle::Start, Kind::Ansible, Source::Url("https://h/a?signature=canary".into()));
    start.timeout = Some(Duration::from_secs(5));
    machine.components.push(Component { name: "w\n\"eb".into(), operations: vec![create, start] });
    machine.report = Some(Report::new("https://h:5555/r", "canary"));
    machine
}

#[test]
fn it_is_yaml_with_what_cloud_init_knows() {
    let document = user_data(&machine(), &Options::default()).unwrap().into_string();
    assert!(document.starts_with("#cloud-config\n") && document.is_ascii());
    let read = yaml::read(&document);
    let keys: Vec<_> = read.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["fqdn", "hostname", "package_update", "packages", "ssh_authorized_keys", "write_files"]);
    assert_eq!((&read["hostname"], &read["fqdn"]), (&json!("web"), &json!("web.example.org")));
    assert_eq!(read["ssh_authorized_keys"], json!([format!("{KEY} \"jos?\": {{{{ x }}}} # '")]));
    assert_eq!(read["packages"], json!(["ansible-core"]));

    let found: Vec<_> =
        files(&document).into_iter().map(|(path, mode, content)| (path, mode, String::from_utf8(content).unwrap())).collect();
    let names: Vec<_> = found.iter().map(|(path, mode, _)| (path.as_str(), *mode)).collect();
    assert_eq!(
        names,
        [
            ("/var/lib/ostler/token", 0o600),
            ("/var/lib/ostler/ops/001.script", 0o600),
            ("/var/lib/ostler/ops/001.env", 0o600),
            ("/var/lib/ostler/ops/002.url", 0o600),
            ("/var/lib/ostler/ops/002.vars", 0o600),
            ("/var/lib/ostler/plan", 0o600),
            ("/var/lib/ostler/runner", 0o700),
            ("/var/lib/cloud/scripts/per-boot/ostler", 0o700),
        ]
    );
    let plan = &found[5].2;
    let (mark, plan) = plan.split_once('\n').unwrap();
    assert_eq!(mark.len(), "id ".len() + 16);
    assert_eq!(
        plan,
        "report https://h:5555/r\noutput 16384\noutputs 65536\ntries 10\ndelay 1\ngrace 10\n\
        op 001 shell 60 inline - \"component\":\"w\\n\\\"eb\",\"operation\":\"create\"\n\
        op 002 ansible 5 url - \"component\":\"w\\n\\\"eb\",\"operation\":\"start\"\n"
    );
    assert_eq!(found[7].2, "#!/bin/sh\nexec sh /var/lib/ostler/runner /var/lib/ostler\n");
}

#[test]
fn python_reads_the_same() {
    let Some(python) = program("python3") else { return };
    let code = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    if !Command::new(&python).args(["-c", "import yaml"]).stderr(Stdio::null()).status().unwrap().success() {
        return;
    }
    for compress in [false, true] {
        let options = Options { compress, limit: Limit::NO_CLOUD, ..Options::default() };
        let document = user_data(&machine(), &options).unwrap().into_string();
        let mut child = Command::new(&python).args(["-c", code]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), yaml::read(&document));
    }
}

#[test]
fn it_is_the_same_for_the_same_and_another_for_another() {
    let options = Options::default();
    let first = user_data(&machine(), &options).unwrap();
    assert_eq!(first, user_data(&machine(), &options).unwrap());
    let mark = |machine: &Machine| {
        let document = user_data(machine, &options).unwrap().into_string();
        let plan = files(&document).into_iter().find(|(path, ..)| path.ends_with("/plan")).unwrap().2;
        String::from_utf8(plan).unwrap().lines().next().unwrap().to_owned()
    };
    type Change = fn(&mut Machine);
    let changes: [Change; 5] = [
        |machine| machine.name = "n".into(),
        |machine| machine.components[0].name = "n".into(),
        |machine| machine.components[0].operations[0].source = Source::Inline("false".into()),
        |machine| machine.components[0].operations[0].inputs["PASSWORD"] = "other".into(),
        |machine| machine.report.as_mut().unwrap().token = "other".into(),
    ];
    for change in changes {
        let mut other = machine();
        change(&mut other);
        assert_ne!(mark(&machine()), mark(&other));
    }
    let mut other = machine();
    other.ssh_keys.clear();
    assert_eq!(mark(&machine()), mark(&other));
}

#[test]
fn it_is_within_the_limit_or_is_not_made() {
    let mut large = machine();
    large.components[0].operations[0].source = Source::Inline(format!("# {}\n", "x".repeat(20_000)));
    let with = |compress, limit| user_data(&large, &Options { compress, limit, ..Options::default() });
    let packed = with(true, Limit::COMMON).unwrap().as_str().len();
    let plain = with(false, Limit::NOVA).unwrap().as_str().len();
    assert!(packed < 10_000 && plain > 30_000, "{packed} {plain}");
    let over = with(false, Limit::COMMON).unwrap_err();
    assert_eq!(over, Error::TooLarge { size: plain, limit: 16_384, base64: false, compressed: Some(packed) });
    assert_eq!(
        over.to_string(),
        format!(
            "the user data takes {plain} bytes: {} over the limit of 16384; compressed it would take {packed}",
            plain - 16_384
        )
    );
    // To the byte, and in base64 by fours.
    let encoded = packed.div_ceil(3) * 4;
    let cases = [
        (Limit::Text(packed), None),
        (Limit::Text(packed - 1), Some((packed, packed - 1, false))),
        (Limit::Base64(encoded), None),
        (Limit::Base64(encoded - 1), Some((encoded, encoded - 1, true))),
    ];
    for (limit, expected) in cases {
        let error = with(true, limit).err();
        let expected = expected.map(|(size, limit, base64)| Error::TooLarge { size, limit, base64, compressed: None });
        assert_eq!(error, expected, "{limit:?}");
    }
}

#[test]
fn a_machine_with_nothing_to_do_gets_no_runner() {
    let machine = Machine::new("m", "web", Duration::from_secs(60));
    assert_eq!(user_data(&machine, &Options::default()).unwrap().as_str(), "#cloud-config\nhostname: \"web\"\n");
}

#[test]
fn debug_shows_no_secrets() {
    let machine = machine();
    let mut inline = machine.clone();
    inline.components[0].operations[0].source = Source::Inline("canary".into());
    inline.report.as_mut().unwrap().url = "https://h/".into();
    let document = user_data(&machine, &Options::default()).unwrap();
    for text in [format!("{machine:?}"), format!("{inline:?}"), format!("{document:?}")] {
        assert!(!text.contains("canary"), "{text}");
    }
    assert!(format!("{machine:?}").contains("PASSWORD") && format!("{machine:?}").contains("https://h/a"));
}
