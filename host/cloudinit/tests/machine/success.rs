//! Operations that succeed.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use ostler_cloudinit::{Component, Lifecycle, Message, Source, Status};
use serde_json::{Value, json};

use crate::place::{Place, Shell, TOKEN, clients, pairs, program, shell, shells};

#[test]
fn operations_run_in_order_and_report_under_every_shell_with_every_client() {
    for (subject, client) in pairs() {
        let place = Place::new(subject, client);
        let log = place.path("log");
        let mut create = shell(
            Lifecycle::Create,
            &format!("echo create >>{}; echo to-output; echo to-error >&2; echo port=80 >>\"$OSTLER_OUTPUTS\"", log.display()),
        );
        create.inputs.insert("PASSWORD".into(), "canary-input".into());
        let start = shell(Lifecycle::Start, &format!("echo start >>{}", log.display()));
        let json = "#!/usr/bin/env sh\nprintf '{\"a\": [1, true], \"b\": \"x\"}' >\"$OSTLER_OUTPUTS\"";
        let mut machine = place.machine(vec![create, start]);
        machine.components.push(Component { name: "app".into(), operations: vec![shell(Lifecycle::Create, json)] });
        place.install(&machine);
        let at = format!("{subject:?} {client}");
        assert_eq!(place.boot(), (0, String::new()), "{at}");

        assert_eq!(place.text("log"), "create\nstart\n", "{at}");
        let requests = place.server.requests();
        assert_eq!(requests.len(), 4, "{at}");
        let read = |index: usize| {
            let request: &crate::server::Request = &requests[index];
            assert!(request.line.starts_with("POST /reports?of=m&x=["), "{at}: {request:?}");
            assert_eq!(request.headers["authorization"], format!("Bearer {TOKEN}"), "{at}");
            assert_eq!(request.headers["content-type"], "application/json", "{at}");
            Message::parse(&request.body, &ostler_cloudinit::Limits::default()).unwrap()
        };
        let report = |index| match read(index) {
            Message::Operation(report) => report,
            other => panic!("{at}: {other:?}"),
        };
        let create = report(0);
        assert_eq!((create.component.as_str(), create.operation), ("web", Lifecycle::Create), "{at}");
        assert_eq!((create.status, create.output.as_str()), (Status::Exit(0), "to-output\nto-error\n"), "{at}");
        assert_eq!(Vec::from_iter(create.outputs), [("port".to_owned(), json!("80"))], "{at}");
        assert_eq!(report(1).operation, Lifecycle::Start, "{at}");
        let app = report(2);
        assert_eq!((app.component.as_str(), app.status), ("app", Status::Exit(0)), "{at}");
        assert_eq!(Value::from_iter(app.outputs), json!({ "a": [1, true], "b": "x" }), "{at}");
        assert_eq!(read(3), Message::Done, "{at}");
        // Others on the machine see the arguments of programs.
        assert!(!place.arguments().contains("canary"), "{at}: {}", place.arguments());
        let mode = place.path("base").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{at}");

        // Boots to come find nothing to do and nothing to say.
        assert_eq!(place.boot(), (0, String::new()), "{at}");
        assert_eq!(place.text("log"), "create\nstart\n", "{at}");
        assert_eq!(place.server.requests().len(), 0, "{at}");
    }
}

/// Texts that shells, printf, YAML and JSON might take for something.
const HOSTILE: [&str; 14] = [
    "$(touch pwned)`touch pwned`${PATH}",
    "'; touch pwned; '",
    "\"; touch pwned; \"",
    "\" \\\" \\\\ \\n %s %n \\0",
    "line\nfeed\n\n",
    "\n",
    "",
    " blanks \t around  ",
    "-n",
    "*",
    "~",
    "EOF\nEND\n",
    "\u{1b}]0;x\u{7}\r\u{7f}\u{85}\u{2028}\u{feff}",
    "gr\u{fc}n \u{1f600} {{ lookup('pipe', 'touch pwned') }} &amp; !unsafe # x: [",
];

#[test]
fn no_text_is_anything_but_text() {
    for subject in shells() {
        let place = Place::new(subject, clients()[0]);
        let names =
            ["PATH", "CDPATH", "name", "value", "base", "id", "script", "token", "HOME", "ENV", "TMPDIR", "kind", "env", "a1"];
        // No program can be found once PATH is hostile, so that nothing but builtins has a part in it.
        let mut script = String::from("# $(touch pwned) `touch pwned` ' \" \\\n");
        for name in names {
            script += &format!("printf %s \"${name}\" >{}\n", place.path(&format!("value-{name}")).display());
        }
        let mut create = shell(Lifecycle::Create, &script);
        for (name, value) in names.into_iter().zip(HOSTILE) {
            create.inputs.insert(name.into(), value.into());
        }
        let mut start = shell(Lifecycle::Start, "printf '%s|' \"$number\" \"$float\" \"$truth\" \"$nothing\" \"$list\" \"$map\"");
        let values = [
            ("number", json!(-5)),
            ("float", json!(0.5)),
            ("truth", json!(true)),
            ("nothing", Value::Null),
            ("list", json!(["a b", "$(touch pwned)"])),
            ("map", json!({ "k": "'\n" })),
        ];
        start.inputs.extend(values.map(|(name, value)| (name.to_owned(), value)));
        let mut machine = place.machine(vec![create, start]);
        for hostile in HOSTILE.into_iter().filter(|text| !text.is_empty()) {
            machine.components.push(Component { name: hostile.into(), operations: vec![shell(Lifecycle::Start, "exit 0")] });
        }
        place.install(&machine);
        assert_eq!(place.boot(), (0, String::new()), "{subject:?}");

        for (name, value) in names.into_iter().zip(HOSTILE) {
            // A shell sets some of these when it starts, unless they came with its environment.
            assert_eq!(place.text(&format!("value-{name}")), value, "{subject:?} {name}");
        }
        let mut messages = place.server.messages();
        assert_eq!(messages.pop(), Some(Message::Done));
        let mut reports = messages.into_iter().map(|message| match message {
            Message::Operation(report) if report.status == Status::Exit(0) => report,
            other => panic!("{subject:?}: {other:?}"),
        });
        assert_eq!(reports.next().unwrap().output, "", "{subject:?}");
        let expected = "-5|0.5|true|null|[\"a b\",\"$(touch pwned)\"]|{\"k\":\"'\\n\"}|";
        assert_eq!(reports.next().unwrap().output, expected, "{subject:?}");
        let components: Vec<_> = reports.map(|report| report.component).collect();
        assert_eq!(components, Vec::from_iter(HOSTILE.into_iter().filter(|text| !text.is_empty())), "{subject:?}");
        let found = Command::new("find").arg(place.root.path()).args(["-name", "pwned"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{subject:?}");
    }
}

#[test]
fn operations_find_the_usual_surroundings() {
    for subject in shells() {
        let place = Place::new(subject, clients()[0]);
        let script = "umask; echo \"$HOME\"; pwd; read -r line || echo no-input; : >made; ls made 2>/dev/null || echo made";
        place.install(&place.machine(vec![shell(Lifecycle::Create, script)]));
        place.succeed();
        let Message::Operation(report) = place.server.messages().remove(0) else { panic!("it is a report") };
        let lines: Vec<_> = report.output.lines().collect();
        assert!(matches!(lines[0], "0022" | "022"), "{subject:?}: {lines:?}");
        assert_eq!(lines[1], "/root", "{subject:?}");
        assert!(lines[2].starts_with(place.path("base/state").to_str().unwrap()), "{subject:?}: {lines:?}");
        assert_eq!(lines[3], "no-input", "{subject:?}");
    }
}

#[test]
fn only_the_end_of_long_output_is_reported() {
    let place = Place::new(Shell::System, clients()[0]);
    place.install(&place.machine(vec![shell(Lifecycle::Create, "seq 1 20000; printf 'the end'")]));
    place.succeed();
    let Message::Operation(report) = place.server.messages().remove(0) else { panic!("it is a report") };
    assert_eq!(report.output.len(), place.options().output);
    assert!(report.output.ends_with("\n20000\nthe end"));
}

#[test]
fn a_machine_that_does_not_report_works_all_the_same() {
    let place = Place::new(Shell::System, clients()[0]);
    let mut machine = place.machine(vec![shell(Lifecycle::Create, &format!("echo once >>{}", place.path("log").display()))]);
    machine.report = None;
    place.install(&machine);
    place.succeed();
    place.succeed();
    assert_eq!(place.text("log"), "once\n");
    assert_eq!(place.server.requests().len(), 0);
}

#[test]
fn scripts_come_from_their_addresses() {
    // SHA-256 of the script, as sha256sum has it.
    let digest = |place: &Place, text: &str| -> [u8; 32] {
        std::fs::write(place.path("script"), text).unwrap();
        let output = Command::new("sha256sum").arg(place.path("script")).output().unwrap();
        let hex = String::from_utf8(output.stdout).unwrap();
        std::array::from_fn(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
    };
    for (subject, client) in pairs() {
        let place = Place::new(subject, client);
        let script = "#!/bin/sh\necho fetched\n";
        let mut create = shell(Lifecycle::Create, "true");
        create.source = Source::Url(place.server.file("/a?signature=canary", 200, script));
        let mut start = create.clone();
        start.name = Lifecycle::Start;
        start.sha256 = Some(digest(&place, script));
        place.install(&place.machine(vec![create, start]));
        assert_eq!(place.boot(), (0, String::new()), "{subject:?} {client}");
        let messages = place.server.messages();
        for message in &messages[..2] {
            let Message::Operation(report) = message else { panic!("{message:?}") };
            assert_eq!(report.output, "fetched\n", "{subject:?} {client}");
        }
        assert_eq!(messages[2], Message::Done);
        assert!(!place.arguments().contains("canary"), "{client}: {}", place.arguments());
    }
    assert!(program("sha256sum").is_some());
}
