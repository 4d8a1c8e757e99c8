//! Volumes from fetched images. The hypervisor for tests takes no content: what needs some is for a real one.

use super::*;
use ostler_images::{Fetcher, Settings, Staged};
use sha2::Digest;
use std::path::Path;
use tempfile::TempDir;

/// Has content ready under a name, as the host does.
async fn stage(directory: &Path, name: &str, content: Vec<u8>) -> Staged {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let app = axum::Router::new().route("/image", axum::routing::get(move || async move { content }));
        axum::serve(listener, app).await
    });
    let mut settings = Settings::new(directory);
    (settings.inside, settings.keep_free) = (vec![origin.parse().unwrap()], 0);
    let fetcher = Fetcher::new(settings).unwrap();
    let staged = fetcher.fetch(name, &format!("{origin}/image").parse().unwrap(), None, &|_, _| {}).await.unwrap();
    server.abort();
    staged
}

/// A disk of so many bytes, most of them zero.
fn disk(bytes: usize) -> Vec<u8> {
    let mut disk = vec![0; bytes];
    disk[..512].fill(1);
    disk[bytes / 2..bytes / 2 + 512].fill(2);
    disk
}

fn importing(cloud: &str, uri: &str, pools: &[&str], images: &Path) -> Libvirt {
    hold();
    let settings = HypervisorSettings {
        pools: pools.iter().map(|pool| (*pool).to_owned()).collect(),
        image_pools: pools.last().map(|pool| (*pool).to_owned()).into_iter().collect(),
        networks: Vec::new(),
        devices: Vec::new(),
        virtualization: Virtualization::Qemu,
    };
    Libvirt::new(uri, cloud, settings, Some(images.to_owned()))
}

fn staged(name: &str, token: &str, image: &str) -> VolumeSpec {
    volume(name, token, VolumeSource::Staged(image.to_owned()))
}

#[tokio::test]
async fn what_cannot_be_imported_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let ready = stage(directory.path(), "ready", disk(1 << 20)).await;
    let lab = importing("imports", URI, &[POOL], directory.path());
    let order = |image: &str| staged(&unique("import"), &unique("import"), image);
    for (spec, expected) in [
        (order("gone"), "NotFound"),
        (order("../ready"), "NotFound"),
        (VolumeSpec { checksum: Some("sha256:00".to_owned()), ..order("ready") }, "Invalid"),
        (VolumeSpec { capacity_bytes: Some(512), ..order("ready") }, "Invalid"),
        (VolumeSpec { capacity_bytes: Some(u64::MAX), ..order("ready") }, "Invalid"),
        (VolumeSpec { at: at("a/b"), ..order("ready") }, "Invalid"),
        (VolumeSpec { token: "T".to_owned(), ..order("ready") }, "Invalid"),
        (VolumeSpec { at: VolumeRef { pool: "other".to_owned(), name: "a".to_owned() }, ..order("ready") }, "NotFound"),
        // All is right, and this hypervisor takes no content.
        (VolumeSpec { checksum: Some(ready.checksum.to_uppercase()), ..order("ready") }, "Unsupported"),
        (VolumeSpec { labels: vec![("k".to_owned(), "v".to_owned())], ..order("ready") }, "Unsupported"),
    ] {
        let shown = format!("{spec:?}");
        assert_eq!(class(lab.create_volume(spec).await), expected, "{shown}");
    }
    assert_eq!(class(super::lab("imports").create_volume(order("ready")).await), "Unsupported", "no directory");
    let connect = Connect::open(Some(URI)).unwrap();
    let names = StoragePool::lookup_by_name(&connect, POOL).unwrap().list_volumes().unwrap();
    assert!(names.iter().all(|name| !name.starts_with("ostler+imports+")), "{names:?}");
}

/// Asks until the content has arrived or will not.
async fn arrived(lab: &Libvirt, at: &VolumeRef) -> Volume {
    let start = std::time::Instant::now();
    loop {
        let volume = lab.get_volume(at).await.unwrap();
        if !matches!(volume.status, VolumeStatus::Importing(_)) {
            return volume;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "it does not arrive");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn download(connect: &Connect, pool: &str, real: &str) -> Vec<u8> {
    let pool = StoragePool::lookup_by_name(connect, pool).unwrap();
    content::read(connect, &StorageVol::lookup_by_name(&pool, real).unwrap(), 64 << 20).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real libvirt: OSTLER_TEST_LIBVIRT"]
async fn images_become_volumes_of_a_real_pool() {
    let uri = std::env::var("OSTLER_TEST_LIBVIRT").expect("OSTLER_TEST_LIBVIRT is set");
    let cloud = format!("imports-{}", std::process::id());
    let directory = TempDir::new().unwrap();
    let lab = importing(&cloud, &uri, &["default", "images"], directory.path());
    let connect = Connect::open(Some(&uri)).unwrap();
    let pool = StoragePool::lookup_by_name(&connect, "images").unwrap();
    let at = |name: &str| VolumeRef { pool: "images".to_owned(), name: name.to_owned() };
    let order = |name: &str, token: &str, image: &str| VolumeSpec {
        at: at(name),
        labels: vec![("image".to_owned(), "<yes>".to_owned())],
        ..staged(name, token, image)
    };
    // An image of the right kind, made from what the guests boot from; and a raw one, mostly holes.
    let tiny = StorageVol::lookup_by_name(&pool, "tiny.qcow2").unwrap();
    let tiny = stage(directory.path(), "tiny", std::fs::read(tiny.get_path().unwrap()).unwrap()).await;
    let raw = disk(8 << 20);
    stage(directory.path(), "raw", raw.clone()).await;

    let made = lab.create_volume(order("a", "t-a", "tiny")).await.unwrap();
    assert_eq!((made.token.as_deref(), made.labels.len(), made.capacity_bytes), (Some("t-a"), 1, tiny.disk_bytes), "{made:?}");
    let made = arrived(&lab, &at("a")).await;
    assert!(matches!(made.status, VolumeStatus::Ready) && made.format == "qcow2" && made.backing.is_none(), "{made:?}");
    assert!(made.allocation_bytes > 1 << 20, "{made:?}");
    assert_eq!(lab.create_volume(order("a", "t-a", "tiny")).await.unwrap().created_at, made.created_at, "the first one");
    // Also when the host has forgotten what it fetched.
    assert!(lab.create_volume(order("b", "t-a", "gone")).await.is_ok_and(|first| first.at.name == "a"));
    let fetched = std::fs::read(directory.path().join("tiny.image")).unwrap();
    let real = names::volume(&cloud, "t-a", "a");
    let path = StorageVol::lookup_by_name(&pool, &real).unwrap().get_path().unwrap();
    let written = std::fs::read(path).unwrap();
    assert!(written.len() >= fetched.len() && written[..fetched.len()] == fetched[..], "as it was sent");

    lab.create_volume(VolumeSpec { capacity_bytes: Some(16 << 20), ..order("r", "t-r", "raw") }).await.unwrap();
    let larger = arrived(&lab, &at("r")).await;
    assert_eq!((larger.format.as_str(), larger.capacity_bytes), ("raw", 16 << 20), "{larger:?}");
    assert!(larger.allocation_bytes < 4 << 20, "holes stay holes: {larger:?}");
    let read = download(&connect, "images", &names::volume(&cloud, "t-r", "r"));
    assert_eq!(sha2::Sha256::digest(&read[..raw.len()]), sha2::Sha256::digest(&raw));

    // The host ends in the middle: the volume is there, and cannot be used.
    let images = directory.path().to_owned();
    let begun = |spec: VolumeSpec| {
        let images = images.clone();
        lab.run(true, move |session| session.begin_import(&spec, "tiny", &images).map(|begun| begun.upload.is_some()))
    };
    for (name, token) in [("c", "t-c"), ("d", "t-d")] {
        assert!(begun(order(name, token, "tiny")).await.unwrap());
    }
    let clone = VolumeSpec {
        at: VolumeRef { pool: "default".to_owned(), name: "x".to_owned() },
        ..volume("x", "t-x", VolumeSource::Linked(at("c")))
    };
    assert_eq!(class(lab.create_volume(clone.clone()).await), "Conflict");
    let listed = lab.volumes("images").await.unwrap();
    let waiting =
        |name: &str| listed.iter().any(|volume| volume.at.name == name && matches!(volume.status, VolumeStatus::Importing(None)));
    assert!(waiting("c") && waiting("d"), "{listed:?}");
    // The next order goes on with it; so does whoever looks at it.
    lab.create_volume(order("c", "t-c", "tiny")).await.unwrap();
    for name in ["c", "d"] {
        let volume = arrived(&lab, &at(name)).await;
        assert!(matches!(volume.status, VolumeStatus::Ready) && volume.capacity_bytes == tiny.disk_bytes, "{volume:?}");
    }
    // A clone keeps it from being deleted.
    lab.create_volume(clone.clone()).await.unwrap();
    assert_eq!(class(lab.delete_volume(&at("c")).await), "Conflict");
    lab.delete_volume(&clone.at).await.unwrap();

    // What fails says why, and can be ordered again.
    assert!(begun(order("e", "t-e", "tiny")).await.unwrap());
    let lost = names::volume(&cloud, "t-e", "e");
    let image = directory.path().join("tiny.image");
    let whole = std::fs::OpenOptions::new().write(true).open(&image).unwrap();
    let real = lost.clone();
    let upload = {
        let images = images.clone();
        lab.run(true, move |session| {
            session.resume_import(&VolumeRef { pool: "images".to_owned(), name: "e".to_owned() }, &images)
        })
    };
    let upload = upload.await.unwrap().unwrap();
    assert_eq!(class(lab.delete_volume(&at("e")).await), "Conflict", "its content is arriving");
    whole.set_len(1 << 20).unwrap();
    lab.clone().transfer(upload).await;
    let failed = lab.get_volume(&at("e")).await.unwrap();
    assert!(matches!(&failed.status, VolumeStatus::Failed(why) if why.contains("cannot be read")), "{failed:?} {real}");
    std::fs::write(&image, &fetched).unwrap();
    lab.create_volume(order("e", "t-e", "tiny")).await.unwrap();
    assert!(matches!(arrived(&lab, &at("e")).await.status, VolumeStatus::Ready));

    for name in ["a", "r", "c", "d", "e"] {
        lab.delete_volume(&at(name)).await.unwrap();
    }
    let left = pool.list_volumes().unwrap();
    assert!(left.iter().all(|name| !name.contains(&cloud)), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real libvirt: OSTLER_TEST_LIBVIRT"]
async fn an_import_outlives_the_daemon_and_keeps_nobody_waiting() {
    let uri = std::env::var("OSTLER_TEST_LIBVIRT").expect("OSTLER_TEST_LIBVIRT is set");
    let restart = std::env::var("OSTLER_TEST_LIBVIRT_RESTART").expect("OSTLER_TEST_LIBVIRT_RESTART is set");
    let cloud = format!("outlives-{}", std::process::id());
    let directory = TempDir::new().unwrap();
    let lab = importing(&cloud, &uri, &["default", "images"], directory.path());
    let content: Vec<u8> = std::iter::repeat_n(7, 128 << 20).collect();
    stage(directory.path(), "large", content).await;
    let order =
        VolumeSpec { at: VolumeRef { pool: "images".to_owned(), name: "large".to_owned() }, ..staged("large", "t-l", "large") };
    let begun = {
        let (spec, images) = (order.clone(), directory.path().to_owned());
        lab.run(true, move |session| session.begin_import(&spec, "large", &images)).await.unwrap()
    };
    let transfer = tokio::spawn(lab.clone().transfer(begun.upload.unwrap()));
    let start = std::time::Instant::now();
    let mut asked = 0;
    loop {
        assert!(start.elapsed() < Duration::from_secs(120), "nothing is sent");
        asked += 1;
        match lab.get_volume(&order.at).await.unwrap().status {
            VolumeStatus::Importing(Some(percent)) if percent >= 5 => break,
            VolumeStatus::Importing(_) => {}
            status => panic!("{status:?} after {asked} questions"),
        }
    }
    let mut words = restart.split(' ');
    assert!(std::process::Command::new(words.next().unwrap()).args(words).status().unwrap().success());
    transfer.await.unwrap();
    let volume = lab.get_volume(&order.at).await.unwrap();
    assert!(matches!(volume.status, VolumeStatus::Ready) && volume.capacity_bytes == 128 << 20, "{volume:?}");
    lab.delete_volume(&order.at).await.unwrap();
}
