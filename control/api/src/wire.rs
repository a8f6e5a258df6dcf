//! HTTP bodies in and out: what a response is made of, and how a request's body is read within its bounds.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use serde_json::Value;

use crate::status::Status;

mod decode;
mod gzip;
mod held;
mod negotiate;
pub mod protobuf;
mod yaml;

pub use decode::{BodyFormat, decode_object, decode_yaml, media_type, parse_yaml};
pub use gzip::compress;
pub use held::holding;
pub use negotiate::{Accept, Encoding, PRODUCED, Shape, producible};

/// Any error of a body or a connection.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body, complete or streamed.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Largest request body, as kube-apiserver's.
pub const BODY_LIMIT: usize = 3 << 20;

/// A complete body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A response with a complete body.
pub fn respond(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    respond_with(code, content_type, full(bytes))
}

/// A response with whatever body.
pub fn respond_with(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON response.
pub fn json(code: u16, value: &Value) -> Response<Body> {
    respond(code, "application/json", value.to_string())
}

/// A plain text response.
pub fn text(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = respond(code, "text/plain; charset=utf-8", text);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// The head of a response alone: a body behind the answer to a HEAD breaks an HTTP/2 stream.
pub fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = http_body::Body::size_hint(&body).exact() {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, full(Bytes::new()))
}

/// A value in the client's encoding.
pub fn value(code: u16, encoding: Encoding, value: &Value) -> Result<Response<Body>, Status> {
    let bytes: Bytes = match encoding {
        Encoding::Json => value.to_string().into(),
        Encoding::Yaml => yaml::to_string(value).into(),
        Encoding::Protobuf => protobuf::encode(value)?,
    };
    Ok(respond(code, encoding.content_type(), bytes))
}

/// A refusal, in the client's encoding.
pub fn refuse(status: &Status, encoding: Encoding) -> Response<Body> {
    let shown = status.to_value();
    let mut response = value(status.code, encoding, &shown).unwrap_or_else(|_| json(status.code, &shown));
    if let Some(seconds) = status.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Reads a whole request body, at most [`BODY_LIMIT`].
pub async fn read(mut body: Body) -> Result<Bytes, Status> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("unable to read the request body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > BODY_LIMIT {
            return Err(Status::too_large(BODY_LIMIT));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}
