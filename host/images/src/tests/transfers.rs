//! What goes wrong on the way.

use super::server::{Answer, Drip, Endless, Server, cut, redirect, rest, sending, status, whole};
use super::{checksum, disk, failure, lab, lab_with};
use std::time::Duration;

/// The first request gets half of it and the end of the connection.
fn broken(
    content: Vec<u8>,
    next: impl Fn(usize, &http::request::Parts, &[u8]) -> Answer + Send + Sync + 'static,
) -> impl Fn(usize, &http::request::Parts) -> Answer + Send + Sync + 'static {
    move |number, parts| match number {
        0 => sending(Some(content.len()), cut(&content[..content.len() / 2])),
        _ => next(number, parts, &content),
    }
}

#[tokio::test]
async fn what_was_interrupted_goes_on_where_it_ended() {
    // More than is written at once.
    let content = disk(6_000);
    let half = content.len() / 2;
    let server = Server::start(broken(content.clone(), move |_, _, content| rest(content, half, "\"one\""))).await;
    let mut lab = lab(&[&server]);
    assert_eq!(failure(lab.fetch(&server.url("/a")).await).0, "interrupted");
    assert_eq!(lab.files(), ["a-1.from", "a-1.part"]);
    lab.restart();
    let staged = lab.fetch_checked(&server.url("/a"), Some(&checksum(&content))).await.unwrap();
    assert_eq!((staged.bytes, lab.content() == content), (content.len() as u64, true));
    assert_eq!(server.fields("range"), ["", &format!("bytes={half}-")]);
    assert_eq!(server.fields("if-range"), ["", "\"one\""]);
}

/// Whatever tells that the content is another, or cannot tell that it is the same, begins anew.
#[tokio::test]
async fn what_may_have_changed_begins_anew() {
    let other: Vec<u8> = disk(64).iter().map(|byte| byte ^ 1).collect();
    let half = other.len() / 2;
    type Next = Box<dyn Fn(&http::request::Parts, &[u8]) -> Answer + Send + Sync>;
    let cases: Vec<(&str, Next)> = vec![
        ("the server says so", Box::new(|_, other| whole(other))),
        (
            "another tag",
            Box::new(move |parts, other| match parts.headers.contains_key("range") {
                true => rest(other, half, "\"two\""),
                false => whole(other),
            }),
        ),
        (
            "another place",
            Box::new(move |parts, other| match parts.headers.contains_key("range") {
                true => rest(other, half + 512, "\"one\""),
                false => whole(other),
            }),
        ),
        (
            "nothing is left",
            Box::new(|parts, other| match parts.headers.contains_key("range") {
                true => status(416),
                false => whole(other),
            }),
        ),
    ];
    for (what, next) in cases {
        let later = other.clone();
        let server = Server::start(broken(disk(64), move |_, parts, _| next(parts, &later))).await;
        let lab = lab(&[&server]);
        assert_eq!(failure(lab.fetch(&server.url("/a")).await).0, "interrupted", "{what}");
        lab.fetch_checked(&server.url("/a"), Some(&checksum(&other))).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    // Another address under the same name, and a tag that is weak.
    for (path, tag) in [("/b", "\"one\""), ("/a", "W/\"one\"")] {
        let later = other.clone();
        let server = Server::start(move |number, _| {
            let mut answer = match number {
                0 => sending(Some(1024), cut(&disk(1))),
                _ => whole(&later),
            };
            answer.headers_mut().insert("etag", tag.parse().unwrap());
            answer
        })
        .await;
        let lab = lab(&[&server]);
        assert_eq!(failure(lab.fetch(&server.url("/a")).await).0, "interrupted");
        lab.fetch_checked(&server.url(path), Some(&checksum(&other))).await.unwrap();
        assert_eq!(server.fields("range"), ["", ""], "{path} {tag}");
    }
}

#[tokio::test]
async fn limits_hold_whatever_the_server_says() {
    type Behaviour = fn() -> Answer;
    let cases: [(&str, Behaviour, &str, &str); 8] = [
        ("announced", || whole(&disk(9)), "refused", "larger than"),
        ("not announced", || sending(None, Endless), "refused", "larger than"),
        ("more than it sends", || sending(Some(4096), cut(&disk(1))), "interrupted", "HTTP exchange failed"),
        ("a byte now and then", || sending(None, Drip::every(Duration::from_millis(20))), "interrupted", "too slowly|timed out"),
        ("nothing", || sending(Some(4096), Drip::every(Duration::from_secs(3600))), "interrupted", "timed out"),
        ("not there", || status(404), "refused", "answers 404"),
        ("not now", || status(503), "interrupted", "answers 503"),
        ("a part", || rest(&disk(2), 512, "\"one\""), "refused", "nobody asked for"),
    ];
    for (what, answer, class, text) in cases {
        let server = Server::start(move |_, _| answer()).await;
        let lab = lab_with(&[&server], |settings| {
            settings.max_bytes = 4096;
            // Short only for what never comes: a busy machine answers late.
            if text.contains("timed out") {
                settings.stall = Duration::from_millis(500);
            }
        });
        let failed = failure(lab.fetch(&server.url("/a?secret")).await);
        let said = text.split('|').any(|text| failed.1.contains(text));
        assert!(failed.0 == class && said && !failed.1.contains("secret"), "{what}: {failed:?}");
        assert!(class == "interrupted" || lab.files().is_empty(), "{what}: {:?}", lab.files());
    }
    // All in all.
    let server = Server::start(|_, _| sending(None, Drip::every(Duration::from_millis(20)))).await;
    let late = lab_with(&[&server], |settings| settings.timeout = Duration::from_millis(200));
    assert_eq!(
        failure(late.fetch(&server.url("/")).await),
        ("interrupted", "fetching the image took more than 0 seconds".to_owned())
    );
    // Room on the disk.
    let server = Server::giving(disk(8)).await;
    let full = lab_with(&[&server], |settings| settings.keep_free = u64::MAX);
    let failed = failure(full.fetch(&server.url("/")).await);
    assert!(failed.0 == "interrupted" && failed.1.contains("not enough room"), "{failed:?}");
}

#[tokio::test]
async fn redirects_lead_only_where_an_address_may() {
    let hidden = Server::giving(disk(1)).await;
    let hidden_port = hidden.origin().rsplit(':').next().unwrap().to_owned();
    let endless = "/again".to_owned();
    for (to, expected) in [
        (hidden.url("/").to_string(), "public addresses only"),
        (format!("http://localhost:{hidden_port}/"), "public addresses only"),
        (format!("http://[::ffff:127.0.0.1]:{hidden_port}/"), "public addresses only"),
        ("http://169.254.169.254/latest/meta-data".to_owned(), "public addresses only"),
        ("http://10.0.0.1/".to_owned(), "public addresses only"),
        ("file:///etc/shadow".to_owned(), "must begin with http"),
        ("gopher://127.0.0.1/".to_owned(), "must begin with http"),
        ("http://".to_owned(), "redirects to nowhere"),
        (endless, "more than 5 times"),
    ] {
        let target = to.clone();
        let server = Server::start(move |_, _| redirect(&target)).await;
        let lab = lab(&[&server]);
        let failed = failure(lab.fetch(&server.url("/")).await);
        assert!(failed.0 == "refused" && failed.1.contains(expected), "{to}: {failed:?}");
        assert_eq!(lab.files(), [""; 0], "{to}");
    }
    assert!(hidden.fields("host").is_empty(), "it was reached");
    // Nor is it reached directly, unless it is listed.
    let lab = lab(&[]);
    assert_eq!(failure(lab.fetch(&hidden.url("/")).await).0, "refused");
    assert!(hidden.fields("host").is_empty() && lab.fetcher.check(&hidden.url("/")).is_err(), "it was reached");
}

#[tokio::test]
async fn credentials_stay_with_the_first_origin() {
    let content = disk(1);
    let last = Server::giving(content.clone()).await;
    let target = last.url("/c").to_string();
    let first = Server::start(move |number, _| match number {
        0 => redirect("/b"),
        _ => redirect(&target),
    })
    .await;
    let lab = lab(&[&first, &last]);
    let mut source = first.url("/a");
    source.set_username("me").unwrap();
    source.set_password(Some("secret")).unwrap();
    lab.fetch(&source).await.unwrap();
    let basic = "Basic bWU6c2VjcmV0";
    assert_eq!((first.fields("authorization"), last.fields("authorization")), (vec![basic.to_owned(); 2], vec![String::new()]));
    assert_eq!(last.fields("accept-encoding"), ["identity"]);
}

#[tokio::test]
async fn a_fetch_is_ended_by_whoever_forgets_it_and_goes_on_after_it_was_dropped() {
    let server = Server::start(|number, _| match number {
        0 | 1 => sending(Some(4096), Drip::every(Duration::from_secs(3600))),
        _ => whole(&disk(8)),
    })
    .await;
    let lab = lab(&[&server]);
    let asked = async |count: usize| {
        while server.fields("host").len() < count {
            tokio::task::yield_now().await;
        }
    };
    let url = server.url("/");
    let (result, ()) = tokio::join!(lab.fetch(&url), async {
        asked(1).await;
        lab.fetcher.forget("a-1").await.unwrap();
    });
    assert_eq!(failure(result), ("interrupted", "the image was given up".to_owned()));
    assert_eq!(lab.files(), [""; 0]);
    tokio::select! {
        _ = lab.fetch(&url) => panic!("it ended"),
        () = asked(2) => {}
    }
    lab.fetch(&url).await.unwrap();
    // Two at once are one.
    lab.fetcher.forget("a-1").await.unwrap();
    let (one, two) = tokio::join!(lab.fetch(&url), lab.fetch(&url));
    assert_eq!((one.unwrap(), server.fields("host").len()), (two.unwrap(), 4));
}
