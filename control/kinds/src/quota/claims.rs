//! What PersistentVolumeClaims use (`pkg/quota/v1/evaluator/core/persistent_volume_claims.go`).
use super::{Usage, one, pods};
use crate::quantity::{Format, Quantity};
use crate::value::text;
use serde_json::Value;

const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
const RESOURCES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];

pub(super) fn counts_for(resource: &str) -> bool {
    let name = resource.rsplit_once(OF_CLASS).map_or(resource, |(_, name)| name);
    RESOURCES.contains(&name)
}

pub(super) fn usage(claim: &Value) -> Usage {
    let mut usage = Usage::from([(RESOURCES[0].to_owned(), one())]);
    if let Some(storage) = storage(claim) {
        usage.insert(RESOURCES[1].to_owned(), storage);
    }
    let annotated = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    let class = annotated.as_str().unwrap_or_else(|| text(&claim["spec"]["storageClassName"]));
    if !class.is_empty() {
        let of_class = |(name, quantity): (&String, &Quantity)| (format!("{class}{OF_CLASS}{name}"), quantity.clone());
        let own: Usage = usage.iter().map(of_class).collect();
        usage.extend(own);
    }
    usage
}

/// What is asked for, or what is being given if that is more; whole bytes.
fn storage(claim: &Value) -> Option<Quantity> {
    let asked = &claim["spec"]["resources"]["requests"]["storage"];
    let asked = Quantity::from_value(asked).ok().filter(|_| !asked.is_null())?;
    let given = Quantity::from_value(&claim["status"]["allocatedResources"]["storage"]).ok();
    let more = given.filter(|given| *given > asked).unwrap_or(asked);
    Some(if more.is_integer() { more } else { Quantity::new(more.value(), Format::BinarySI) })
}

pub(super) fn matches(requirement: &Value, claim: &Value) -> bool {
    if text(&requirement["scopeName"]) != "VolumeAttributesClass" {
        return false;
    }
    let names = [
        &claim["spec"]["volumeAttributesClassName"],
        &claim["status"]["currentVolumeAttributesClassName"],
        &claim["status"]["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ];
    let mut names: Vec<&str> = names.into_iter().map(text).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        names.push("");
    }
    names.into_iter().any(|name| pods::selects(requirement, "VolumeAttributesClass", name))
}
