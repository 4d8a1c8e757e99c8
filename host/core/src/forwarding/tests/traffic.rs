//! What flows.

use super::*;
use tokio::net::UdpSocket;

/// Bytes that do not repeat soon.
fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Reads all, and sends it back in the reverse order: it begins only where the end was told.
async fn reversing(mut stream: TcpStream) -> std::io::Result<()> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await?;
    all.reverse();
    stream.write_all(&all).await
}

#[tokio::test]
async fn bytes_flow_both_ways_and_ends_are_told() {
    let free = std::net::TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap().port();
    for (listen, ports, address) in [
        (somewhere(), 7000..=7000, "127.0.0.1"),
        (somewhere(), 7000..=7000, "::1"),
        ("::1".parse().unwrap(), free..=free, "127.0.0.1"),
    ] {
        let house = Arc::new(House::default());
        house.put(1, 1, Some(address));
        let host = Host::start(&house, &memory().await, Settings { listen, ports, connections: 8 }, tuning());
        let literal = if address.contains(':') { format!("[{address}]:0") } else { format!("{address}:0") };
        let sent = noise(MIB);

        // The client ends first.
        let rule = host.make(to(instance(&literal, reversing).await)).await.unwrap();
        let mut client = host.connect(&rule).await.unwrap();
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).await.unwrap();
        back.reverse();
        assert!(back == sent, "{listen} {address}: {} bytes came back", back.len());
        host.forwarding.delete(&guest(1), CLOUD, rule.id).await.unwrap();

        // The instance ends first.
        let (told, mut heard) = tokio::sync::mpsc::channel(1);
        let first = sent.clone();
        let talking = move |mut stream: TcpStream| {
            let (told, first) = (told.clone(), first.clone());
            async move {
                stream.write_all(&first).await?;
                stream.shutdown().await?;
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await?;
                told.send(all).await.map_err(std::io::Error::other)
            }
        };
        let rule = host.make(to(instance(&literal, talking).await)).await.unwrap();
        let mut client = host.connect(&rule).await.unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert!(all == sent, "{listen} {address}");
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        assert!(heard.recv().await.unwrap() == sent, "{listen} {address}");

        until("connections are over", async || host.forwarding.counters().active == 0).await;
        let bytes = 2 * MIB as u64;
        let expected = Counters { accepted: 2, refused: 0, active: 0, bytes_to_instances: bytes, bytes_from_instances: bytes };
        assert_eq!(host.forwarding.counters(), expected, "{listen} {address}");
    }
}

#[tokio::test]
async fn what_a_receiver_does_not_take_is_not_read() {
    let (host, _house) = Host::with_one_instance(tuning()).await;
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    let hold = move |stream: TcpStream| {
        let told = told.clone();
        async move { told.send(stream).await.map_err(std::io::Error::other) }
    };
    let rule = host.make(to(instance("127.0.0.1:0", hold).await)).await.unwrap();
    let client = host.connect(&rule).await.unwrap();
    let mut held = heard.recv().await.unwrap();
    // Until all buffers on the way are full, and nothing more is taken.
    let (data, mut sent) = (noise(MIB), Vec::new());
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), async {
        client.writable().await.unwrap();
        client.try_write(&data)
    })
    .await
    {
        sent.extend_from_slice(&data[..written.unwrap_or(0)]);
        assert!(sent.len() < 256 * MIB, "it is kept somewhere");
    }
    drop(client);
    let mut all = Vec::new();
    held.read_to_end(&mut all).await.unwrap();
    assert!(all == sent, "{} of {} bytes", all.len(), sent.len());
}

#[tokio::test]
async fn a_connection_goes_where_the_instance_is() {
    let (host, house) = Host::with_one_instance(tuning()).await;
    let port = named("127.0.0.1:0", "one").await;
    assert_eq!(named(&format!("127.0.0.2:{port}"), "two").await, port);
    let rule = host.make(to(port)).await.unwrap();
    for (address, expected) in
        [(Some("127.0.0.1"), Some("one")), (Some("127.0.0.2"), Some("two")), (None, None), (Some("127.0.0.1"), Some("one"))]
    {
        house.put(1, 1, address);
        let answer = host.ask(&rule).await;
        match (answer, expected) {
            (Ok(answer), Some(expected)) => assert_eq!(answer, expected, "{address:?}"),
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            (answer, _) => panic!("{address:?}: {answer:?}"),
        }
    }
    assert_eq!(host.forwarding.counters().refused, 1);
}

#[tokio::test]
async fn many_connections_ask_once() {
    let (host, house) = Host::with_one_instance(Tuning { address: Duration::from_hours(1), ..tuning() }).await;
    let rule = host.make(to(named("127.0.0.1:0", "one").await)).await.unwrap();
    let answers = futures::future::join_all((0..8).map(|_| host.ask(&rule))).await;
    assert!(answers.iter().all(|answer| matches!(answer.as_deref(), Ok("one"))), "{answers:?}");
    assert_eq!(house.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn there_are_so_many_connections_at_a_time() {
    let (host, _house) = Host::with_one_instance(tuning()).await;
    let rule = host.make(to(echo().await)).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut client = host.connect(&rule).await.unwrap();
        round_trip(&mut client).await.unwrap();
        held.push(client);
    }
    assert!(turned_away(&mut host.connect(&rule).await.unwrap()).await);
    let counters = host.forwarding.counters();
    assert_eq!((counters.accepted, counters.refused, counters.active), (9, 1, 8));
    for client in &mut held {
        round_trip(client).await.unwrap();
    }
    held.pop();
    until("there is room again", async || host.forwarding.counters().active == 7).await;
    round_trip(&mut host.connect(&rule).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_reached_is_reset() {
    let (host, _house) = Host::with_one_instance(tuning()).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rule = host.make(to(free)).await.unwrap();
    assert!(turned_away(&mut host.connect(&rule).await.unwrap()).await);
    until("it is counted", async || host.forwarding.counters().refused == 1).await;

    // A reset is passed on, so that half an answer is not taken for a whole one.
    let reset = |mut stream: TcpStream| async move {
        stream.write_all(b"half").await?;
        stream.read_exact(&mut [0]).await?;
        stream.set_zero_linger()
    };
    let rule = host.make(to(instance("127.0.0.1:0", reset).await)).await.unwrap();
    let mut client = host.connect(&rule).await.unwrap();
    client.read_exact(&mut [0; 4]).await.unwrap();
    client.write_all(b"x").await.unwrap();
    assert!(turned_away(&mut client).await);
}

#[tokio::test]
async fn silence_is_cut() {
    let (host, _house) = Host::with_one_instance(Tuning { silence: Duration::from_millis(100), ..tuning() }).await;
    let rule = host.make(to(echo().await)).await.unwrap();
    let mut client = host.connect(&rule).await.unwrap();
    assert!(turned_away(&mut client).await);
    until("it is over", async || host.forwarding.counters().active == 0).await;
}

#[tokio::test]
async fn nothing_is_forwarded_to_the_host_itself() {
    let (host, house) = Host::with_one_instance(Tuning { here: false, ..tuning() }).await;
    let port = named("127.0.0.1:0", "the host").await;
    for address in ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "169.254.169.254", "fe80::1", "::ffff:127.0.0.1"] {
        house.put(1, 1, Some(address));
        let refused = host.make(to(port)).await;
        assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains(address)), "{address}: {refused:?}");
    }
    // Nor where it turns out later.
    house.put(1, 1, None);
    let rule = host.make(to(port)).await.unwrap();
    house.put(1, 1, Some("127.0.0.1"));
    assert!(turned_away(&mut host.connect(&rule).await.unwrap()).await);
    assert_eq!(host.forwarding.counters().bytes_to_instances, 0);
    assert_eq!(rule.port_from, 7000, "what was refused has taken no port");
}

/// An instance that answers datagrams with where they came from and what was in them.
async fn answering() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = [&from.port().to_be_bytes(), &buffer[..length]].concat();
            // One that is too long with the port is sent back as it was.
            if socket.send_to(&answer, from).await.is_err() {
                socket.send_to(&buffer[..length], from).await.unwrap();
            }
        }
    });
    port
}

async fn exchange(socket: &UdpSocket, datagram: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    // Datagrams may be lost.
    for _ in 0..60 {
        socket.send(datagram).await.unwrap();
        if let Ok(length) = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut buffer)).await {
            buffer.truncate(length.unwrap());
            return buffer;
        }
    }
    panic!("no datagram came back");
}

async fn peer(host: &Host, rule: &Rule) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect((host.listen, rule.port_from)).await.unwrap();
    socket
}

#[tokio::test]
async fn datagrams_find_back() {
    let (host, _house) = Host::with_one_instance(tuning()).await;
    let order = NewRule { protocol: Protocol::Udp, ..to(answering().await) };
    let rule = host.make(order.clone()).await.unwrap();
    let peers = [peer(&host, &rule).await, peer(&host, &rule).await];
    let mut ports = BTreeSet::new();
    for round in 0..3_u8 {
        for (number, socket) in (0..).zip(&peers) {
            let answer = exchange(socket, &[number, round]).await;
            assert_eq!(answer[2..], [number, round]);
            ports.insert(answer[..2].to_vec());
        }
    }
    assert_eq!(ports.len(), 2, "each peer has one socket of its own");
    // As long as a datagram can be, and as short.
    let long = noise(65_507);
    assert!(exchange(&peers[0], &long).await == long);
    assert_eq!(exchange(&peers[1], &[]).await.len(), 2);
    let counters = host.forwarding.counters();
    assert_eq!((counters.accepted, counters.active), (2, 2));

    // Closed when it is deleted, although a peer is there.
    host.forwarding.delete(&guest(1), CLOUD, rule.id).await.unwrap();
    let now_free = UdpSocket::bind((host.listen, rule.port_from)).await.unwrap();
    assert_eq!(host.forwarding.counters().active, 0);
    let asked = host.make(NewRule { port_from: Some(rule.port_from), ..order.clone() }).await;
    assert!(matches!(asked, Err(Error::Taken(_))), "{asked:?}");
    drop(now_free);
    host.make(NewRule { port_from: Some(rule.port_from), ..order }).await.unwrap();
}

#[tokio::test]
async fn silent_peers_are_forgotten() {
    let (host, _house) = Host::with_one_instance(Tuning { peer_silence: Duration::from_millis(100), ..tuning() }).await;
    let rule = host.make(NewRule { protocol: Protocol::Udp, ..to(answering().await) }).await.unwrap();
    let peer = peer(&host, &rule).await;
    for _ in 0..2 {
        // And may come again.
        assert_eq!(exchange(&peer, b"x").await[2..], *b"x");
        until("the peer is forgotten", async || host.forwarding.counters().active == 0).await;
    }
    assert!(host.forwarding.counters().accepted >= 2);
}

#[tokio::test]
async fn there_are_so_many_peers_at_a_time() {
    let (host, _house) = Host::with_one_instance(tuning()).await;
    let rule = host.make(NewRule { protocol: Protocol::Udp, ..to(answering().await) }).await.unwrap();
    let mut peers = Vec::new();
    for _ in 0..8 {
        let peer = peer(&host, &rule).await;
        exchange(&peer, b"x").await;
        peers.push(peer);
    }
    peer(&host, &rule).await.send(b"x").await.unwrap();
    until("it is counted", async || host.forwarding.counters().refused == 1).await;
    assert_eq!(host.forwarding.counters().active, 8);
    exchange(&peers[0], b"x").await;
}
