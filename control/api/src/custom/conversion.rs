//! Conversion between the versions of a definition by its webhook (`conversion.strategy: Webhook`): a ConversionReview with the
//! objects that are of another version than the one asked for, and an answer that may change everything but who they are.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Custom;
use crate::object::{Object, metadata_mut};
use crate::rest::Call;
use crate::server::ApiServer;
use crate::status::Status;
use crate::webhook::ClientConfig;

/// A webhook that has not answered by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The webhook of a definition.
#[derive(Debug)]
pub struct Conversion {
    client: Result<ClientConfig, String>,
    /// Versions of ConversionReview that it reads.
    versions: Vec<String>,
}

impl Conversion {
    /// Of a definition; none if its versions differ in name only.
    pub(super) fn of(definition: &Value) -> Option<Arc<Self>> {
        let conversion = &definition["spec"]["conversion"];
        if conversion["strategy"] != "Webhook" {
            return None;
        }
        let versions = conversion["webhook"]["conversionReviewVersions"].as_array().into_iter().flatten();
        Some(Arc::new(Self {
            client: ClientConfig::read(&conversion["webhook"]["clientConfig"]),
            versions: versions.filter_map(|v| v.as_str().map(Into::into)).collect(),
        }))
    }

    /// The objects in the version wanted. All are of one kind, none of that version.
    async fn convert(&self, server: &ApiServer, objects: Vec<Value>, wanted: &str) -> Result<Vec<Value>, Status> {
        let Some(first) = objects.first() else { return Ok(objects) };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let what = format!("{}, Kind={}", text(&first["apiVersion"]), text(&first["kind"]));
        let failed = |why: String| Status::unknown(format!("conversion webhook for {what} {why}"));
        let version = self.versions.iter().find(|v| matches!(v.as_str(), "v1" | "v1beta1"));
        let version = version.ok_or_else(|| failed("failed: no supported conversion review versions".into()))?;
        let client = self.client.as_ref().map_err(|why| failed(format!("failed: {why}")))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let review = json!({
            "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
        });
        let posted = server.webhooks().post(client, &review, PATIENCE).await;
        let mut answer = posted.map_err(|error| failed(format!("failed: {error}")))?;
        if answer["kind"] != "ConversionReview" || answer["apiVersion"] != review["apiVersion"] {
            let (got, expected) = (text(&answer["apiVersion"]), text(&review["apiVersion"]));
            return Err(failed(format!(
                "failed: expected webhook response of {expected}, Kind=ConversionReview, got {got}, Kind={}",
                text(&answer["kind"])
            )));
        }
        let response = answer["response"].take();
        if !response.is_object() {
            return Err(failed("failed: no response provided".into()));
        }
        if version == "v1" && response["uid"] != uid.as_str() {
            return Err(failed(format!("failed: expected response.uid=\"{uid}\", got \"{}\"", text(&response["uid"]))));
        }
        if response["result"]["status"] != "Success" {
            let message = text(&response["result"]["message"]);
            let why = match (message.as_str(), text(&response["result"]["status"])) {
                ("", status) => format!("response.result.status was '{status}', not 'Success'"),
                (message, _) => message.to_owned(),
            };
            return Err(failed(format!("failed: {why}")));
        }
        let converted = match response {
            Value::Object(mut map) => map.remove("convertedObjects").unwrap_or_default(),
            _ => Value::Null,
        };
        let Value::Array(converted) = converted else {
            return Err(failed(format!("returned 0 objects, expected {}", objects.len())));
        };
        if converted.len() != objects.len() {
            return Err(failed(format!("returned {} objects, expected {}", converted.len(), objects.len())));
        }
        let pairs = objects.into_iter().zip(converted).enumerate();
        pairs
            .map(|(at, (original, converted))| {
                accept(original, converted, wanted)
                    .map_err(|why| failed(format!("returned invalid converted object at index {at}: {why}")))
            })
            .collect()
    }
}

/// What the webhook made of an object: it stays the same object, with other labels and annotations at most.
fn accept(original: Value, mut converted: Value, wanted: &str) -> Result<Value, String> {
    if converted["apiVersion"] != wanted {
        let got = converted["apiVersion"].as_str().unwrap_or_default();
        return Err(format!("invalid groupVersion (expected {wanted}, received {got})"));
    }
    if converted["kind"] != original["kind"] {
        return Err(format!("invalid kind (expected {}, received {})", original["kind"], converted["kind"]));
    }
    let Some(metadata) = converted["metadata"].as_object() else {
        return Err("missing metadata in converted object".into());
    };
    for (field, shown) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, after) = (&original["metadata"][field], metadata.get(field).unwrap_or(&Value::Null));
        if before != after {
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            return Err(format!("must have the same {shown}: {} != {}", text(before), text(after)));
        }
    }
    let mut kept: Map<String, Value> = original["metadata"].as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match metadata.get(field) {
            Some(Value::Object(map)) => {
                if let Some((key, _)) = map.iter().find(|(_, v)| !v.is_string()) {
                    return Err(format!("metadata.{field}[{key}] must be a string in converted object"));
                }
                kept.insert(field.into(), Value::Object(map.clone()));
            }
            None | Some(Value::Null) => {
                kept.shift_remove(field);
            }
            Some(_) => return Err(format!("invalid metadata.{field} in converted object")),
        }
    }
    converted["metadata"] = Value::Object(kept);
    Ok(converted)
}

impl Custom {
    /// Whether versions differ in more than their names.
    pub fn converts(&self) -> bool {
        self.conversion.is_some()
    }

    /// An object of another version, which is on its way to be stored, in this one.
    pub async fn take_over(&self, server: &ApiServer, object: &mut Value) -> Result<(), Status> {
        let wanted = self.kind.api_version();
        let Some(conversion) = &self.conversion else {
            object["apiVersion"] = wanted.into();
            return Ok(());
        };
        let version = object["metadata"].get("resourceVersion").cloned();
        let converted = conversion.convert(server, vec![object.take()], &wanted).await?.pop();
        *object = converted.ok_or_else(|| Status::internal("a converted object is missing"))?;
        self.default(object);
        if let (Some(version), Some(metadata)) = (version, metadata_mut(object)) {
            metadata.insert("resourceVersion".into(), version);
        }
        Ok(())
    }
}

impl Call {
    /// Stored objects in the version of the request. Most resources have nothing to convert here.
    pub async fn present(&self, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, Status> {
        let Some(custom) = &self.resource.custom else { return Ok(objects) };
        let Some(conversion) = &custom.conversion else { return Ok(objects) };
        let wanted = self.resource.api_version();
        let mut out = objects;
        let others: Vec<(usize, Value)> = out
            .iter()
            .enumerate()
            .map(|(at, object)| (at, object.value()))
            .filter(|(_, value)| value["apiVersion"] != wanted.as_str())
            .collect();
        let (places, values): (Vec<usize>, Vec<Value>) = others.into_iter().unzip();
        let converted = conversion.convert(&self.server, values, &wanted).await?;
        for (at, mut value) in places.into_iter().zip(converted) {
            custom.read(&mut value);
            out[at] = Arc::new(Object::from_value(&self.resource, &value, out[at].revision));
        }
        Ok(out)
    }

    /// Likewise for one.
    pub async fn present_one(&self, object: Arc<Object>) -> Result<Arc<Object>, Status> {
        if !self.resource.custom.as_ref().is_some_and(|custom| custom.converts()) {
            return Ok(object);
        }
        let mut presented = self.present(vec![object]).await?;
        presented.pop().ok_or_else(|| Status::internal("a converted object is missing"))
    }

    /// An object of the request's version as it is stored.
    pub async fn stored(&self, object: &mut Value) -> Result<(), Status> {
        let stored = &self.resource.storage_version;
        let conversion = self.resource.custom.as_ref().and_then(|custom| custom.conversion.as_ref());
        let Some(conversion) = conversion.filter(|_| object["apiVersion"] != stored.as_str()) else {
            crate::convert::to_storage(&self.resource, object);
            return Ok(());
        };
        let version = metadata_mut(object).and_then(|m| m.get("resourceVersion").cloned());
        let converted = conversion.convert(&self.server, vec![object.take()], stored).await?.pop();
        *object = converted.ok_or_else(|| Status::internal("a converted object is missing"))?;
        let cache = self.cache()?;
        if let Some(custom) = &cache.resource.custom {
            custom.read(object);
        }
        if let (Some(version), Some(metadata)) = (version, metadata_mut(object)) {
            metadata.insert("resourceVersion".into(), version);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_converted_object_is_the_same_one() {
        let original =
            json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "uid": "u", "generation": 3}});
        let good = json!({"apiVersion": "g/v2", "kind": "K", "metadata": {"name": "a", "uid": "u", "labels": {"x": "y"}, "generation": 9}});
        let accepted = accept(original.clone(), good.clone(), "g/v2").unwrap();
        assert_eq!(accepted["metadata"], json!({"name": "a", "uid": "u", "generation": 3, "labels": {"x": "y"}}));
        let mut other = good.clone();
        other["metadata"]["name"] = "b".into();
        assert_eq!(accept(original.clone(), other, "g/v2").unwrap_err(), "must have the same name: a != b");
        assert!(accept(original, good, "g/v3").unwrap_err().starts_with("invalid groupVersion"));
    }
}
