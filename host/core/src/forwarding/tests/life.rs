//! Rules and their ports, from the first to the last.

use super::*;

#[tokio::test]
async fn ports() {
    let (host, house) = Host::with_one_instance(tuning()).await;
    house.put(2, 1, None);
    // Another program has one of them.
    let occupied = TcpListener::bind((host.listen, 7001)).await.unwrap();
    let asked = |port| NewRule { port_from: Some(port), ..to(80) };
    for (order, expected) in [
        (to(80), Ok(7000)),
        (to(80), Ok(7002)),
        (asked(7004), Ok(7004)),
        (asked(7004), Err("the port exists already")),
        (asked(7001), Err("the port exists already")),
        (asked(6999), Err("the port of the host must be between 7000 and 7009")),
        (asked(7010), Err("the port of the host must be between 7000 and 7009")),
        (asked(0), Err("the port of the host must be between 7000 and 7009")),
        (to(0), Err("the port of the instance must be between 1 and 65535")),
        (NewRule { instance: 3, ..to(80) }, Err("there is no instance 3")),
        (NewRule { cloud: "other".into(), ..to(80) }, Err("there is no instance 1")),
        (NewRule { protocol: Protocol::Udp, ..asked(7004) }, Ok(7004)),
        (NewRule { instance: 2, ..to(65_535) }, Ok(7003)),
        (to(80), Ok(7005)),
        (to(80), Ok(7006)),
        (to(80), Ok(7007)),
        (to(80), Ok(7008)),
        (to(80), Ok(7009)),
        (to(80), Err("all ports from 7000 to 7009 are in use")),
    ] {
        let made = host.make(order.clone()).await;
        let made = made.as_ref().map(|rule| rule.port_from).map_err(ToString::to_string);
        assert_eq!(made, expected.map_err(str::to_owned), "{order:?}");
    }
    let rules = host.forwarding.list(&guest(1), CLOUD, None).await.unwrap();
    assert_eq!(rules.len(), 10);
    assert_eq!(rules[0].instance_name, "instance-1");

    // What is free again is taken again, and a number is not.
    let before = host.forwarding.store.event_last().await.unwrap();
    host.forwarding.delete(&guest(1), CLOUD, rules[1].id).await.unwrap();
    let told = host.forwarding.store.events_after(before - 10, 11).await.unwrap();
    let kinds: Vec<&str> = told.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, [vec!["forward.created"; 10], vec!["forward.deleted"]].concat());
    let of_one = json!({ "instance": 1, "protocol": "tcp", "port_from": 7002, "port_to": 80 });
    for event in [&told[1], &told[10]] {
        let expected = (rules[1].id.to_string(), Some(CLOUD), "user-1", &of_one);
        assert_eq!((event.subject.clone(), event.cloud.as_deref(), event.actor.as_str(), &event.data), expected);
    }
    drop(occupied);
    for port in [7001, 7002] {
        let rule = host.make(to(80)).await.unwrap();
        assert_eq!(rule.port_from, port);
        assert!(rules.iter().all(|before| before.id < rule.id), "{rule:?}");
    }
}

#[tokio::test]
async fn an_instance_has_so_many_rules() {
    let (host, house) = Host::with_one_instance(Tuning { rules: 2, ..tuning() }).await;
    house.put(2, 1, None);
    host.make(to(80)).await.unwrap();
    let second = host.make(to(80)).await.unwrap();
    let third = host.make(to(80)).await;
    assert!(matches!(&third, Err(Error::NotNow(why)) if why == "an instance has at most 2 forwarding rules"), "{third:?}");
    // The port of what was refused is closed.
    TcpListener::bind((host.listen, 7002)).await.unwrap();
    host.make(NewRule { instance: 2, ..to(80) }).await.unwrap();
    host.forwarding.delete(&guest(1), CLOUD, second.id).await.unwrap();
    host.make(to(80)).await.unwrap();
}

#[tokio::test]
async fn a_key_makes_one() {
    let (host, house) = Host::with_one_instance(tuning()).await;
    house.put(2, 2, None);
    let make = |number, order: NewRule, k| {
        let (forwarding, who) = (Arc::clone(&host.forwarding), guest(number));
        async move { forwarding.create(&who, order, key(k)).await }
    };
    let first = make(1, to(80), "k").await.unwrap();
    assert_eq!(make(1, to(80), "k").await.unwrap(), first);
    for other in [to(81), NewRule { port_from: Some(7000), ..to(80) }, NewRule { protocol: Protocol::Udp, ..to(80) }] {
        let refused = make(1, other.clone(), "k").await;
        assert!(matches!(refused, Err(Error::KeyReused)), "{other:?}: {refused:?}");
    }
    // Also where what was asked for is taken since: by itself.
    let asked = NewRule { port_from: Some(7005), ..to(80) };
    let racing = futures::future::join_all((0..8).map(|_| make(1, asked.clone(), "l"))).await;
    let ids: BTreeSet<i64> = racing.into_iter().map(|made| made.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    // Keys are each one's own.
    assert_ne!(make(2, NewRule { instance: 2, ..to(80) }, "k").await.unwrap().id, first.id);
    host.forwarding.delete(&guest(1), CLOUD, first.id).await.unwrap();
    assert!(make(1, to(80), "k").await.unwrap().id > first.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_hosts_listen_to_all_rules() {
    let house = Arc::new(House::default());
    house.put(1, 1, Some("127.0.0.1"));
    let store = memory().await;
    let hosts = [0, 1].map(|_| Host::start(&house, &store, settings(7000..=7019), tuning()));
    let port = named("127.0.0.1:0", "one").await;
    let made = futures::future::join_all((0..16).map(|number| hosts[number % 2].make(to(port)))).await;
    let rules: Vec<Rule> = made.into_iter().map(|made| made.unwrap()).collect();
    let ports: BTreeSet<u16> = rules.iter().map(|rule| rule.port_from).collect();
    assert_eq!(ports, (7000..7016).collect());
    for host in &hosts {
        for rule in &rules {
            until("all are open", async || matches!(host.ask(rule).await.as_deref(), Ok("one"))).await;
        }
    }
    // One that is deleted at one host, and its port taken by another, is so at both.
    let other = named("127.0.0.1:0", "other").await;
    hosts[0].forwarding.delete(&guest(1), CLOUD, rules[3].id).await.unwrap();
    let again = hosts[0].make(to(other)).await.unwrap();
    assert_eq!(again.port_from, rules[3].port_from);
    for host in &hosts {
        until("it leads elsewhere", async || matches!(host.ask(&again).await.as_deref(), Ok("other"))).await;
    }
}

#[tokio::test]
async fn ports_are_open_again_after_a_restart() {
    let house = Arc::new(House::default());
    house.put(1, 1, Some("127.0.0.1"));
    let (store, settings) = (memory().await, settings(7000..=7009));
    let port = echo().await;
    let host = Host::start(&house, &store, settings.clone(), tuning());
    let rule = host.make(to(port)).await.unwrap();
    let mut held = host.connect(&rule).await.unwrap();
    round_trip(&mut held).await.unwrap();
    let forwarding = Arc::clone(&host.forwarding);
    host.stop().await;
    assert!(turned_away(&mut held).await, "connections end with the host");
    assert!(matches!(forwarding.create(&guest(1), to(port), None).await, Err(Error::Stopping)));

    // And so is that of a host that died when it had just written its rule down.
    let left = NewForward {
        cloud: CLOUD.into(),
        instance: 1,
        protocol: ostler_store::ForwardProtocol::Tcp,
        port_from: 7003,
        port_to: port,
        idempotency: None,
        input_hash: vec![],
    };
    store.forward_create(&left, 9, &event("forward.created", "ann", (None, json!({})))).await.unwrap();
    let host = Host::start(&house, &store, settings.clone(), tuning());
    let rules = host.forwarding.list(&guest(1), CLOUD, None).await.unwrap();
    assert_eq!(rules.iter().map(|rule| rule.port_from).collect::<Vec<_>>(), [7000, 7003]);
    for rule in &rules {
        until("it is open", async || host.connect(rule).await.is_ok()).await;
        round_trip(&mut host.connect(rule).await.unwrap()).await.unwrap();
    }

    // What another program has is opened when that has gone.
    host.stop().await;
    let occupied = loop {
        match TcpListener::bind((settings.listen, 7000)).await {
            Ok(listener) => break listener,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let host = Host::start(&house, &store, settings, tuning());
    until("the other one is open", async || host.connect(&rules[1]).await.is_ok()).await;
    drop(occupied);
    until("it is open", async || host.connect(&rules[0]).await.is_ok()).await;
    round_trip(&mut host.connect(&rules[0]).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_deleted_rule_lets_connections_end() {
    let (host, _house) = Host::with_one_instance(tuning()).await;
    let port = echo().await;
    let rule = host.make(to(port)).await.unwrap();
    let mut client = host.connect(&rule).await.unwrap();
    round_trip(&mut client).await.unwrap();
    host.forwarding.delete(&guest(1), CLOUD, rule.id).await.unwrap();
    assert_eq!(host.connect(&rule).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // Its port has another one by now, and it goes on.
    assert_eq!(host.make(to(port)).await.unwrap().port_from, rule.port_from);
    round_trip(&mut client).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    for id in [rule.id, 999] {
        let gone = host.forwarding.delete(&guest(1), CLOUD, id).await;
        assert!(matches!(gone, Err(Error::NoRule(no)) if no == id), "{gone:?}");
    }

    // But not for ever.
    let (host, _house) = Host::with_one_instance(Tuning { drain: Duration::from_millis(50), ..tuning() }).await;
    let rule = host.make(to(port)).await.unwrap();
    let mut client = host.connect(&rule).await.unwrap();
    round_trip(&mut client).await.unwrap();
    host.forwarding.delete(&guest(1), CLOUD, rule.id).await.unwrap();
    assert!(turned_away(&mut client).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_is_free_as_soon_as_its_rule_is_gone() {
    let (host, _house) = Host::with_one_instance(tuning()).await;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for round in 0..200 {
            let rule = host.make(NewRule { protocol, ..to(80) }).await.unwrap();
            host.forwarding.delete(&guest(1), CLOUD, rule.id).await.unwrap();
            let address = (host.listen, rule.port_from);
            let bound = match protocol {
                Protocol::Tcp => std::net::TcpListener::bind(address).map(drop),
                Protocol::Udp => std::net::UdpSocket::bind(address).map(drop),
            };
            assert!(bound.is_ok(), "{protocol:?}, round {round}: {bound:?}");
        }
    }
}

#[tokio::test]
async fn without_the_store_nothing_is_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("ostler.db").display());
    let open = async || Store::open(&url, &Options::default()).await.unwrap();
    let house = Arc::new(House::default());
    house.put(1, 1, Some("127.0.0.1"));
    let (store, settings) = (open().await, settings(7000..=7009));
    let host = Host::start(&house, &store, settings.clone(), tuning());
    let rule = host.make(to(named("127.0.0.1:0", "one").await)).await.unwrap();
    store.close().await;
    for port_from in [None, Some(7005)] {
        let made = host.make(NewRule { port_from, ..to(80) }).await;
        assert!(matches!(made, Err(Error::Store(_))), "{made:?}");
    }
    for port in [7001, 7005] {
        let nobody = TcpStream::connect((host.listen, port)).await.unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::ConnectionRefused, "{port}");
    }
    // Nor is what is on record closed.
    let deleted = host.forwarding.delete(&guest(1), CLOUD, rule.id).await;
    assert!(matches!(deleted, Err(Error::Store(_))), "{deleted:?}");
    assert!(host.forwarding.instance_gone(1).await.is_err());
    assert_eq!(host.ask(&rule).await.unwrap(), "one");
    host.stop().await;

    let host = Host::start(&house, &open().await, settings, tuning());
    assert_eq!(host.forwarding.list(&guest(1), CLOUD, None).await.unwrap(), std::slice::from_ref(&rule));
    until("it is open", async || matches!(host.ask(&rule).await.as_deref(), Ok("one"))).await;
}

#[tokio::test]
async fn rules_go_with_their_instance() {
    let never = Duration::from_hours(1);
    for (sweep, what) in [(Duration::from_millis(5), "looked for"), (never, "a connection"), (never, "told")] {
        let (host, house) = Host::with_one_instance(Tuning { sweep, ..tuning() }).await;
        house.put(2, 1, Some("127.0.0.1"));
        let port = named("127.0.0.1:0", "one").await;
        let rules = [host.make(to(port)).await.unwrap(), host.make(to(port)).await.unwrap()];
        let other = host.make(NewRule { instance: 2, ..to(port) }).await.unwrap();
        house.remove(1);
        match what {
            "a connection" => assert_eq!(host.ask(&rules[1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset),
            "told" => host.forwarding.instance_gone(1).await.unwrap(),
            _ => {}
        }
        for rule in &rules {
            until(what, async || host.connect(rule).await.is_err()).await;
        }
        let left = host.forwarding.store.forwards().await.unwrap();
        assert_eq!(left.iter().map(|forward| forward.id).collect::<Vec<_>>(), [other.id], "{what}");
        assert_eq!(host.ask(&other).await.unwrap(), "one");
    }
}
