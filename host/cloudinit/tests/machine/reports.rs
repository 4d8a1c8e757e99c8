//! Reports that do not arrive at once.

use ostler_cloudinit::{Lifecycle, Message, Reason};

use crate::place::{Place, Shell, clients, pairs, shell};

#[test]
fn a_report_is_tried_again() {
    for (subject, client) in pairs() {
        let place = Place::new(subject, client);
        place.server.answers(&[500, 503, 200]);
        place.install(&place.machine(vec![shell(Lifecycle::Create, "echo x")]));
        assert_eq!(place.boot().0, 0, "{subject:?} {client}");
        let messages = place.server.messages();
        assert_eq!(messages.len(), 4, "{subject:?} {client}: {messages:?}");
        assert!(messages[0] == messages[1] && messages[1] == messages[2], "{subject:?} {client}");
        assert_eq!(messages[3], Message::Done, "{subject:?} {client}");
    }
}

#[test]
fn what_does_not_arrive_waits_for_the_next_boot() {
    for client in clients() {
        let place = Place::new(Shell::System, client);
        let step = |name| shell(name, &format!("echo {name} >>{}", place.path("log").display()));
        // Three times after each operation, and two at the end: the host is away for all of them. Where they would lead to is not
        // asked: the token is for the host alone.
        let elsewhere = vec![302; 8];
        place.server.answers(&elsewhere);
        place.install(&place.machine(vec![step(Lifecycle::Create), step(Lifecycle::Start)]));
        assert_eq!(place.boot().0, 75, "{client}");
        assert_eq!(place.server.requests().len(), 8, "{client}");
        assert_eq!(place.text("log"), "create\nstart\n", "{client}");

        assert_eq!(place.boot(), (0, String::new()), "{client}");
        assert_eq!(place.text("log"), "create\nstart\n", "{client}");
        let messages = place.server.messages();
        let order: Vec<_> = messages
            .iter()
            .map(|message| match message {
                Message::Operation(report) => report.operation.as_str(),
                Message::Done => "done",
                _ => "failed",
            })
            .collect();
        assert_eq!(order, ["create", "start", "done"], "{client}");
    }
}

#[test]
fn nobody_there_is_no_answer() {
    for client in clients() {
        let place = Place::new(Shell::System, client);
        let mut machine = place.machine(vec![shell(Lifecycle::Create, "echo x")]);
        // Nothing listens on port 1.
        machine.report.as_mut().unwrap().url = "http://127.0.0.1:1/".into();
        place.install(&machine);
        let (status, text) = place.boot();
        assert_eq!(status, 75, "{client}");
        assert_eq!(text.matches("no delivery of").count(), 5, "{client}: {text}");
        assert!(text.contains(": 000\n"), "{client}: {text}");
    }
}

#[test]
fn a_host_that_refuses_ends_the_run() {
    for (code, client) in [400, 409, 410, 413, 415, 422].into_iter().zip(clients().into_iter().cycle()) {
        let place = Place::new(Shell::System, client);
        place.server.answers(&[code]);
        place.install(&place.machine(vec![
            shell(Lifecycle::Create, "true"),
            shell(Lifecycle::Start, &format!("touch {}", place.path("started").display())),
        ]));
        assert_eq!(place.boot().0, 1, "{code} {client}");
        let messages = place.server.messages();
        assert_eq!(messages.len(), 2, "{code} {client}: {messages:?}");
        assert_eq!(messages[1], Message::Failed(Reason::Refused), "{code} {client}");
        assert!(!place.path("started").exists(), "{code} {client}");
    }
}

#[test]
fn without_base64_there_is_a_report_that_says_so() {
    let place = Place::new(Shell::System, clients()[0]);
    std::fs::remove_file(place.path("bin/base64")).unwrap();
    place.install(&place.machine(vec![shell(Lifecycle::Create, "touch pwned")]));
    assert_eq!(place.boot().0, 69);
    assert_eq!(place.server.messages(), [Message::Failed(Reason::NoBase64)]);
}
