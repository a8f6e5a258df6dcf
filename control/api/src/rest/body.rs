//! A request's body as an object of the kind that is expected, with unknown and duplicate fields treated as `fieldValidation`
//! asks: ignored, told in a `Warning` header (the default), or refused.

use orlop_schema::decode::{self, DecodeError};
use orlop_schema::{GroupVersionKind, Schema, TypeRef};
use serde_json::Value;

use super::{Call, Patch};
use crate::custom::Custom;
use crate::status::Status;
use crate::wire::{BodyFormat, decode_object, decode_yaml};

impl Call {
    /// Decodes the body as `kind`.
    pub fn decode(&self, api_version: &str, kind: &str) -> Result<Value, Status> {
        let format = BodyFormat::from_headers(&self.headers)?;
        let custom = self.resource.custom.as_deref().filter(|_| kind == self.resource.kind);
        if custom.is_some() && format == BodyFormat::Protobuf {
            return Err(Status::unsupported_media_type(&["application/json", "application/yaml"]));
        }
        let cannot = |error: &DecodeError| cannot_be_handled(api_version, kind, error);
        let (mut object, mut strict) = match format {
            BodyFormat::Json => {
                let parsed = decode::parse(&self.body).map_err(|e| unrecognized(kind, &self.body, &e))?;
                (parsed.object, parsed.strict)
            }
            BodyFormat::Yaml => {
                let (object, twice) = decode_yaml(&self.body, kind)?;
                (object, twice.into_iter().collect())
            }
            BodyFormat::Protobuf => (decode_object(format, &self.body, api_version, kind)?, Vec::new()),
        };
        if !object.is_object() {
            return Err(unrecognized(
                kind,
                &self.body,
                &format_args!("json: cannot unmarshal {} into Go value of type {GO_TYPE}", go_kind(&object)),
            ));
        }
        match self.resource.custom {
            Some(_) => {
                let (version, its_kind) = ("the API version in the data", "the kind in the data");
                expect(&mut object, "apiVersion", api_version, version, "the expected API version")?;
                expect(&mut object, "kind", kind, its_kind, "the expected kind")?;
            }
            None => expect_type(&mut object, api_version, kind)?,
        }
        let unknown = match (custom, type_of(api_version, kind)) {
            (Some(custom), _) => custom.prune(&mut object).map_err(|e| cannot(&e))?,
            (None, Some(ty)) => ty.prune(&mut object).map_err(|e| cannot(&e))?,
            (None, None) => Vec::new(),
        };
        let mixed = !strict.is_empty() && !unknown.is_empty();
        strict.extend(unknown);
        if mixed && format == BodyFormat::Json {
            decode::order(&self.body, &mut strict);
        }
        self.report(api_version, kind, strict)?;
        self.trail.requested(&object, || {
            let mut whole = object.clone();
            if kind == self.resource.kind {
                crate::strategy::default(&self.resource, &mut whole);
            }
            whole
        });
        Ok(object)
    }

    /// Brings a patched object into its type's form again.
    /// `patched` shows what was patched, if it must be.
    pub(super) fn prune(
        &self,
        object: &mut Value,
        patch: &Patch,
        twice: &[String],
        patched: impl Fn() -> String,
    ) -> Result<(), Status> {
        let (api_version, kind) = self.written();
        let strict = match (self.own_custom(), type_of(&api_version, &kind)) {
            (Some(custom), _) => custom.prune(object),
            (None, Some(ty)) => ty.prune(object),
            (None, None) => return Ok(()),
        };
        let refused = |why: &str| {
            let cause = crate::status::Cause::invalid("patch", &patched().into(), why);
            Status::invalid_as("", "", "", vec![cause])
        };
        let unknown = strict.map_err(|error| match patch {
            Patch::Strategic(_) => refused(&unconverted(&error)),
            _ => refused(&error.to_string()),
        })?;
        let strict: Vec<String> = twice.iter().cloned().chain(unknown).collect();
        if self.query.text("fieldValidation") == "Strict" && !strict.is_empty() {
            return Err(refused(&decode::strict_decoding_error(&strict)));
        }
        self.report(&api_version, &kind, strict)
    }

    /// Brings a body into its type's form; what the type does not know is told.
    pub(super) fn prune_body(&self, object: &mut Value) -> Result<Vec<String>, Status> {
        let (api_version, kind) = self.written();
        let unknown = match (self.own_custom(), type_of(&api_version, &kind)) {
            (Some(custom), _) => custom.prune(object),
            (None, Some(ty)) => ty.prune(object),
            (None, None) => return Ok(Vec::new()),
        };
        unknown.map_err(|error| cannot_be_handled(&api_version, &kind, &error))
    }

    fn report(&self, api_version: &str, kind: &str, strict: Vec<String>) -> Result<(), Status> {
        match self.query.text("fieldValidation") {
            "Ignore" => Ok(()),
            "" | "Warn" => {
                strict.into_iter().for_each(|text| self.warn(text));
                Ok(())
            }
            "Strict" if strict.is_empty() => Ok(()),
            "Strict" => Err(Status::bad_request(format!(
                "{kind} in version \"{}\" cannot be handled as a {kind}: {}",
                version(api_version),
                decode::strict_decoding_error(&strict)
            ))),
            // Refused before.
            _ => Ok(()),
        }
    }
}

impl Call {
    /// `apiVersion` and kind of what is written: the object's, or those that its subresource speaks.
    pub(super) fn written(&self) -> (String, String) {
        let own = || (self.resource.api_version(), self.resource.kind.clone());
        match self.resource.subresource(&self.info.subresource) {
            Some(sub) if sub.kind != self.resource.kind && sub.group.is_empty() => {
                (sub.version.clone(), sub.kind.clone())
            }
            Some(sub) if sub.kind != self.resource.kind => (format!("{}/{}", sub.group, sub.version), sub.kind.clone()),
            _ => own(),
        }
    }

    /// What the definition says of what is written, if it is a custom object itself.
    fn own_custom(&self) -> Option<&Custom> {
        self.resource.custom.as_deref().filter(|_| self.info.subresource != "scale")
    }

    /// The type of what is written.
    pub(super) fn ty(&self) -> Option<TypeRef<'_>> {
        match self.own_custom() {
            Some(custom) => custom.ty(),
            None => {
                let (api_version, kind) = self.written();
                type_of(&api_version, &kind)
            }
        }
    }
}

/// The schema's type of a built-in kind.
pub fn type_of(api_version: &str, kind: &str) -> Option<TypeRef<'static>> {
    Schema::builtin().type_by_kind(&GroupVersionKind::from_api_version(api_version, kind))
}

/// As Go converts a map into a struct, which is how a strategic patch ends (`pkg/runtime/converter.go`).
fn unconverted(error: &DecodeError) -> String {
    let DecodeError::Type { value, go_type, .. } = error else { return error.to_string() };
    let kind = match value.split(' ').next().unwrap_or_default() {
        "array" => "slice",
        "object" => "map",
        "number" if value.contains('.') => "float64",
        "number" => "int64",
        other => other,
    };
    match go_type.as_str() {
        list if list.starts_with("[]") => format!("cannot restore slice from {kind}"),
        map if map.starts_with("map[") => format!("cannot restore map from {kind}"),
        object if object.contains('.') => format!("cannot restore struct from: {kind}"),
        scalar => format!("unrecognized type: {scalar}"),
    }
}

fn version(api_version: &str) -> &str {
    api_version.rsplit('/').next().unwrap_or(api_version)
}

fn cannot_be_handled(api_version: &str, kind: &str, error: &DecodeError) -> Status {
    Status::bad_request(format!(
        "{kind} in version \"{}\" cannot be handled as a {kind}: {error}",
        version(api_version)
    ))
}

/// Fills in what is missing, refuses what contradicts the URL.
fn expect(
    object: &mut Value,
    field: &str,
    expected: &str,
    found_text: &str,
    expected_text: &str,
) -> Result<(), Status> {
    match object[field].as_str() {
        None | Some("") => {
            object[field] = expected.into();
            Ok(())
        }
        Some(found) if found == expected => Ok(()),
        Some(found) => {
            Err(Status::bad_request(format!("{found_text} ({found}) does not match {expected_text} ({expected})")))
        }
    }
}

/// What kube-apiserver's decoder reads first.
pub(super) const GO_TYPE: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
/// So much of a body that cannot be read is shown.
const SHOWN: usize = 30;

/// As Go names what JSON holds.
pub(super) fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        _ => "number",
    }
}

/// The body is not even an object.
fn unrecognized(kind: &str, body: &[u8], why: &dyn std::fmt::Display) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {why} ({})",
        summary(body)
    ))
}

/// The beginning of a body, as `runtime.NewNotRegisteredErr`'s neighbours show it: text if it looks like JSON, else its bytes.
pub fn summary(body: &[u8]) -> String {
    let shown = &body[..body.len().min(SHOWN)];
    let more = if body.len() > SHOWN { " ..." } else { "" };
    match shown.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => shown.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + more,
    }
}

/// Fills in what is missing; another type than the URL's cannot be converted to it.
fn expect_type(object: &mut Value, api_version: &str, kind: &str) -> Result<(), Status> {
    let text = |field: &str| object[field].as_str().filter(|text| !text.is_empty());
    let (found_version, found_kind) = (text("apiVersion").unwrap_or(api_version), text("kind").unwrap_or(kind));
    if (found_version, found_kind) == (api_version, kind) {
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        return Ok(());
    }
    let version = version(found_version);
    let package = |group: &str| {
        if group.is_empty() { "core".to_owned() } else { group.split('.').next().unwrap_or_default().to_owned() }
    };
    let own_group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let why = match type_of(found_version, found_kind) {
        Some(_) => {
            format!("converting ({version}.{found_kind}) to ({}.{kind}): unknown conversion", package(own_group))
        }
        None => format!(
            "no kind \"{found_kind}\" is registered for version \"{found_version}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ),
    };
    Err(Status::bad_request(format!("{found_kind} in version \"{version}\" cannot be handled as a {kind}: {why}")))
}
