//! gzip of large answers, when the client takes it.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt;

use super::{Body, BoxError, full};

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
    let runtime = tokio::runtime::Handle::current();
    match tokio::task::spawn_blocking(move || runtime.block_on(packed(body))).await {
        Ok(Ok(packed)) => {
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, full(packed))
        }
        Ok(Err(_)) | Err(_) => Response::from_parts(parts, full("")),
    }
}

/// A body, compressed piece by piece as it comes.
async fn packed(mut body: Body) -> Result<Vec<u8>, BoxError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            encoder.write_all(data)?;
        }
    }
    Ok(encoder.finish()?)
}
