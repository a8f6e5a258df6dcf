//! What an update of a Pod may change: images, deadlines, tolerations added, gates removed; and of its status.
use super::scheduling::validate_only_added_tolerations;
use super::{SPEC, Subresource, validate_deadline, validate_pod};
use crate::diff::difference;
use crate::field::{Errors, Path};
use crate::meta::immutable;
use crate::names;
use crate::net::validate_ip;
use crate::value::{copy, entries, go_quote, int, is_empty, items, items_at, same, text};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

pub(in crate::pod) fn validate_update(new: &Value, old: &Value, subresource: Subresource, errors: &mut Errors) {
    match subresource {
        Subresource::Status => validate_status(new, old, errors),
        Subresource::EphemeralContainers => validate_ephemeral(new, old, errors),
        Subresource::Resize => super::resize::validate(new, old, errors),
        _ => validate_spec_update(new, old, errors),
    }
}

fn validate_spec_update(new: &Value, old: &Value, errors: &mut Errors) {
    validate_pod(new, errors);
    validate_mirror(new, old, errors);
    let (spec, before) = (&new["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        if items(&spec[list]).len() != items(&before[list]).len() {
            return errors.forbidden(&SPEC.child(list), "pod updates may not add or remove containers");
        }
    }
    let (deadline, deadline_before) = (&spec["activeDeadlineSeconds"], &before["activeDeadlineSeconds"]);
    let path = SPEC.child("activeDeadlineSeconds");
    if deadline.is_null() {
        if !deadline_before.is_null() {
            errors.invalid(&path, Value::Null, "must not update from a positive integer to nil value");
        }
    } else {
        let found = errors.0.len();
        validate_deadline(deadline, 0, &path, errors);
        if errors.0.len() == found && !deadline_before.is_null() && int(deadline_before) < int(deadline) {
            errors.invalid(&path, int(deadline), "must be less than or equal to previous value");
        }
        if errors.0.len() != found {
            return;
        }
    }
    validate_only_added_tolerations(&spec["tolerations"], &before["tolerations"], &SPEC.child("tolerations"), errors);
    let gates = SPEC.child("schedulingGates");
    let closed: HashSet<&str> = items(&before["schedulingGates"]).iter().map(|old| text(&old["name"])).collect();
    for (index, gate) in items(&spec["schedulingGates"]).iter().enumerate() {
        if !closed.contains(text(&gate["name"])) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", text(&gate["name"]));
            errors.forbidden(&gates.index(index).child("name"), detail);
        }
    }
    validate_fixed(spec, before, errors);
}

/// Everything that is not on the list of updatable fields must be as it was.
fn validate_fixed(spec: &Value, before: &Value, errors: &mut Errors) {
    let mut fixed = spec.clone();
    for list in ["containers", "initContainers"] {
        for (container, old) in items_at(&mut fixed, &[list]).iter_mut().zip(items(&before[list])) {
            copy(container, old, "image");
        }
    }
    for member in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        copy(&mut fixed, before, member);
    }
    if int(&before["terminationGracePeriodSeconds"]) < 0 && int(&fixed["terminationGracePeriodSeconds"]) == 1 {
        copy(&mut fixed, before, "terminationGracePeriodSeconds");
    }
    if !items(&before["schedulingGates"]).is_empty() {
        validate_gated(&mut fixed, before, errors);
    }
    if !same(&fixed, before) {
        let changes = difference(&fixed, before, "spec");
        errors.forbidden(
            &SPEC,
            format!(
                "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
                 `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
                 `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n{changes}"
            ),
        );
    }
}

/// A pod that is still gated may narrow where it will run.
fn validate_gated(fixed: &mut Value, before: &Value, errors: &mut Errors) {
    let now = &fixed["nodeSelector"];
    if entries(&before["nodeSelector"]).any(|(key, value)| now.get(key) != Some(value)) {
        errors.invalid(
            &SPEC.child("nodeSelector"),
            now.clone(),
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        );
    }
    copy(fixed, before, "nodeSelector");
    let required = &before["affinity"]["nodeAffinity"][REQUIRED];
    if !required.is_null() {
        let now = fixed["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"].clone();
        let path = SPEC.child("affinity.nodeAffinity");
        validate_terms(&now, &required["nodeSelectorTerms"], &path.child(REQUIRED).child("nodeSelectorTerms"), errors);
        match crate::value::at(fixed, &["affinity", "nodeAffinity"]) {
            Some(affinity) => copy(affinity, &before["affinity"]["nodeAffinity"], REQUIRED),
            None => copy(fixed, before, "affinity"),
        }
        return;
    }
    if before["affinity"]["nodeAffinity"].is_null() {
        if is_empty(&before["affinity"]) {
            copy(fixed, before, "affinity");
        } else if let Some(affinity) = fixed.get_mut("affinity") {
            copy(affinity, &before["affinity"], "nodeAffinity");
        }
    }
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Terms narrow when expressions are added behind those that are there; more terms would widen the choice.
fn validate_terms(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (now, was) = (items(new), items(old));
    if !was.is_empty() && was.len() != now.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid(path, crate::value::go_names(new), detail);
    }
    for (index, (now, was)) in now.iter().zip(was).enumerate() {
        let lists = ["matchExpressions", "matchFields"].map(|list| (items(&now[list]), items(&was[list])));
        let narrowed = lists.iter().all(|(now, was)| now.len() >= was.len() && now[..was.len()] == **was);
        let was_empty = lists.iter().all(|(_, was)| was.is_empty());
        if !narrowed || (was_empty && lists.iter().any(|(now, _)| !now.is_empty())) {
            let shown = json!({"MatchExpressions": crate::value::go_names(&now["matchExpressions"]), "MatchFields": crate::value::go_names(&now["matchFields"])});
            errors.invalid(&path.index(index), shown, "only additions are allowed (no mutations or deletions)");
        }
    }
}

/// The annotation that marks the mirror of a static pod comes and goes with the pod.
fn validate_mirror(new: &Value, old: &Value, errors: &mut Errors) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let (now, before) = (&new["metadata"]["annotations"][MIRROR], &old["metadata"]["annotations"][MIRROR]);
    if now != before {
        let detail = if before.is_null() {
            "may not add mirror pod annotation"
        } else {
            "may not remove or update mirror pod annotation"
        };
        errors.forbidden(&Path::new("metadata.annotations").key(MIRROR), detail);
    }
}

fn validate_ephemeral(new: &Value, old: &Value, errors: &mut Errors) {
    validate_pod(new, errors);
    let path = SPEC.child("ephemeralContainers");
    let containers = by_name(&new["spec"]["ephemeralContainers"]);
    for before in items(&old["spec"]["ephemeralContainers"]) {
        let name = go_quote(text(&before["name"]));
        match containers.get(text(&before["name"])) {
            None => errors.forbidden(&path, format!("existing ephemeral containers {name} may not be removed\n")),
            Some(now) if !same(now, before) => {
                let changes = difference(now, before, "ephemeralContainers");
                errors.forbidden(&path, format!("existing ephemeral containers {name} may not be changed\n{changes}"));
            }
            Some(_) => {}
        }
    }
}

/// The items of a list by their names, the first of each name.
fn by_name(list: &Value) -> HashMap<&str, &Value> {
    items(list).iter().rev().map(|item| (text(&item["name"]), item)).collect()
}

fn validate_status(new: &Value, old: &Value, errors: &mut Errors) {
    let (status, before, path) = (&new["status"], &old["status"], Path::new("status"));
    let conditions = path.child("conditions");
    for (index, condition) in items(&status["conditions"]).iter().enumerate() {
        let (path, kind) = (conditions.index(index), text(&condition["type"]));
        if int(&condition["observedGeneration"]) < 0 {
            let generation = int(&condition["observedGeneration"]);
            errors.invalid(&path.child("observedGeneration"), generation, "must be a non-negative integer");
        }
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            errors.invalid_each(&path.child("Type"), kind, names::qualified_name(kind));
        }
    }
    let nominated = text(&status["nominatedNodeName"]);
    if !nominated.is_empty() && nominated != text(&before["nominatedNodeName"]) {
        errors.invalid_each(&path.child("nominatedNodeName"), nominated, names::dns1123_subdomain(nominated));
        if !text(&old["spec"]["nodeName"]).is_empty() {
            let detail = "may not be set on pods that are already bound to a node";
            errors.forbidden(&path.child("nominatedNodeName"), detail);
        }
    }
    if int(&status["observedGeneration"]) < 0 {
        let generation = int(&status["observedGeneration"]);
        errors.invalid(&path.child("observedGeneration"), generation, "must be a non-negative integer");
    }
    immutable(&status["qosClass"], &before["qosClass"], &path.child("qosClass"), errors);
    validate_transitions(new, old, errors);
    validate_ips(&status["podIPs"], &path.child("podIPs"), errors);
    let (first, host_ips) = (text(&status["hostIPs"][0]["ip"]), path.child("hostIPs"));
    if !is_empty(&status["hostIPs"]) && first != text(&status["hostIP"]) {
        errors.invalid(&host_ips.index(0).child("ip"), first, "must be equal to `hostIP`");
    }
    validate_ips(&status["hostIPs"], &host_ips, errors);
    validate_claim_statuses(new, &path.child("resourceClaimStatuses"), errors);
}

/// Each is one of the pod's claims, once.
fn validate_claim_statuses(pod: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (claims, mut seen) = (by_name(&pod["spec"]["resourceClaims"]), HashSet::new());
    for (index, status) in items(&pod["status"]["resourceClaimStatuses"]).iter().enumerate() {
        let (path, name) = (path.index(index), text(&status["name"]));
        if !claims.contains_key(name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.invalid(&path.child("name"), name, detail);
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if let Some(claim) = status["resourceClaimName"].as_str() {
            errors.invalid_each(&path.child("resourceClaimName"), claim, names::dns1123_subdomain(claim));
        }
    }
}

/// A container that has ended for good stays ended.
fn validate_transitions(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("status.containerStatuses");
    let (containers, statuses) = (by_name(&old["spec"]["containers"]), by_name(&new["status"]["containerStatuses"]));
    for (index, before) in items(&old["status"]["containerStatuses"]).iter().enumerate() {
        let terminated = &before["state"]["terminated"];
        let name = text(&before["name"]);
        if terminated.is_null()
            || containers.get(name).is_some_and(|container| may_restart(container, old, int(&terminated["exitCode"])))
        {
            continue;
        }
        if statuses.get(name).is_some_and(|now| now["state"]["terminated"].is_null()) {
            errors.forbidden(&path.index(index).child("state"), "may not be transitioned to non-terminated state");
        }
    }
}

/// By the container's rules, its policy, or the pod's.
fn may_restart(container: &Value, pod: &Value, exit_code: i64) -> bool {
    for rule in items(&container["restartPolicyRules"]) {
        let listed = items(&rule["exitCodes"]["values"]).iter().any(|value| int(value) == exit_code);
        if listed == (text(&rule["exitCodes"]["operator"]) == "In") {
            return true;
        }
    }
    let policy = [&container["restartPolicy"], &pod["spec"]["restartPolicy"]].map(text);
    match policy.into_iter().find(|policy| !policy.is_empty()) {
        Some("Never") => false,
        Some("OnFailure") => exit_code != 0,
        _ => true,
    }
}

fn validate_ips(ips: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut families = Vec::new();
    for (index, ip) in items(ips).iter().enumerate() {
        families.extend(validate_ip(text(&ip["ip"]), &path.index(index), errors).map(|ip| ip.is_ipv4()));
    }
    if families.len() > 2 || (families.len() == 2 && families[0] == families[1]) {
        let shown: Value = items(ips).iter().map(|ip| json!({"IP": text(&ip["ip"])})).collect();
        errors.invalid(path, shown, "may specify no more than one IP for each IP family");
    }
}
