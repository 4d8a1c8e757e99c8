//! Operations that fail, and runs that are interrupted.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use ostler_cloudinit::{Lifecycle, Limits, Message, MessageError, OperationReport, OutputProblem, Reason, Source, Status};

use crate::place::{Place, Shell, clients, lives, program, shell, shells};

fn report(message: &Message) -> &OperationReport {
    match message {
        Message::Operation(report) => report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_failure_ends_the_run_and_the_next_boot_goes_on_there() {
    for subject in shells() {
        let place = Place::new(subject, clients()[0]);
        let log = place.path("log");
        let step = |name, text: &str| shell(name, &format!("echo {name} >>{}\n{text}", log.display()));
        let repaired = format!("[ -f {} ] || {{ echo sorry; exit 3; }}", place.path("repaired").display());
        place.install(&place.machine(vec![
            step(Lifecycle::Create, ""),
            step(Lifecycle::Configure, &repaired),
            step(Lifecycle::Start, ""),
        ]));
        assert_eq!(place.boot(), (1, String::new()), "{subject:?}");
        assert_eq!(place.text("log"), "create\nconfigure\n", "{subject:?}");
        let messages = place.server.messages();
        assert_eq!(messages.len(), 3, "{subject:?}: {messages:?}");
        assert_eq!(report(&messages[1]).status, Status::Exit(3), "{subject:?}");
        assert_eq!(report(&messages[1]).output, "sorry\n", "{subject:?}");
        assert_eq!(messages[2], Message::Failed(Reason::Operation), "{subject:?}");

        std::fs::write(place.path("repaired"), "").unwrap();
        assert_eq!(place.boot(), (0, String::new()), "{subject:?}");
        assert_eq!(place.text("log"), "create\nconfigure\nconfigure\nstart\n", "{subject:?}");
        let messages = place.server.messages();
        assert_eq!(messages.len(), 3, "{subject:?}: {messages:?}");
        assert_eq!(report(&messages[0]).operation, Lifecycle::Configure, "{subject:?}");
        assert!(report(&messages[0]).status.is_success(), "{subject:?}");
        assert_eq!(messages[2], Message::Done, "{subject:?}");
    }
}

#[test]
fn an_operation_over_its_deadline_ends_with_all_that_it_started() {
    for subject in shells() {
        for ignore in ["", "trap '' TERM"] {
            let place = Place::new(subject, clients()[0]);
            let (hold, end) = place.witness();
            let mut create = shell(Lifecycle::Create, &format!("{ignore}\n{hold}\nsleep 1000 & wait; sleep 1000"));
            create.timeout = Some(Duration::from_secs(2));
            place.install(&place.machine(vec![create, shell(Lifecycle::Start, "true")]));
            let at = format!("{subject:?} {ignore}");
            assert_eq!(place.boot().0, 1, "{at}");
            let messages = place.server.messages();
            assert_eq!(report(&messages[0]).status, Status::Timeout, "{at}");
            assert_eq!(messages[1..], [Message::Failed(Reason::Operation)], "{at}");
            end.recv_timeout(Duration::from_secs(60)).expect("nothing of it lives");
        }
    }
}

#[test]
fn a_service_outlives_the_operation_that_started_it() {
    for subject in shells().into_iter().filter(|_| program("setsid").is_some()) {
        let place = Place::new(subject, clients()[0]);
        // It keeps the output of the operation open.
        let script = format!("setsid sleep 1000 & echo $! >{}", place.path("pid").display());
        place.install(&place.machine(vec![shell(Lifecycle::Start, &script)]));
        place.succeed();
        let pid = place.text("pid");
        assert!(lives(pid.trim()), "{subject:?}");
        assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success());
    }
}

#[test]
fn what_the_kernel_ended_is_no_success() {
    let place = Place::new(Shell::System, clients()[0]);
    place.install(&place.machine(vec![shell(Lifecycle::Create, "kill -9 $$")]));
    assert_eq!(place.boot().0, 1);
    assert_eq!(report(&place.server.messages()[0]).status, Status::Exit(137));
}

#[test]
fn an_interrupted_operation_is_done_again() {
    for subject in shells() {
        let place = Place::new(subject, clients()[0]);
        let log = place.path("log");
        // The first time it stops the runner, as a reboot would.
        let script =
            format!("echo start >>{0}\n[ \"$(grep -c start {0})\" -gt 1 ] || {{ kill -9 $PPID; exit 1; }}", log.display());
        place.install(&place.machine(vec![
            shell(Lifecycle::Create, &format!("echo create >>{}", log.display())),
            shell(Lifecycle::Start, &script),
        ]));
        let status = place.command().status().unwrap();
        assert_eq!(status.signal(), Some(9), "{subject:?}");
        assert_eq!(place.server.messages().len(), 1, "{subject:?}");
        assert_eq!(place.boot(), (0, String::new()), "{subject:?}");
        assert_eq!(place.text("log"), "create\nstart\nstart\n", "{subject:?}");
        let messages = place.server.messages();
        assert!(report(&messages[0]).status.is_success(), "{subject:?}");
        assert_eq!(messages[1..], [Message::Done], "{subject:?}");
    }
}

#[test]
fn a_runner_that_is_told_to_end_takes_the_operation_with_it() {
    for subject in shells() {
        let place = Place::new(subject, clients()[0]);
        let (hold, end) = place.witness();
        let script = format!("{hold}\nkill $PPID\nsleep 1000 & wait; sleep 1000");
        place.install(&place.machine(vec![shell(Lifecycle::Create, &script)]));
        assert_eq!(place.boot(), (143, String::new()), "{subject:?}");
        end.recv_timeout(Duration::from_secs(60)).expect("nothing of it lives");
        assert_eq!(place.server.requests().len(), 0, "{subject:?}");
    }
}

#[test]
fn two_runners_do_not_run_at_once() {
    for subject in shells() {
        let place = Place::new(subject, clients()[0]);
        if !place.path("bin/flock").exists() {
            continue;
        }
        let (begun, go) = (place.path("begun"), place.path("go"));
        for fifo in [&begun, &go] {
            assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
        }
        let script = format!("echo x >{}; read -r line <{}", begun.display(), go.display());
        place.install(&place.machine(vec![shell(Lifecycle::Create, &script)]));
        let mut first = place.command().spawn().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(std::fs::read(begun)));
        receiver.recv_timeout(Duration::from_secs(60)).expect("the operation begins").unwrap();
        assert_eq!(place.boot().0, 75, "{subject:?}");
        File::options().write(true).open(&go).unwrap().write_all(b"x\n").unwrap();
        assert!(first.wait().unwrap().success(), "{subject:?}");
        assert_eq!(place.server.messages().len(), 2, "{subject:?}");
    }
}

#[test]
fn other_user_data_starts_anew() {
    let place = Place::new(Shell::System, clients()[0]);
    let mut machine = place.machine(vec![shell(Lifecycle::Create, &format!("echo x >>{}", place.path("log").display()))]);
    place.install(&machine);
    place.succeed();
    machine.name = "of the same image".into();
    place.install(&machine);
    place.succeed();
    assert_eq!(place.text("log"), "x\nx\n");
    assert_eq!(place.server.messages().len(), 4);
}

#[test]
fn outputs_are_held_to_their_limits() {
    let place = Place::new(Shell::System, clients()[0]);
    place.install(&place.machine(vec![shell(Lifecycle::Create, "head -c 65537 /dev/zero >\"$OSTLER_OUTPUTS\"")]));
    assert_eq!(place.boot().0, 1);
    assert_eq!(report(&place.server.messages()[0]).status, Status::Outputs);

    // Within them it is the host that finds what is wrong, and refuses the report.
    let place = Place::new(Shell::System, clients()[0]);
    place.server.answers(&[422]);
    place.install(&place.machine(vec![shell(Lifecycle::Create, "echo nothing >\"$OSTLER_OUTPUTS\"")]));
    assert_eq!(place.boot().0, 1);
    let requests = place.server.requests();
    let error = Message::parse(&requests[0].body, &Limits::default()).unwrap_err();
    assert!(matches!(error, MessageError::Outputs { problem: OutputProblem::Line(1), .. }), "{error}");
    assert_eq!(Message::parse(&requests[1].body, &Limits::default()), Ok(Message::Failed(Reason::Refused)));
}

#[test]
fn what_cannot_be_fetched_or_is_another_text_is_not_run() {
    for client in clients() {
        let place = Place::new(Shell::System, client);
        let mut create = shell(Lifecycle::Create, "true");
        create.source = Source::Url(place.server.file("/a", 404, "echo no"));
        place.install(&place.machine(vec![create.clone()]));
        assert_eq!(place.boot().0, 1, "{client}");
        let messages = place.server.messages();
        assert_eq!(report(&messages[0]).status, Status::Fetch, "{client}");
        assert!(report(&messages[0]).output.contains("404"), "{client}: {}", report(&messages[0]).output);

        let place = Place::new(Shell::System, client);
        create.source = Source::Url(place.server.file("/a", 200, "touch pwned"));
        create.sha256 = Some([7; 32]);
        place.install(&place.machine(vec![create]));
        assert_eq!(place.boot().0, 1, "{client}");
        assert_eq!(report(&place.server.messages()[0]).status, Status::Digest, "{client}");
    }
}
