//! What must not become an image, and what does.

use super::server::Server;
use super::{checksum, disk, failure, lab, lab_with};
use crate::archive::tests::{archive, entry, header};
use crate::qcow2::tests as qcow2;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Whether there is `qemu-img`. Where real hypervisors are tested it must be there.
fn qemu() -> bool {
    let there = crate::qemu::installed().is_some();
    assert!(there || std::env::var_os("OSTLER_TEST_LIBVIRT").is_none(), "there is no qemu-img");
    if !there {
        eprintln!("left out: there is no qemu-img");
    }
    there
}

#[tokio::test]
async fn what_refers_to_something_or_is_something_else_is_refused() {
    let backing = "refers to another image";
    let json = "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}}";
    let image = disk(4);
    let file = |name: &str| entry(name, b'0', &image);
    let link = |kind: u8, to: &str| {
        let mut link = header("a.img", kind, 0);
        link[157..157 + to.len()].copy_from_slice(to.as_bytes());
        link[148..156].fill(b' ');
        let sum: u64 = link.iter().map(|byte| u64::from(*byte)).sum();
        link[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        link
    };
    let bomb = gzip(&vec![1; 2 << 20]);
    let zeros = gzip(&vec![0; 2 << 20]);
    let mut cut = gzip(&image);
    cut.truncate(cut.len() - 6);
    let long = [entry("././@LongLink", b'L', b"../../../etc/cron.d/evil.img\0"), file("x")].concat();
    let pax = [entry("p", b'x', b"31 path=../../etc/cron.d/a.img\n"), file("x")].concat();
    let huge = header("././@LongLink", b'L', 1 << 30);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("backing file", qcow2::backed("/etc/shadow"), backing),
        ("backing file as json", qcow2::backed(json), backing),
        ("backing file elsewhere", qcow2::backed("nbd://10.0.0.1/x"), backing),
        ("data file", qcow2::with(&[(72, 1 << 2, 8)]), "external data file"),
        ("data file by extension", qcow2::with(&[(104, 0x4441_5441, 4), (108, 11, 4)]), "external data file"),
        ("a large disk", qcow2::with(&[(24, 2 << 20, 8)]), "more than the 1 MiB"),
        ("backing file in gzip", gzip(&qcow2::backed("/etc/shadow")), backing),
        ("backing file in tar", archive(&[entry("disk", b'0', &qcow2::backed("/etc/shadow"))]), backing),
        ("backing file in both", gzip(&archive(&[entry("a.qcow2", b'0', &qcow2::backed(json))])), backing),
        ("path above", archive(&[file("../a.img")]), "leads out of it"),
        ("path above within", gzip(&archive(&[file("a/../../b.img")])), "leads out of it"),
        ("absolute path", archive(&[file("/etc/a.img")]), "leads out of it"),
        ("long path above", archive(&[long]), "leads out of it"),
        ("attribute with path above", archive(&[pax]), "leads out of it"),
        ("long name without end", archive(&[huge]), "too long"),
        ("symbolic link", archive(&[link(b'2', "/etc/shadow")]), "links"),
        ("symbolic link and file", archive(&[link(b'2', "/etc"), file("a.img")]), "links"),
        ("hard link", archive(&[link(b'1', "/etc/shadow")]), "links"),
        ("device", archive(&[link(b'3', "")]), "devices"),
        ("pipe", archive(&[link(b'6', "")]), "pipes"),
        ("holes", archive(&[link(b'S', "")]), "holes"),
        ("two images", archive(&[file("a.img"), file("b.raw")]), "more than one image"),
        (
            "two images by content",
            archive(&[entry("a", b'0', &qcow2::empty()), entry("b", b'0', &qcow2::empty())]),
            "more than one",
        ),
        ("no image", archive(&[entry("README", b'0', b"nothing")]), "no image"),
        ("vmdk in tar", archive(&[entry("a.ovf", b'0', b"<x/>"), entry("a.vmdk", b'0', b"KDMV")]), "format vmdk"),
        ("html in tar", archive(&[entry("a.img", b'0', &b"<html>  ".repeat(64))]), "HTML"),
        ("tar that ends", archive(&[])[..512].iter().chain(&header("a.img", b'0', 5)).copied().skip(512).collect(), "too early"),
        ("bomb", bomb, "unpacks to more"),
        ("bomb of zeros", zeros.clone(), "unpacks to more"),
        ("bomb in tar", gzip(&archive(&[entry("a.img", b'0', &vec![0; 2 << 20])])), "unpacks to more"),
        ("packed twice", gzip(&gzip(&image)), "more than once"),
        ("gzip that ends", cut, "broken"),
        ("gzip and more", [gzip(&image), b"garbage".to_vec()].concat(), "broken"),
        ("html", b"<!DOCTYPE html><title>Not found</title>".repeat(64), "an HTML page"),
        ("text", b"404 not found\n".to_vec(), "a text"),
        ("vmdk", [b"KDMV".to_vec(), disk(1)].concat(), "VMDK"),
        ("odd size", disk(2)[..1000].to_vec(), "no multiple of 512"),
        ("nothing", Vec::new(), "no content"),
        ("large raw disk", disk(4096), "more than the 1 MiB"),
    ];
    for (what, content, expected) in cases {
        let server = Server::giving(content).await;
        let lab = lab_with(&[&server], |settings| settings.max_disk_bytes = 1 << 20);
        let failed = failure(lab.fetch(&server.url("/a.img")).await);
        assert!(failed.0 == "refused" && failed.1.contains(expected), "{what}: {failed:?}");
        assert_eq!(lab.files(), [""; 0], "{what}");
        let beside: Vec<_> = std::fs::read_dir(lab.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(beside, ["images"], "{what}");
    }
}

#[tokio::test]
async fn raw_disks_come_as_they_are_or_packed() {
    let mut image = disk(512);
    // A hole, and an end of zeros.
    image[65_536..131_072].fill(0);
    image.extend(vec![0; 65_536]);
    let beside = [entry("._a.img", b'0', b"attributes"), entry("./", b'5', b""), entry("README", b'0', b"text")].concat();
    let long =
        [entry("././@LongLink", b'L', &[b"d/".repeat(80), b"a.img\0".to_vec()].concat()), entry("x", b'0', &image)].concat();
    for (what, content) in [
        ("plain", image.clone()),
        ("gzip", gzip(&image)),
        ("gzip in two parts", [gzip(&image[..70_000]), gzip(&image[70_000..])].concat()),
        ("tar", archive(&[entry("a.IMG", b'0', &image)])),
        ("tar with others", archive(&[beside, entry("a.raw", b'0', &image)])),
        ("tar with a long name", archive(&[long])),
        ("tar in gzip", gzip(&archive(&[entry("d/a.img", b'0', &image)]))),
        ("old tar", {
            let mut old = archive(&[entry("a.img", 0, &image)]);
            old[257..265].fill(0);
            old[148..156].fill(b' ');
            let sum: u64 = old[..512].iter().map(|byte| u64::from(*byte)).sum();
            old[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            old
        }),
    ] {
        let server = Server::giving(content.clone()).await;
        let lab = lab(&[&server]);
        let staged = lab.fetch(&server.url("/x")).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(
            (staged.format.as_str(), staged.disk_bytes, staged.bytes, staged.checksum),
            ("raw", image.len() as u64, content.len() as u64, checksum(&content)),
            "{what}"
        );
        assert!(lab.content() == image, "{what}");
        assert_eq!(lab.files(), ["a-1.image", "a-1.json"], "{what}");
    }
}

#[tokio::test]
async fn without_qemu_img_there_are_no_qcow2_images() {
    let server = Server::giving(qcow2::empty()).await;
    let lab = lab_with(&[&server], |settings| settings.qemu_img = None);
    let failed = failure(lab.fetch(&server.url("/")).await);
    assert!(failed.0 == "refused" && failed.1.contains("`qemu-img` is needed"), "{failed:?}");
}

#[tokio::test]
async fn qcow2_images_are_written_anew() {
    if !qemu() {
        return;
    }
    // Some data in a cluster of its own: a second table that leads to it.
    let mut image = qcow2::with(&[(3 << 16, 4 << 16 | 1 << 63, 8)]);
    image.resize(6 << 16, 0);
    image[4 << 16..(4 << 16) + 8].copy_from_slice(&(5_u64 << 16 | 1 << 63).to_be_bytes());
    image[5 << 16..(5 << 16) + 4].copy_from_slice(b"data");
    for cluster in 4..6 {
        image[(2 << 16) + cluster * 2 + 1] = 1;
    }
    // What only the old file has.
    image[600..606].copy_from_slice(b"hidden");
    for (what, content) in [("plain", image.clone()), ("gzip", gzip(&image)), ("tar", archive(&[entry("disk", b'0', &image)]))] {
        let server = Server::giving(content.clone()).await;
        let lab = lab(&[&server]);
        let staged = lab.fetch(&server.url("/")).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((staged.format.as_str(), staged.disk_bytes, staged.checksum), ("qcow2", 1 << 20, checksum(&content)));
        let written = lab.content();
        let has = |part: &[u8]| written.windows(part.len()).any(|bytes| bytes == part);
        assert!(has(b"data") && !has(b"hidden") && written.starts_with(b"QFI\xfb"), "{what}");
        assert_eq!(lab.files(), ["a-1.image", "a-1.json"], "{what}");
    }
    // Tables that lead outside of the file are for the program to find; nothing is left of it.
    let mut broken = image;
    broken[3 << 16..(3 << 16) + 8].copy_from_slice(&(1_u64 << 40 | 1 << 63).to_be_bytes());
    let server = Server::giving(broken).await;
    let lab = lab(&[&server]);
    let result = lab.fetch(&server.url("/")).await;
    if result.is_err() {
        assert_eq!((failure(result).0, lab.files()), ("refused", Vec::new()));
    }
}

#[tokio::test]
async fn a_program_that_does_not_end_is_ended() {
    let directory = tempfile::TempDir::new().unwrap();
    let program = directory.path().join("qemu-img");
    // It may not write: its number is the name of a directory.
    std::fs::write(&program, format!("#!/bin/sh\nmkdir {}/$$\nexec sleep 3600\n", directory.path().display())).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let server = Server::giving(qcow2::empty()).await;
    let lab = lab_with(&[&server], |settings| settings.qemu_img = Some(program));
    let number = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().to_str()?.parse::<u32>().ok();
    let pid = async {
        loop {
            if let Some(pid) = std::fs::read_dir(directory.path()).unwrap().find_map(number) {
                break pid;
            }
            tokio::task::yield_now().await;
        }
    };
    let url = server.url("/");
    let pid = tokio::select! {
        result = lab.fetch(&url) => panic!("it ended: {result:?}"),
        pid = pid => pid,
    };
    let process = format!("/proc/{pid}/stat");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    // Gone, or a zombie that nobody has waited for.
    while std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(std::time::Instant::now() < deadline, "it runs on");
        tokio::task::yield_now().await;
    }
}
