//! VolumeAttachment (`pkg/apis/storage/validation`).
use super::csi::driver_name;
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind};
use crate::names::{self, range_error};
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{at, default_to, entries, flag, same, set, text};
use serde_json::{Value, json};

const METADATA_SIZE: usize = 256 * 1024;
const MESSAGE_SIZE: usize = 1024;

pub(super) const KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttachment",
    namespaced: false,
    status: true,
    defaults: |_, attachment| {
        if let Some(status) = at(attachment, &["status"]) {
            default_to(status, "attached", false);
            for member in ["attachError", "detachError"] {
                if let Some(error) = at(status, &[member]) {
                    default_to(error, "time", Value::Null);
                }
            }
        }
    },
    status_keeps_metadata: true,
    names_version: true,
    prepare_create: |attachment| set(attachment, "status", json!({"attached": false})),
    validate,
    validate_update: |new, old, _, errors| {
        validate(new, errors);
        if !same(&new["spec"], &old["spec"]) {
            let spec = &new["spec"];
            let source = json!({"PersistentVolumeName": spec["source"]["persistentVolumeName"],
                "InlineVolumeSpec": spec["source"]["inlineVolumeSpec"]});
            let shown =
                json!({"Attacher": text(&spec["attacher"]), "Source": source, "NodeName": text(&spec["nodeName"])});
            errors.invalid(&Path::new("spec"), shown, crate::meta::IMMUTABLE);
        }
    },
    columns: &[
        NAME,
        Column {
            format: "name",
            ..Column::text(
                "Attacher",
                "attacher indicates the name of the volume driver that MUST handle this request. This is the name returned by GetPluginName().",
            )
        },
        Column::text("PV", "persistentVolumeName represents the name of the persistent volume to attach."),
        Column::text("Node", "nodeName represents the node that the volume should be attached to."),
        Column::boolean(
            "Attached",
            "attached indicates the volume is successfully attached. This field must only be set by the entity completing the attach operation, i.e. the external-attacher.",
        ),
        AGE,
    ],
    cells: |attachment, now| {
        let spec = &attachment["spec"];
        vec![
            name(attachment),
            text(&spec["attacher"]).into(),
            text(&spec["source"]["persistentVolumeName"]).into(),
            text(&spec["nodeName"]).into(),
            flag(&attachment["status"]["attached"]).into(),
            age(attachment, now),
        ]
    },
    ..GENERAL
};

fn validate(attachment: &Value, errors: &mut Errors) {
    let (spec, path) = (&attachment["spec"], Path::new("spec"));
    driver_name(text(&spec["attacher"]), &path.child("attacher"), errors);
    let (source, place) = (&spec["source"], path.child("source"));
    let (volume, inline) = (&source["persistentVolumeName"], &source["inlineVolumeSpec"]);
    let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (volume.as_str(), inline.is_object()) {
        (None, false) => errors.required(&place, one),
        (Some(_), true) => errors.forbidden(&place, one),
        (Some(""), false) => {
            errors.required(&place.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        (Some(_), false) => {}
        (None, true) => super::volume::validate_inline(inline, &place.child("inlineVolumeSpec"), errors),
    }
    let node = text(&spec["nodeName"]);
    errors.invalid_each(&path.child("nodeName"), node, names::dns1123_subdomain(node));
    validate_status(&attachment["status"], errors);
    if let Some(volume) = volume.as_str() {
        errors.invalid_each(&place.child("persistentVolumeName"), volume, names::dns1123_subdomain(volume));
    }
}

fn validate_status(status: &Value, errors: &mut Errors) {
    let path = Path::new("status");
    let metadata = &status["attachmentMetadata"];
    if entries(metadata).map(|(key, value)| key.len() + text(value).len()).sum::<usize>() > METADATA_SIZE {
        errors.too_long(&path.child("attachmentMetadata"), METADATA_SIZE);
    }
    for member in ["attachError", "detachError"] {
        let (error, path) = (&status[member], path.child(member));
        if text(&error["message"]).len() > MESSAGE_SIZE {
            errors.too_long(&path.child("message"), METADATA_SIZE);
        }
        if let Some(code) = error["errorCode"].as_i64().filter(|code| *code < 0) {
            errors.invalid(&path.child("errorCode"), code, range_error(0, i64::from(i32::MAX)));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::{Value, json};

    fn attachment(spec: Value) -> Value {
        json!({"metadata": {"name": "a", "resourceVersion": "1"}, "spec": spec})
    }

    // TestVolumeAttachmentValidation
    #[test]
    fn an_attachment_names_a_driver_a_node_and_one_source() {
        let rules = kind("storage.k8s.io", "VolumeAttachment");
        let volume = json!({"persistentVolumeName": "pv"});
        let inline = json!({"accessModes": ["ReadWriteOnce"], "csi": {"driver": "d.example.com", "volumeHandle": "h"}});
        let said = |spec: Value| rules.validate_create(&attachment(spec)).message();
        assert_eq!(said(json!({"attacher": "d", "nodeName": "n", "source": volume})), "[]");
        assert_eq!(said(json!({"attacher": "d", "nodeName": "n", "source": {"inlineVolumeSpec": inline}})), "[]");
        for (source, message) in [
            (
                json!({}),
                "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            ),
            (
                json!({"persistentVolumeName": "pv", "inlineVolumeSpec": {}}),
                "spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            ),
            (
                json!({"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}}),
                "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
            ),
        ] {
            assert_eq!(said(json!({"attacher": "d", "nodeName": "n", "source": source})), message);
        }
    }

    // TestVolumeAttachmentUpdateValidation
    #[test]
    fn what_is_attached_where_stays() {
        let rules = kind("storage.k8s.io", "VolumeAttachment");
        let old = attachment(json!({"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}));
        let mut new = old.clone();
        new["spec"]["nodeName"] = "m".into();
        assert_eq!(
            rules.validate_update(&new, &old, Subresource::None).message(),
            "spec: Invalid value: {\"Attacher\":\"d\",\"Source\":{\"PersistentVolumeName\":\"pv\",\"InlineVolumeSpec\":null},\"NodeName\":\"m\"}: field is immutable"
        );
        let mut new = old.clone();
        new["status"] = json!({"attachError": {"errorCode": -1}});
        assert_eq!(
            rules.validate_update(&new, &old, Subresource::Status).message(),
            "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"
        );
    }
}
