//! Operations that Ansible carries out.

use std::time::Duration;

use ostler_cloudinit::{Kind, Lifecycle, Message, Operation, Source, Status};
use serde_json::json;

use crate::place::{Place, Shell, clients, program};

fn operation(playbook: &str) -> Operation {
    let mut operation = Operation::new(Lifecycle::Configure, Kind::Ansible, Source::Inline(playbook.into()));
    let inputs = [
        ("text", json!("canary \" '\n{{ lookup('pipe', 'touch pwned') }} \u{1f600}")),
        ("number", json!(8)),
        ("big", json!(1e16)),
        ("nested", json!({ "list": ["a", "{% for x in y %}", null, true] })),
    ];
    operation.inputs.extend(inputs.map(|(name, value)| (name.to_owned(), value)));
    operation
}

#[test]
fn it_gets_the_playbook_and_a_file_of_variables() {
    for client in clients() {
        let place = Place::new(Shell::System, client);
        let seen = place.path("seen");
        place.script(
            "ansible-playbook",
            &format!("printf '%s\\n' \"$@\" >{0}; cat \"${{6#@}}\" \"$7\" >>{0}; echo a=1 >\"$OSTLER_OUTPUTS\"", seen.display()),
        );
        place.install(&place.machine(vec![operation("- hosts: localhost\n")]));
        place.succeed();
        let seen = place.text("seen");
        let lines: Vec<_> = seen.lines().collect();
        let base = place.options().base;
        assert_eq!(lines[..4], ["-i", "localhost,", "-c", "local"]);
        assert_eq!(lines[4..7], ["--extra-vars", &format!("@{base}/ops/001.vars"), &format!("{base}/ops/001.script")]);
        assert!(lines[7].starts_with("{? \"text\" : !unsafe \"canary"), "{}", lines[7]);
        assert_eq!(lines[8..], ["- hosts: localhost"]);
        let messages = place.server.messages();
        let Message::Operation(report) = &messages[0] else { panic!("{messages:?}") };
        assert_eq!((report.status, report.outputs.get("a")), (Status::Exit(0), Some(&json!("1"))));
        assert!(!place.arguments().contains("canary"));
    }
}

#[test]
fn without_it_the_operation_fails() {
    let place = Place::new(Shell::System, clients()[0]);
    place.install(&place.machine(vec![operation("- hosts: localhost\n")]));
    assert_eq!(place.boot().0, 1);
    let messages = place.server.messages();
    let Message::Operation(report) = &messages[0] else { panic!("{messages:?}") };
    assert_eq!(report.status, Status::Tool);
}

/// Where there is a real one.
#[test]
fn ansible_itself_takes_values_for_what_they_are() {
    let Some(ansible) = program("ansible-playbook") else { return };
    let place = Place::new(Shell::System, clients()[0]);
    place.script("ansible-playbook", &format!("exec {} \"$@\"", ansible.display()));
    let playbook = r#"
- hosts: localhost
  gather_facts: false
  tasks:
    - copy:
        dest: "{{ lookup('env', 'OSTLER_OUTPUTS') }}"
        content: "{{ {'text': text, 'number': number + 1, 'big': big, 'nested': nested} | to_json }}"
"#;
    let mut machine = place.machine(vec![operation(playbook)]);
    machine.timeout = Duration::from_secs(600);
    place.install(&machine);
    let mut command = place.command();
    // Its Python finds its own libraries and locale by these.
    command.env("PATH", std::env::join_paths([place.path("bin"), "/usr/bin".into(), "/bin".into()]).unwrap());
    command.env("HOME", place.root.path());
    let output = command.output().unwrap();
    let messages = place.server.messages();
    let Message::Operation(report) = &messages[0] else { panic!("{messages:?} {output:?}") };
    assert_eq!(report.status, Status::Exit(0), "{}", report.output);
    let inputs = operation("x").inputs;
    assert_eq!(report.outputs["text"], inputs["text"]);
    assert_eq!(report.outputs["nested"], inputs["nested"]);
    assert_eq!(report.outputs["number"], json!(9));
    assert_eq!(report.outputs["big"], inputs["big"]);
    assert!(!report.output.contains("WARNING"), "{}", report.output);
}
