//! APIService: who serves a group and version, this server or one behind a Service.
use super::*;
use crate::field::{Errors, Path};
use crate::names;

pub(super) const API_SERVICE: Kind = Kind {
    group: "apiregistration.k8s.io",
    kind: "APIService",
    namespaced: false,
    status: true,
    names_version: true,
    name: crate::names::NameRule::PathSegment,
    defaults: |_, service| {
        if let Some(service) = at(service, &["spec", "service"]) {
            default_to(service, "port", 443);
        }
    },
    prepare_create: |service| {
        set(service, "status", json!({}));
        if service["spec"]["service"].is_null() {
            let made = service["metadata"]["creationTimestamp"].clone();
            let condition = json!({
                "type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": made,
                "message": "Local APIServices are always available",
            });
            set(service, "status", json!({"conditions": [condition]}));
        }
    },
    validate,
    validate_update: |new, _, subresource, errors| match subresource {
        crate::Subresource::Status => validate_status(new, errors),
        _ => validate(new, errors),
    },
    columns: &[
        NAME,
        Column::text("Service", "The reference to the service that hosts this API endpoint."),
        Column::text("Available", "Whether this service is available."),
        AGE,
    ],
    cells: |object, now| {
        let service = &object["spec"]["service"];
        let place = match service {
            Value::Null => "Local".to_owned(),
            service => format!("{}/{}", text(&service["namespace"]), text(&service["name"])),
        };
        let available = items(&object["status"]["conditions"]).iter().find(|c| text(&c["type"]) == "Available");
        let shown = available.map_or("Unknown".to_owned(), |condition| {
            match (text(&condition["status"]), text(&condition["reason"])) {
                ("True", _) => "True".to_owned(),
                (status, reason) => format!("{status} ({reason})"),
            }
        });
        vec![name(object), place.into(), shown.into(), age(object, now)]
    },
    ..GENERAL
};

/// `ValidateAPIService`.
fn validate(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    let path = Path::new("spec");
    let (group, version) = (text(&spec["group"]), text(&spec["version"]));
    let (name, wanted) = (text(&object["metadata"]["name"]), format!("{version}.{group}"));
    if names::path_segment(name).is_empty() && name != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {}", crate::value::go_quote(&wanted));
        errors.invalid(&Path::new("metadata.name"), name, detail);
    }
    let generate = text(&object["metadata"]["generateName"]);
    if !generate.is_empty() && generate != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {}", crate::value::go_quote(&wanted));
        errors.invalid(&Path::new("metadata.generateName"), generate, detail);
    }
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.required(&path.child("group"), detail);
    }
    if !group.is_empty() {
        errors.invalid_each(&path.child("group"), group, names::dns1123_subdomain(group));
    }
    errors.invalid_each(&path.child("version"), version, names::dns1035_label(version));
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let priority = int(&spec[field]);
        if priority <= 0 || priority > most {
            errors.invalid(&path.child(field), priority, format!("must be positive and less than {most}"));
        }
    }
    let (bundle, insecure) = (text(&spec["caBundle"]), flag(&spec["insecureSkipTLSVerify"]));
    let skip = path.child("insecureSkipTLSVerify");
    let service = &spec["service"];
    if service.is_null() {
        if !bundle.is_empty() {
            let size = format!("{} bytes", bundle.trim_end_matches('=').len() * 3 / 4);
            errors.invalid(&path.child("caBundle"), size, "local APIServices may not have a caBundle");
        }
        if insecure {
            errors.invalid(&skip, true, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    let at = path.child("service");
    for field in ["namespace", "name"] {
        if text(&service[field]).is_empty() {
            errors.required(&at.child(field), "");
        }
    }
    let port = int(&service["port"]);
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        errors.invalid(&at.child("port"), port, format!("port is not valid: {}", wrong.join(", ")));
    }
    if insecure && !bundle.is_empty() {
        errors.invalid(&skip, true, "may not be true if caBundle is present");
    }
}

fn validate_status(object: &Value, errors: &mut Errors) {
    let path = Path::new("status.conditions");
    for (index, condition) in items(&object["status"]["conditions"]).iter().enumerate() {
        let status = text(&condition["status"]);
        if !matches!(status, "True" | "False" | "Unknown") {
            errors.not_supported(&path.index(index).child("status"), status, &["False", "True", "Unknown"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn wrong(name: &str, spec: Value) -> String {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        crate::kind("apiregistration.k8s.io", "APIService").validate_create(&object).message()
    }

    #[test]
    fn an_api_service_is_named_after_what_it_serves() {
        let spec = |group: &str, version: &str| json!({"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 10});
        assert_eq!(wrong("v1.a.example.com", spec("a.example.com", "v1")), "[]");
        assert_eq!(wrong("v1.", spec("", "v1")), "[]");
        assert_eq!(
            wrong("odd", spec("a.example.com", "v1")),
            "metadata.name: Invalid value: \"odd\": must be `spec.version+\".\"+spec.group`: \"v1.a.example.com\""
        );
        assert!(wrong("v2.", spec("", "v2")).contains("only v1 may have an empty group"));
        let mut high = spec("a", "v1");
        high["groupPriorityMinimum"] = json!(20_001);
        assert!(wrong("v1.a", high).contains("spec.groupPriorityMinimum: Invalid value: 20001"));
        let mut both = spec("a", "v1");
        both["service"] = json!({"name": "s", "namespace": "n", "port": 443});
        both["insecureSkipTLSVerify"] = json!(true);
        both["caBundle"] = json!("Zm9v");
        assert!(wrong("v1.a", both).contains("may not be true if caBundle is present"));
    }
}
