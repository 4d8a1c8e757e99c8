//! From an address to a guest that has booted: the host fetches, checks and rewrites an image, and the driver imports it.

use crate::guests::{IMAGE, SIZES, marked, page, variable};
use crate::support::{Adjust, TestHost, kind};
use crate::{cloud, libvirt};
use ostler_drivers::model::{Image, ImageSource, ImageSpec, ImageStatus, NodeSpec};
use ostler_drivers::{Cloud, ErrorKind, HypervisorSettings, Virtualization};
use ostler_images::{Fetcher, Settings};
use std::sync::Arc;
use std::time::{Duration, Instant};
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

async fn active(cloud: &Arc<Cloud>, id: &str) -> Image {
    let start = Instant::now();
    loop {
        let image = cloud.get_image(id).await.unwrap();
        match image.status {
            ImageStatus::Active => return image,
            ImageStatus::Importing(_) => {}
            status => panic!("{status:?}"),
        }
        assert!(start.elapsed() < Duration::from_secs(120), "it does not arrive");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real guests: tests/setup/libvirt.sh"]
async fn an_image_is_fetched_imported_and_booted() {
    let uri = variable("OSTLER_TEST_LIBVIRT");
    let name = format!("imports-{}", std::process::id());
    let connect = Connect::open(Some(&uri)).unwrap();
    let pool = StoragePool::lookup_by_name(&connect, "images").unwrap();
    let content = std::fs::read(StorageVol::lookup_by_name(&pool, IMAGE).unwrap().get_path().unwrap()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let app = axum::Router::new().route("/tiny", axum::routing::get(move || async move { content }));
        axum::serve(listener, app).await
    });
    let directory = tempfile::TempDir::new().unwrap();
    let mut settings = Settings::new(directory.path());
    settings.inside = vec![origin.parse().unwrap()];
    settings.keep_free = 0;
    let fetcher = Fetcher::new(settings).unwrap();
    let source = format!("{origin}/tiny").parse().unwrap();
    let asked = Instant::now();
    let staged = fetcher.fetch("image-1", &source, None, &|_, _| {}).await.unwrap();
    println!("fetched, checked and rewritten {} bytes in {:?}", staged.bytes, asked.elapsed());

    let granted = HypervisorSettings {
        image_pools: vec!["images".to_owned()],
        virtualization: Virtualization::Qemu,
        ..HypervisorSettings::default()
    };
    let host = TestHost::new();
    let mut settings = cloud(&name, &uri, granted).set("sizes", SIZES);
    settings.images = Some(directory.path().to_owned());
    let cloud = host.serve(settings, &libvirt()).await;
    let spec = ImageSpec {
        name: "Tiny <1>".to_owned(),
        source: ImageSource::Staged("image-1".to_owned()),
        format: Some(staged.format.clone()),
        checksum: Some(staged.checksum.clone()),
        properties: vec![("os".to_owned(), "linux".to_owned())],
        extra: String::new(),
    };
    let asked = Instant::now();
    let image = cloud.import_image("i-1", spec.clone()).await.unwrap().value;
    assert_eq!(cloud.import_image("i-1", spec.clone()).await.unwrap().value.id, image.id);
    let image = active(&cloud, &image.id).await;
    println!("imported in {:?}", asked.elapsed());
    assert_eq!((image.name.as_str(), image.token.as_deref(), image.checksum), ("Tiny <1>", Some("i-1"), Some(staged.checksum)));
    assert_eq!(cloud.find_image("i-1").await.unwrap().unwrap().id, image.id);
    assert!(cloud.list_images().await.unwrap().iter().any(|listed| listed.id == image.id));
    let by_address = ImageSpec { source: ImageSource::Url("http://127.0.0.1/x".to_owned()), ..spec.clone() };
    assert_eq!(kind(cloud.import_image("i-2", by_address).await), ErrorKind::Unsupported);
    let gone = ImageSpec { source: ImageSource::Staged("gone".to_owned()), ..spec };
    assert_eq!(kind(cloud.import_image("i-2", gone).await), ErrorKind::Invalid);
    fetcher.forget("image-1").await.unwrap();

    let node = cloud.create_node("t-1", NodeSpec::new("web", &image.id, "tiny")).await.unwrap().value;
    page(&cloud, &node.id, "index.html", "boots=1 ").await;
    assert_eq!(kind(cloud.delete_image(&image.id).await), ErrorKind::Conflict);
    cloud.destroy_node(&node.id).await.unwrap();
    cloud.delete_image(&image.id).await.unwrap();
    assert_eq!(kind(cloud.delete_image(&image.id).await), ErrorKind::NotFound);
    assert_eq!(cloud.find_image("i-1").await.unwrap(), None);
    assert_eq!(kind(cloud.delete_image(IMAGE).await), ErrorKind::Forbidden);
    assert_eq!(marked(&connect, &name), Vec::<String>::new());
}
