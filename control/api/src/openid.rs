//! How others verify service-account tokens: OpenID discovery and the public key (KEP-1393).

use http::{HeaderValue, Response, header};
use serde_json::json;

use crate::server::ApiServer;
use crate::wire::{self, Body};

/// The media type of the keys.
pub const KEY_SET: &str = "application/jwk-set+json";

/// `/.well-known/openid-configuration`.
pub fn configuration(server: &ApiServer) -> Response<Body> {
    let config = server.config();
    let host = match config.advertise_address {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    cached(wire::json(
        200,
        &json!({
            "issuer": config.tokens.issuer(),
            "jwks_uri": format!("https://{host}:{}/openid/v1/jwks", config.port),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }),
    ))
}

/// `/openid/v1/jwks`.
pub fn key_set(server: &ApiServer) -> Response<Body> {
    cached(wire::respond(200, KEY_SET, server.config().tokens.key_set().to_string()))
}

fn cached(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}
