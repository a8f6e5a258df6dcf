//! A request's body as an object of the kind that is expected, with unknown and duplicate fields treated as `fieldValidation`
//! asks: ignored, told in a `Warning` header (the default), or refused.

use orlop_schema::decode::{self, DecodeError};
use orlop_schema::{GroupVersionKind, Schema, TypeRef};
use serde_json::Value;

use super::Call;
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
                let parsed = decode::parse(&self.body).map_err(|e| cannot(&e))?;
                (parsed.object, parsed.strict)
            }
            BodyFormat::Yaml => {
                let (object, twice) = decode_yaml(&self.body)?;
                (object, twice.into_iter().collect())
            }
            BodyFormat::Protobuf => (decode_object(format, &self.body, api_version, kind)?, Vec::new()),
        };
        if !object.is_object() {
            return Err(Status::bad_request(format!(
                "{kind} in version \"{api_version}\" cannot be handled as a {kind}: json: cannot unmarshal"
            )));
        }
        expect(&mut object, "apiVersion", api_version, "the API version in the data", "the expected API version")?;
        expect(&mut object, "kind", kind, "the kind in the data", "the expected kind")?;
        let unknown = match (custom, type_of(api_version, kind)) {
            (Some(custom), _) => custom.prune(&mut object).map_err(|e| cannot(&e))?,
            (None, Some(ty)) => ty.prune(&mut object).map_err(|e| cannot(&e))?,
            (None, None) => Vec::new(),
        };
        if self.applies() && !unknown.is_empty() {
            self.report(api_version, kind, strict)?;
            return Err(self.undeclared(&unknown));
        }
        strict.extend(unknown);
        self.report(api_version, kind, strict)?;
        Ok(object)
    }

    /// Brings a patched object into its type's form again.
    pub(super) fn prune(&self, object: &mut Value) -> Result<(), Status> {
        let (api_version, kind) = (self.resource.api_version(), &self.resource.kind);
        let strict = match (&self.resource.custom, type_of(&api_version, kind)) {
            (Some(custom), _) => custom.prune(object),
            (None, Some(ty)) => ty.prune(object),
            (None, None) => return Ok(()),
        };
        let strict = strict.map_err(|e| cannot_be_handled(&api_version, kind, &e))?;
        self.report(&api_version, kind, strict)
    }

    /// Who applies must say only what the type knows: nobody could own the rest.
    fn undeclared(&self, unknown: &[String]) -> Status {
        let paths = unknown.iter().filter_map(|text| text.strip_prefix("unknown field \"")?.strip_suffix('"'));
        let lines: Vec<String> = paths.map(|path| format!(".{path}: field not declared in schema")).collect();
        let told = if lines.len() == 1 { lines[0].clone() } else { format!("errors:\n  {}", lines.join("\n  ")) };
        Status::unknown(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): {told}",
            self.namespace(),
            self.info.name,
            self.resource.api_version(),
            self.resource.kind
        ))
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
            other => Err(Status::bad_request(format!(
                "fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

impl Call {
    /// The type of the resource's objects.
    pub(super) fn ty(&self) -> Option<TypeRef<'_>> {
        match &self.resource.custom {
            Some(custom) => custom.ty(),
            None => type_of(&self.resource.api_version(), &self.resource.kind),
        }
    }
}

/// The schema's type of a built-in kind.
pub fn type_of(api_version: &str, kind: &str) -> Option<TypeRef<'static>> {
    Schema::builtin().type_by_kind(&GroupVersionKind::from_api_version(api_version, kind))
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
