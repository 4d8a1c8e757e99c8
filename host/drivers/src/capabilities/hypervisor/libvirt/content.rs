//! Bytes into and out of volumes: small ones through the host's memory, images as a stream.

use super::error::Outcome;
use super::xml::Element;
use crate::v0_1::imports::hypervisor::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;
use virt::sys;

/// Bytes sent at once.
const CHUNK: usize = 256 << 10;

/// Makes a raw volume with this content. What was begun and failed is removed.
pub(super) fn make(connect: &Connect, pool: &StoragePool, name: &str, bytes: &[u8]) -> Outcome<()> {
    let size = bytes.len().to_string();
    let document = Element::new("volume")
        .child(Element::new("name").content(name))
        .child(Element::new("capacity").attr("unit", "bytes").content(size.as_str()))
        .child(Element::new("allocation").attr("unit", "bytes").content(size.as_str()))
        .child(Element::new("target").child(Element::new("format").attr("type", "raw")));
    let volume = StorageVol::create_xml(pool, &document.write(), 0)?;
    let result = upload(connect, &volume, bytes);
    if result.is_err() {
        // The first error is the one to tell.
        let _ = volume.delete(0);
    }
    result
}

fn upload(connect: &Connect, volume: &StorageVol, bytes: &[u8]) -> Outcome<()> {
    let stream = Stream::new(connect, 0)?;
    volume.upload(&stream, 0, bytes.len() as u64, 0)?;
    for chunk in bytes.chunks(CHUNK) {
        if let Err(failure) = send(&stream, chunk) {
            let _ = stream.abort();
            return Err(failure);
        }
    }
    Ok(stream.finish()?)
}

fn send(stream: &Stream, mut rest: &[u8]) -> Outcome<()> {
    while !rest.is_empty() {
        let sent = stream.send(rest)?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Sends so many bytes of a file. `sparse` leaves out what is zero, which is right only where there is nothing else yet. `reached` is
/// told how many bytes have been sent.
pub(super) fn upload_file(
    connect: &Connect,
    volume: &StorageVol,
    file: &File,
    bytes: u64,
    sparse: bool,
    reached: impl Fn(u64),
) -> Outcome<()> {
    let stream = Stream::new(connect, 0)?;
    volume.upload(&stream, 0, bytes, if sparse { sys::VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM } else { 0 })?;
    let (mut buffer, mut at, mut hole) = (vec![0; CHUNK], 0, 0);
    while at < bytes {
        let wanted = usize::try_from(bytes - at).unwrap_or(CHUNK).min(CHUNK);
        let chunk = buffer.get_mut(..wanted).unwrap_or_default();
        let result = match file.read_exact_at(chunk, at) {
            Ok(()) if sparse && chunk.iter().all(|byte| *byte == 0) => {
                hole += wanted as u64;
                Ok(())
            }
            Ok(()) => skip(&stream, &mut hole).and_then(|()| send(&stream, chunk)),
            Err(error) => Err(Error::Failed(format!("the fetched image cannot be read: {error}")).into()),
        };
        if let Err(failure) = result {
            let _ = stream.abort();
            return Err(failure);
        }
        at += wanted as u64;
        reached(at);
    }
    if let Err(failure) = skip(&stream, &mut hole) {
        let _ = stream.abort();
        return Err(failure);
    }
    Ok(stream.finish()?)
}

/// Sends a hole, if there is one.
#[allow(unsafe_code)]
fn skip(stream: &Stream, hole: &mut u64) -> Outcome<()> {
    let length = i64::try_from(std::mem::take(hole)).unwrap_or(i64::MAX);
    if length == 0 {
        return Ok(());
    }
    // SAFETY: the stream is open; the crate has no function for this.
    let result = unsafe { sys::virStreamSendHole(stream.as_ptr(), length, 0) };
    if result < 0 { Err(virt::error::Error::last_error().into()) } else { Ok(()) }
}

/// The content of a volume of at most so many bytes.
pub(super) fn read(connect: &Connect, volume: &StorageVol, most: usize) -> Outcome<Vec<u8>> {
    let size = usize::try_from(volume.get_info()?.capacity).unwrap_or(usize::MAX);
    if size > most {
        return Err(Error::Failed("a volume with labels is too large".to_owned()).into());
    }
    let stream = Stream::new(connect, 0)?;
    volume.download(&stream, 0, size as u64, 0)?;
    let mut bytes = Vec::with_capacity(size);
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.recv(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) => {
                let _ = stream.abort();
                return Err(error.into());
            }
        }
        if bytes.len() > most {
            let _ = stream.abort();
            return Err(Error::Failed("a volume with labels is too large".to_owned()).into());
        }
    }
    stream.finish()?;
    Ok(bytes)
}
