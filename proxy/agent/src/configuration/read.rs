//! Reading a configuration: strictly, and where that fails leniently with a word about each field that nobody knows.

use serde_json::Value;

use super::{API_VERSION, KIND, KubeProxyConfiguration};

/// Why a text is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Neither YAML nor JSON.
    #[error("failed to decode: {0}")]
    Syntax(String),
    /// Another kind of object.
    #[error("failed to decode: no kind {kind:?} is registered for version {version:?}")]
    Kind {
        /// Its kind.
        kind: String,
        /// Its apiVersion.
        version: String,
    },
    /// A field of the wrong type or with a value that cannot be.
    #[error("failed to decode: {0}")]
    Field(#[from] serde_json::Error),
}

impl KubeProxyConfiguration {
    /// Reads YAML or JSON, sets defaults, and says which fields it does not know: kube-proxy too goes on without those.
    pub fn read(text: &str) -> Result<(Self, Vec<String>), ReadError> {
        let mut value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(_) => serde_saphyr::from_str(text).map_err(|error| ReadError::Syntax(error.to_string()))?,
        };
        let said = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, version) = (said("kind"), said("apiVersion"));
        if (kind.as_str(), version.as_str()) != (KIND, API_VERSION) {
            return Err(ReadError::Kind { kind, version });
        }
        drop_nulls(&mut value);
        let mut unknown = Vec::new();
        let known = serde_json::to_value(Self::default())?;
        compare(&value, &known, "", &mut unknown);
        Ok((Self::of(value)?, unknown))
    }

    /// A configuration of these fields, and defaults for the rest.
    pub fn of(fields: Value) -> Result<Self, ReadError> {
        let mut read: Self = serde_json::from_value(fields)?;
        read.set_defaults();
        Ok(read)
    }

    /// The YAML that [`KubeProxyConfiguration::read`] reads.
    pub fn to_yaml(&self) -> Result<String, ReadError> {
        serde_saphyr::to_string(self).map_err(|error| ReadError::Syntax(error.to_string()))
    }
}

/// A null is as good as nothing, whatever the field.
fn drop_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}

fn compare(given: &Value, known: &Value, path: &str, unknown: &mut Vec<String>) {
    let (Value::Object(given), Value::Object(known)) = (given, known) else { return };
    // Maps of anybody's keys are empty in the default.
    if known.is_empty() {
        return;
    }
    for (name, value) in given {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match known.get(name) {
            Some(known) => compare(value, known, &path, unknown),
            None => unknown.push(format!("unknown field {path:?}")),
        }
    }
}
