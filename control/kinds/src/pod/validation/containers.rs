//! The three container lists of a pod spec.
use super::volumes::Volumes;
use super::{claims, env, handlers, one_of, resources, security, volumes};
use crate::field::{Errors, Path};
use crate::names;
use crate::pod::is_sidecar;
use crate::value::{int, is_empty, items, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// What the checks of one container need to know of its pod.
struct Pod<'a> {
    spec: &'a Value,
    volumes: &'a Volumes<'a>,
    claims: &'a BTreeSet<&'a str>,
}

pub(super) fn validate(
    spec: &Value,
    volumes: &Volumes<'_>,
    claims: &BTreeSet<&str>,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let pod = Pod { spec, volumes, claims };
    pod.main(&path.child("containers"), errors);
    pod.init(&path.child("initContainers"), errors);
    pod.ephemeral(&path.child("ephemeralContainers"), errors);
}

fn names_of(list: &Value) -> impl Iterator<Item = &str> {
    items(list).iter().map(|container| text(&container["name"]))
}

impl Pod<'_> {
    fn main(&self, path: &Path<'_>, errors: &mut Errors) {
        let containers = items(&self.spec["containers"]);
        if containers.is_empty() {
            return errors.required(path, "");
        }
        let mut names = BTreeSet::new();
        for (index, container) in containers.iter().enumerate() {
            let path = path.index(index);
            self.common(container, &path, errors);
            if !names.insert(text(&container["name"])) {
                errors.duplicate(&path.child("name"), text(&container["name"]));
            }
            handlers::validate(container, self.spec, &path, errors);
            restart_policy(container, &path, errors);
        }
        host_port_conflicts(containers, path, errors);
    }

    fn init(&self, path: &Path<'_>, errors: &mut Errors) {
        let mut names: BTreeSet<&str> = names_of(&self.spec["containers"]).collect();
        for (index, container) in items(&self.spec["initContainers"]).iter().enumerate() {
            let path_one = path.index(index);
            self.common(container, &path_one, errors);
            restart_policy(container, &path_one, errors);
            let name = text(&container["name"]);
            if names.contains(name) {
                errors.duplicate(&path_one.child("name"), name);
            } else if !name.is_empty() {
                names.insert(name);
            }
            host_port_conflicts(std::slice::from_ref(container), path, errors);
            if is_sidecar(container) {
                handlers::validate(container, self.spec, &path_one, errors);
                continue;
            }
            for member in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if !container[member].is_null() {
                    errors.forbidden(
                        &path_one.child(member),
                        "may not be set for init containers without restartPolicy=Always",
                    );
                }
            }
        }
    }

    fn ephemeral(&self, path: &Path<'_>, errors: &mut Errors) {
        const ALLOWED: [&str; 17] = [
            "name",
            "image",
            "command",
            "args",
            "workingDir",
            "env",
            "envFrom",
            "volumeMounts",
            "volumeDevices",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "imagePullPolicy",
            "securityContext",
            "stdin",
            "stdinOnce",
            "tty",
            "targetContainerName",
        ];
        let others: BTreeSet<&str> =
            names_of(&self.spec["containers"]).chain(names_of(&self.spec["initContainers"])).collect();
        let mut names = others.clone();
        for (index, container) in items(&self.spec["ephemeralContainers"]).iter().enumerate() {
            let path = path.index(index);
            self.common(container, &path, errors);
            if !names.insert(text(&container["name"])) {
                errors.duplicate(&path.child("name"), text(&container["name"]));
            }
            let target = text(&container["targetContainerName"]);
            if !target.is_empty() && !others.contains(target) {
                errors.not_found(&path.child("targetContainerName"), target);
            }
            for (member, value) in crate::value::entries(container) {
                if !ALLOWED.contains(&member) && !is_empty(value) {
                    errors.forbidden(&path.child(member), "cannot be set for an Ephemeral Container");
                }
            }
            let mounts = path.child("volumeMounts");
            for (index, mount) in items(&container["volumeMounts"]).iter().enumerate() {
                for member in ["subPath", "subPathExpr"] {
                    if !text(&mount[member]).is_empty() {
                        errors
                            .forbidden(&mounts.index(index).child(member), "cannot be set for an Ephemeral Container");
                    }
                }
            }
        }
    }

    /// What containers of every list must satisfy.
    fn common(&self, container: &Value, path: &Path<'_>, errors: &mut Errors) {
        let name = text(&container["name"]);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.invalid_each(&path.child("name"), name, names::dns1123_label(name));
        }
        if text(&container["image"]).is_empty() {
            errors.required(&path.child("image"), "");
        }
        one_of(container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], path, errors);
        ports(&container["ports"], &path.child("ports"), errors);
        env::validate(container, path, errors);
        volumes::validate_mounts(container, self.volumes, &path.child("volumeMounts"), errors);
        volumes::validate_devices(container, self.volumes, &path.child("volumeDevices"), errors);
        one_of(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], path, errors);
        resources::validate(&container["resources"], &path.child("resources"), errors);
        claims::validate_used(&container["resources"]["claims"], self.claims, &path.child("resources.claims"), errors);
        self.resize_policy(&container["resizePolicy"], &path.child("resizePolicy"), errors);
        let host_users = self.spec["hostUsers"].as_bool().unwrap_or(true);
        security::validate_container(&container["securityContext"], host_users, &path.child("securityContext"), errors);
    }

    fn resize_policy(&self, policies: &Value, path: &Path<'_>, errors: &mut Errors) {
        let mut seen = BTreeSet::new();
        for (index, policy) in items(policies).iter().enumerate() {
            let (resource, restart) = (text(&policy["resourceName"]), text(&policy["restartPolicy"]));
            if !seen.insert(resource) {
                errors.duplicate(&path.index(index), resource);
            }
            match resource {
                "cpu" | "memory" => {}
                "" => errors.required(path, ""),
                _ => errors.not_supported(path, resource, &["cpu", "memory"]),
            }
            match restart {
                "NotRequired" | "RestartContainer" => {}
                "" => errors.required(path, ""),
                _ => errors.not_supported(path, restart, &["NotRequired", "RestartContainer"]),
            }
            if text(&self.spec["restartPolicy"]) == "Never" && restart != "NotRequired" {
                errors.invalid(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
            }
        }
    }
}

/// A container's own restart policy and its rules.
fn restart_policy(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (policy, rules) = (&container["restartPolicy"], items(&container["restartPolicyRules"]));
    if policy.is_null() && !rules.is_empty() {
        errors.required(&path.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    if !policy.is_null() && !matches!(text(policy), "Always" | "Never" | "OnFailure") {
        errors.not_supported(&path.child("restartPolicy"), text(policy), &["Always", "Never", "OnFailure"]);
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > 20 {
        errors.too_many(&path, rules.len(), 20);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        if !matches!(text(&rule["action"]), "Restart" | "RestartAllContainers") {
            let supported = ["Restart", "RestartAllContainers"];
            errors.not_supported(&path.child("action"), text(&rule["action"]), &supported);
        }
        let (codes, path) = (&rule["exitCodes"], path.child("exitCodes"));
        if codes.is_null() {
            errors.required(&path, "must be specified");
            continue;
        }
        let operator = text(&codes["operator"]);
        if !matches!(operator, "In" | "NotIn") {
            errors.not_supported(&path.child("operator"), operator, &["In", "NotIn"]);
        }
        if items(&codes["values"]).len() > 255 {
            errors.too_many(&path.child("values"), items(&codes["values"]).len(), 255);
        }
    }
}

fn ports(ports: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, port) in items(ports).iter().enumerate() {
        let path = path.index(index);
        let name = text(&port["name"]);
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if wrong.is_empty() && !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            errors.invalid_each(&path.child("name"), name, wrong);
        }
        for member in ["containerPort", "hostPort"] {
            let number = int(&port[member]);
            if number != 0 {
                for wrong in names::port_number(number) {
                    errors.invalid(&path.child(member), number, wrong);
                }
            } else if member == "containerPort" {
                errors.required(&path.child(member), "");
            }
        }
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
    }
}

fn host_port_conflicts(containers: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        let path = path.child("ports");
        for (index, port) in items(&container["ports"]).iter().enumerate() {
            let number = int(&port["hostPort"]);
            let place = format!("{}/{}/{number}", text(&port["protocol"]), text(&port["hostIP"]));
            if number != 0 && !seen.insert(place.clone()) {
                errors.duplicate(&path.index(index).child("hostPort"), place);
            }
        }
    }
}
