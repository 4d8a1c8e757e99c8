//! Bodies of requests, up to a limit.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::time::Duration;

/// Bytes beyond the limit that are read and dropped, and for how long. A client that is still sending when its connection is
/// closed never reads the answer.
const DROPPED: u64 = 16 << 20;
const DROPPING: Duration = Duration::from_secs(2);

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// It is larger than permitted.
    TooLarge,
    /// It ended too early.
    Cut,
}

/// A body of at most `limit` bytes.
pub(super) async fn read(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = announced.filter(|length| *length > limit as u64) {
        // Who asks first has not begun to send.
        if !headers.contains_key(EXPECT) && length <= limit as u64 + DROPPED {
            drop_rest(&mut body, DROPPING).await;
        }
        return Err(BodyError::TooLarge);
    }
    let mut bytes = BytesMut::with_capacity(announced.and_then(|length| usize::try_from(length).ok()).unwrap_or_default());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Cut)?.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            drop_rest(&mut body, DROPPING).await;
            return Err(BodyError::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

async fn drop_rest(body: &mut Body, longest: Duration) {
    let reading = async {
        let mut left = DROPPED;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            left = left.saturating_sub(length);
            if left == 0 {
                break;
            }
        }
    };
    // Too slow or too much: the connection ends with the answer.
    let _ = tokio::time::timeout(longest, reading).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A body of chunks, and how many of them were read.
    fn chunks(count: usize, size: usize) -> (Body, Arc<AtomicUsize>) {
        let (read, counter) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&counter);
        let stream = futures::stream::iter((0..count).map(move |_| {
            read.fetch_add(1, Ordering::SeqCst);
            seen.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; size]))
        }));
        (Body::from_stream(stream), counter)
    }

    fn headers(pairs: &[(axum::http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[tokio::test]
    async fn limits() {
        let none = headers(&[]);
        assert_eq!(read(&none, chunks(2, 5).0, 10).await.unwrap().len(), 10);
        assert_eq!(read(&none, Body::empty(), 0).await.unwrap().len(), 0);
        assert_eq!(read(&none, chunks(3, 5).0, 14).await, Err(BodyError::TooLarge));
        let broken = futures::stream::iter([Ok(Bytes::from_static(b"a")), Err(std::io::Error::other("gone"))]);
        assert_eq!(read(&none, Body::from_stream(broken), 10).await, Err(BodyError::Cut));
    }

    #[tokio::test]
    async fn what_is_too_large_is_read_to_its_end_within_bounds() {
        let mebibyte = 1 << 20;
        for (pairs, count, expected) in [
            (headers(&[]), 5, 5),
            (headers(&[(CONTENT_LENGTH, "5242880")]), 5, 5),
            // Nobody has begun to send.
            (headers(&[(CONTENT_LENGTH, "5242880"), (EXPECT, "100-continue")]), 5, 0),
            // More than anybody sends by mistake.
            (headers(&[(CONTENT_LENGTH, "104857600")]), 100, 0),
            (headers(&[]), 100, 18),
        ] {
            let (body, counter) = chunks(count, mebibyte);
            assert_eq!(read(&pairs, body, mebibyte).await, Err(BodyError::TooLarge));
            assert_eq!(counter.load(Ordering::SeqCst), expected, "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn nobody_is_waited_for_long() {
        let mut slow = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        drop_rest(&mut slow, Duration::from_millis(1)).await;
    }
}
