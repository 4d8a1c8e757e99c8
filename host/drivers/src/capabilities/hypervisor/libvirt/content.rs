//! Bytes into and out of volumes. For small ones only: what is read or written here passes through the host's memory.

use super::error::Outcome;
use super::xml::Element;
use crate::v0_1::imports::hypervisor::Error;
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;

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
        let mut rest = chunk;
        while !rest.is_empty() {
            let sent = match stream.send(rest) {
                Ok(sent) => sent,
                Err(error) => {
                    let _ = stream.abort();
                    return Err(error.into());
                }
            };
            rest = rest.get(sent..).unwrap_or_default();
        }
    }
    Ok(stream.finish()?)
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
