//! `/statusz` and `/flagz`, as Kubernetes' components serve them (KEP-4827 and KEP-4828): text, or for those who ask for it
//! JSON of `config.k8s.io`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::http::{Answer, page, plain};
use crate::process;

const COMPONENT: &str = "kube-proxy";
/// The Kubernetes minor whose proxy this is.
const EMULATED: &str = "1.36";
const GROUP: &str = "config.k8s.io";
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
/// Every path of the metrics server, sorted.
const PATHS: [&str; 9] =
    ["/configz", "/explain", "/flagz", "/flows", "/healthz", "/limits", "/metrics", "/proxyMode", "/statusz"];
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility \
                       guarantees and is for debugging purposes only.";

/// What a caller takes.
enum Form {
    Text,
    /// JSON of a version of the group.
    Json(&'static str),
    Unacceptable,
}

/// Reads `Accept`: text, or `application/json;g=config.k8s.io;v=v1beta1;as=KIND`.
fn form(accept: &str, kind: &str) -> Form {
    if accept.trim().is_empty() {
        return Form::Text;
    }
    for offer in accept.split(',') {
        let mut parts = offer.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
        let get = |name: &str| parameters.get(name).copied().unwrap_or_default();
        match media {
            "text/plain" | "text/*" | "*/*" if !parameters.contains_key("as") => return Form::Text,
            "application/json" if get("g") == GROUP && get("as") == kind => {
                if let Some(version) = VERSIONS.into_iter().find(|version| *version == get("v")) {
                    return Form::Json(version);
                }
            }
            _ => {}
        }
    }
    Form::Unacceptable
}

fn answer(accept: &str, kind: &str, text: impl FnOnce() -> String, fields: impl FnOnce() -> Value) -> Answer {
    match form(accept, kind) {
        Form::Text => plain(StatusCode::OK, text()),
        Form::Json(version) => {
            let mut object = fields();
            object["kind"] = kind.into();
            object["apiVersion"] = format!("{GROUP}/{version}").into();
            object["metadata"] = json!({"name": COMPONENT});
            page(StatusCode::OK, "application/json", object.to_string())
        }
        Form::Unacceptable => plain(
            StatusCode::NOT_ACCEPTABLE,
            format!("only text/plain and application/json;g={GROUP};v={};as={kind} are to be had\n", VERSIONS[0]),
        ),
    }
}

/// `/statusz`.
pub(crate) fn statusz(accept: &str) -> Answer {
    let started = process::started();
    let up = SystemTime::now().duration_since(started).unwrap_or_default();
    answer(
        accept,
        "Statusz",
        || status_text(started, up),
        || {
            json!({
                "startTime": jiff::Timestamp::try_from(started).map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).ok(),
                "uptimeSeconds": up.as_secs(),
                "binaryVersion": env!("CARGO_PKG_VERSION"),
                "emulationVersion": EMULATED,
                "paths": PATHS,
            })
        },
    )
}

fn status_text(started: SystemTime, up: Duration) -> String {
    let started = jiff::Timestamp::try_from(started).unwrap_or_default();
    let seconds = up.as_secs();
    format!(
        "\n{COMPONENT} statusz\n{WARNING}\n\nStarted: {}\nUp: {} hr {:02} min {:02} sec\nBinary version: {}\n\
         Emulation version: {EMULATED}\nPaths: {}\n",
        started.strftime("%a %b %e %H:%M:%S UTC %Y"),
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        env!("CARGO_PKG_VERSION"),
        PATHS.join(" "),
    )
}

/// `/flagz`: the flags and their values.
pub(crate) fn flagz(accept: &str, flags: &BTreeMap<String, String>) -> Answer {
    let text = || {
        let mut text = format!("\n{COMPONENT} flagz\n{WARNING}\n");
        for (name, value) in flags {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name}={value}");
        }
        text
    };
    answer(accept, "Flagz", text, || json!({"flags": flags}))
}

/// `/metrics/slis`: whether each health check said yes when it was asked just now.
pub(crate) fn slis(checks: &[(&str, bool)]) -> String {
    let mut text = String::new();
    let name = "kubernetes_healthcheck";
    let _ =
        writeln!(text, "# HELP {name} This metric records the result of a single healthcheck.\n# TYPE {name} gauge");
    for (kind, passed) in checks {
        let _ = writeln!(text, "{name}{{name=\"service-proxy\",type=\"{kind}\"}} {}", u8::from(*passed));
    }
    process::write_start(&mut text);
    text.push_str("# EOF\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_nothing_gets_text_and_who_asks_for_json_must_say_of_which_version() {
        let json = |version| format!("application/json;g=config.k8s.io;v={version};as=Statusz");
        assert!(matches!(form("", "Statusz"), Form::Text));
        assert!(matches!(form("text/html, */*;q=0.8", "Statusz"), Form::Text));
        assert!(matches!(form(&json("v1beta1"), "Statusz"), Form::Json("v1beta1")));
        assert!(matches!(form(&json("v1alpha1"), "Statusz"), Form::Json("v1alpha1")));
        assert!(matches!(form(&json("v2"), "Statusz"), Form::Unacceptable));
        assert!(matches!(form(&json("v1beta1"), "Flagz"), Form::Unacceptable));
        assert!(matches!(form("application/json", "Statusz"), Form::Unacceptable));
    }

    #[test]
    fn the_status_is_written_as_kubernetes_writes_it() {
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_729_112_623);
        let text = status_text(started, Duration::from_secs(3_676));
        let head = format!(
            "\nkube-proxy statusz\n{WARNING}\n\nStarted: Wed Oct 16 21:03:43 UTC 2024\nUp: 1 hr 01 min 16 sec\n"
        );
        assert!(text.starts_with(&head), "{text}");
        assert!(text.contains("\nPaths: /configz /explain /flagz "), "{text}");
    }
}
