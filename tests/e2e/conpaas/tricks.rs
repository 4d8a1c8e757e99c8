//! SQL, headers, scripts and worse in every field: one at a time, with all others as they should be. What is taken is kept as it is,
//! byte for byte; the rest is refused and changes nothing.

use super::{credit, manager, nodes, setup, start};
use ostler_tests::director::{Director, Identity};
use ostler_tests::{Reply, Server};
use serde_json::{Value, json};

const EVIL: [&str; 8] = [
    "'; DROP TABLE users; --",
    "\" OR \"\"=\"",
    "a\r\nX-Injected: yes\r\n\r\n<script>",
    "$(touch /tmp/x) ${jndi:ldap://x} `id`",
    "../../../etc/passwd",
    "%00%0d%0a",
    "x\0y",
    "\u{202e}\u{1f600}é",
];

/// No answer breaks, and none says more than it should.
fn sane(what: &str, reply: &Reply) {
    assert!(reply.status < 500, "{what}: {} {}", reply.status, reply.text());
    assert_eq!(reply.header("x-injected"), "", "{what}");
}

async fn users(server: &Server) -> Vec<Value> {
    let page = server.as_operator("GET", "/ostler/v1/users?limit=500", "").await.json();
    page["users"].as_array().unwrap().clone()
}

#[tokio::test]
async fn in_the_fields_of_a_registration() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let fields = [
        ("username", "username"),
        ("fname", "first_name"),
        ("lname", "last_name"),
        ("email", "email"),
        ("affiliation", "affiliation"),
        ("credit", ""),
        ("password", ""),
    ];
    let mut taken = Vec::new();
    for (i, evil) in EVIL.into_iter().enumerate() {
        for (field, shown) in fields {
            let (name, email) = (format!("{field}{i}"), format!("{field}{i}@example.org"));
            let good = [
                ("username", name.as_str()),
                ("fname", "Ann"),
                ("lname", "Other"),
                ("email", email.as_str()),
                ("affiliation", "VU"),
                ("password", "right horse"),
                ("credit", "5"),
            ];
            let sent = if field == "email" { format!("{evil}@example.org") } else { evil.to_owned() };
            let all = good.map(|(known, value)| (known, if known == field { sent.as_str() } else { value }));
            let reply = director.post(None, "/new_user", &all).await;
            let what = format!("{field} {evil:?}");
            sane(&what, &reply);
            if reply.status != 200 {
                assert!(reply.status == 400 && evil.contains('\0'), "{what}: {}", reply.status);
                continue;
            }
            let answer = reply.json();
            let Some(uid) = answer["uid"].as_i64() else {
                assert_eq!(answer["error"], true, "{what}: {answer}");
                continue;
            };
            assert_ne!(field, "credit", "{what} is no number");
            if field == "password" {
                let login = director.post(None, "/login", &[("username", &name), ("password", evil)]).await;
                assert_eq!(login.json()["uid"], uid, "{what}");
            } else {
                taken.push((uid, shown, sent));
            }
        }
    }
    let users = users(&server).await;
    for (uid, shown, sent) in &taken {
        let user = users.iter().find(|user| user["number"] == *uid).unwrap();
        assert_eq!(user[shown].as_str(), Some(sent.as_str()), "{user}");
    }
    // Names of people are texts like others, and addresses are not.
    for (shown, least) in [("username", 4), ("first_name", 5), ("last_name", 5), ("affiliation", 5)] {
        assert!(taken.iter().filter(|(_, known, _)| *known == shown).count() >= least, "{shown}: {taken:?}");
    }
    assert!(!server.log().contains("right horse"));
}

#[tokio::test]
async fn in_names_and_paths() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "9").await;
    let service = start(&director, &ann, "/start/php").await;
    let (sid, aid) = (service["sid"].to_string(), service["application_id"].to_string());
    let mut made = 1;
    for evil in EVIL {
        // Where it is taken, it is the name from then on.
        let before = director.get(Some(&ann), "/list").await.json()[0]["name"].clone();
        let reply = director.post(Some(&ann), &format!("/rename/{sid}"), &[("name", evil)]).await;
        sane(evil, &reply);
        let expected = if reply.text() == "true" { json!(evil) } else { before };
        assert_eq!(director.get(Some(&ann), "/list").await.json()[0]["name"], expected);
        let reply = director.post(Some(&ann), &format!("/renameapp/{aid}"), &[("name", evil)]).await;
        sane(evil, &reply);
        let names = director.post(Some(&ann), "/listapp", &[]).await.json();
        assert_eq!(names[0]["name"] == evil, reply.text() == "true", "{evil:?}: {names}");
        let name = format!("{evil} 2");
        let reply = director.post(Some(&ann), "/createapp", &[("name", &name)]).await;
        sane(evil, &reply);
        let names = director.post(Some(&ann), "/listapp", &[]).await.json();
        let is_there = names.as_array().unwrap().iter().any(|application| application["name"] == name);
        assert_eq!(is_there, reply.status == 200 && reply.json()["aid"].is_i64(), "{evil:?}: {names}");
        made += usize::from(is_there);
        // In paths, and where numbers are.
        let escaped: String = evil.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for (path, fields) in [
            (format!("/start/php/{escaped}"), vec![]),
            (format!("/start/{escaped}"), vec![]),
            (format!("/startapp/{aid}/{escaped}"), vec![]),
            (format!("/startapp/{escaped}"), vec![]),
            (format!("/stop/{escaped}"), vec![]),
            ("/start/php".to_owned(), vec![("appid", evil)]),
            ("/add/php".to_owned(), vec![("appid", evil)]),
            ("/rename".to_owned(), vec![("app_id", evil), ("service_id", "1"), ("name", "x")]),
            ("/rename".to_owned(), vec![("app_id", aid.as_str()), ("service_id", evil), ("name", "x")]),
            ("/remove".to_owned(), vec![("app_id", aid.as_str()), ("service_id", evil)]),
        ] {
            let reply = director.post(Some(&ann), &path, &fields).await;
            sane(&path, &reply);
            let failed = reply.status >= 400 || reply.text() == "false" || !reply.json()["error"].is_null();
            assert!(failed, "{path} {fields:?}: {}", reply.text());
        }
    }
    assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (1, 8));
    assert_eq!(director.get(Some(&ann), "/list").await.json().as_array().map(Vec::len), Some(1));
    assert_eq!(director.post(Some(&ann), "/listapp", &[]).await.json().as_array().map(Vec::len), Some(made));
    assert!(made > 4, "texts are names");
}

/// What the shell of a node makes of the variables of its first boot.
fn variable(user_data: &str) -> String {
    let (from, to) = (user_data.find("export EVIL=").unwrap(), user_data.find("export ZEND=").unwrap());
    let script = format!("{}\nprintf %s \"$EVIL\"", &user_data[from..to]);
    let output = std::process::Command::new("bash").arg("-c").arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn order(director: &Director, manager: &Identity, fields: &[(&str, &str)]) -> Reply {
    director.post(Some(manager), "/create_nodes", fields).await
}

#[tokio::test]
async fn in_what_managers_say() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "50").await;
    super::applications::application(&director, &ann).await;
    let app = director.get(Some(&ann), "/listapp").await.json()[0].clone();
    let manager = manager(&server, "default", &app).await;
    let aid = app["aid"].to_string();
    let good = [("app_id", aid.as_str()), ("service_id", "0"), ("nodes_info", "[{}]"), ("cloud_name", "default")];
    let mut spent = 1;
    for evil in EVIL {
        // Refused, and nothing is charged or made.
        for field in ["app_id", "service_id", "nodes_info", "cloud_name", "context"] {
            let mut fields: Vec<_> = good.into_iter().filter(|(known, _)| *known != field).collect();
            fields.push((field, evil));
            let reply = order(&director, &manager, &fields).await;
            sane(field, &reply);
            assert!(reply.status == 400 || reply.json()["error"].is_string(), "{field} {evil:?}: {}", reply.text());
        }
        for (path, fields) in [
            ("/remove_nodes", vec![("nodes", evil)]),
            ("/callback/decrementUserCredit.php", vec![("sid", aid.as_str()), ("decrement", evil)]),
            ("/callback/decrementUserCredit.php", vec![("sid", evil), ("decrement", "1")]),
            ("/callback/terminateService.php", vec![("sid", evil)]),
        ] {
            let reply = director.post(Some(&manager), path, &fields).await;
            sane(path, &reply);
            let refused = reply.status == 400 || reply.text() == "false" || !reply.json()["error"].is_null();
            assert!(refused, "{path} {fields:?}: {}", reply.text());
        }
        let by_id = json!([{ "vmid": evil, "cloud_name": evil }]).to_string();
        assert!(director.post(Some(&manager), "/remove_nodes", &[("nodes", &by_id)]).await.json()["error"].is_string());
        assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (1, 50 - spent), "{evil:?}");

        // Taken, and handed on as it is: a variable is a text, whatever is in it, and a script is a script.
        if evil.contains('\0') {
            continue;
        }
        let context = json!({ "EVIL": evil, "ZEND": "" }).to_string();
        let made = order(&director, &manager, &[&good[..], &[("context", &context), ("startup_script", evil)]].concat()).await;
        sane(evil, &made);
        let made = made.json();
        spent += 1;
        assert!(made[0]["vmid"].is_string(), "{evil:?}: {made}");
        let shown = server.get("/api/v1/nodes/default").await.json();
        let node = shown["nodes"].as_array().unwrap().iter().find(|node| node["id"] == made[0]["vmid"]).unwrap();
        let user_data = node["extra"]["user_data"].as_str().unwrap();
        assert_eq!(variable(user_data), evil);
        assert!(user_data.contains(evil), "the script: {user_data}");
        assert_eq!(director.post(Some(&manager), "/remove_nodes", &[("nodes", &made.to_string())]).await.text(), "{}");
    }
}
