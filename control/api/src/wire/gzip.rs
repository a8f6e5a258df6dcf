//! gzip of large answers, when the client takes it.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt;

use super::{Body, full};

/// Smaller answers are not worth the processor time (kube-apiserver's threshold).
const THRESHOLD: u64 = 128 << 10;

/// Compresses a complete answer over the threshold if `request` accepts gzip.
pub async fn compress(request: &HeaderMap, response: Response<Body>) -> Response<Body> {
    use http_body::Body as _;
    let wanted = request
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .any(|v| v.to_str().is_ok_and(|v| v.split(',').any(|e| e.trim().split(';').next() == Some("gzip"))));
    // A streamed answer (watch, log) has no exact size and passes through.
    let large = response.body().size_hint().exact().is_some_and(|size| size > THRESHOLD);
    if !wanted || !large || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(plain) = body.collect().await.map(|b| b.to_bytes()) else {
        return Response::from_parts(parts, full(""));
    };
    let packed = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::new(1));
        encoder.write_all(&plain).and_then(|()| encoder.finish()).map_err(|_| plain)
    })
    .await;
    match packed {
        Ok(Ok(packed)) => {
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, full(packed))
        }
        Ok(Err(plain)) => Response::from_parts(parts, full(plain)),
        Err(_) => Response::from_parts(parts, full("")),
    }
}
