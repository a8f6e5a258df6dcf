//! The built-in resources. Verbs and kinds are the schema's business; what stands here is what only kube-apiserver's storage
//! factory and REST mapping know: storage paths, short names, categories, subresources.

use orlop_schema::Schema;

use super::{Resource, Subresource};

/// group, version, plural, singular, kind, short names, categories, subresources, storage path.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];

#[rustfmt::skip]
const NAMESPACED: &[Row] = &[
    ("", "v1", "configmaps", "configmap", "ConfigMap", "cm", "", "", "configmaps"),
    ("", "v1", "endpoints", "endpoints", "Endpoints", "ep", "", "", "services/endpoints"),
    ("", "v1", "events", "event", "Event", "ev", "", "", "events"),
    ("", "v1", "limitranges", "limitrange", "LimitRange", "limits", "", "", "limitranges"),
    ("", "v1", "persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim", "pvc", "", "status", "persistentvolumeclaims"),
    ("", "v1", "pods", "pod", "Pod", "po", "all", "attach binding ephemeralcontainers eviction exec log portforward proxy resize status", "pods"),
    ("", "v1", "podtemplates", "podtemplate", "PodTemplate", "", "", "", "podtemplates"),
    ("", "v1", "replicationcontrollers", "replicationcontroller", "ReplicationController", "rc", "all", "scale status", "controllers"),
    ("", "v1", "resourcequotas", "resourcequota", "ResourceQuota", "quota", "", "status", "resourcequotas"),
    ("", "v1", "secrets", "secret", "Secret", "", "", "", "secrets"),
    ("", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", "sa", "", "token", "serviceaccounts"),
    ("", "v1", "services", "service", "Service", "svc", "all", "proxy status", "services/specs"),
    ("apps", "v1", "controllerrevisions", "controllerrevision", "ControllerRevision", "", "", "", "controllerrevisions"),
    ("apps", "v1", "daemonsets", "daemonset", "DaemonSet", "ds", "all", "status", "daemonsets"),
    ("apps", "v1", "deployments", "deployment", "Deployment", "deploy", "all", "scale status", "deployments"),
    ("apps", "v1", "replicasets", "replicaset", "ReplicaSet", "rs", "all", "scale status", "replicasets"),
    ("apps", "v1", "statefulsets", "statefulset", "StatefulSet", "sts", "all", "scale status", "statefulsets"),
    ("events.k8s.io", "v1", "events", "event", "Event", "ev", "", "", "events"),
    ("autoscaling", "v2", "horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", "hpa", "all", "status", "horizontalpodautoscalers"),
    ("autoscaling", "v1", "horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", "hpa", "all", "status", "horizontalpodautoscalers"),
    ("batch", "v1", "cronjobs", "cronjob", "CronJob", "cj", "all", "status", "cronjobs"),
    ("batch", "v1", "jobs", "job", "Job", "", "all", "status", "jobs"),
    ("networking.k8s.io", "v1", "ingresses", "ingress", "Ingress", "ing", "", "status", "ingress"),
    ("networking.k8s.io", "v1", "networkpolicies", "networkpolicy", "NetworkPolicy", "netpol", "", "", "networkpolicies"),
    ("policy", "v1", "poddisruptionbudgets", "poddisruptionbudget", "PodDisruptionBudget", "pdb", "", "status", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "rolebinding", "RoleBinding", "", "", "", "rolebindings"),
    ("rbac.authorization.k8s.io", "v1", "roles", "role", "Role", "", "", "", "roles"),
    ("storage.k8s.io", "v1", "csistoragecapacities", "csistoragecapacity", "CSIStorageCapacity", "", "", "", "csistoragecapacities"),
    ("coordination.k8s.io", "v1", "leases", "lease", "Lease", "", "", "", "leases"),
    ("resource.k8s.io", "v1", "resourceclaims", "resourceclaim", "ResourceClaim", "", "", "status", "resourceclaims"),
    ("resource.k8s.io", "v1", "resourceclaimtemplates", "resourceclaimtemplate", "ResourceClaimTemplate", "", "", "", "resourceclaimtemplates"),
    ("discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice", "", "", "", "endpointslices"),
];

#[rustfmt::skip]
const CLUSTER: &[Row] = &[
    ("", "v1", "namespaces", "namespace", "Namespace", "ns", "", "finalize status", "namespaces"),
    ("", "v1", "nodes", "node", "Node", "no", "", "proxy status", "minions"),
    ("", "v1", "persistentvolumes", "persistentvolume", "PersistentVolume", "pv", "", "status", "persistentvolumes"),
    ("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration", "MutatingWebhookConfiguration", "", "api-extensions", "", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies", "mutatingadmissionpolicy", "MutatingAdmissionPolicy", "", "api-extensions", "", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings", "mutatingadmissionpolicybinding", "MutatingAdmissionPolicyBinding", "", "api-extensions", "", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "validatingadmissionpolicy", "ValidatingAdmissionPolicy", "", "api-extensions", "status", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", "validatingadmissionpolicybinding", "ValidatingAdmissionPolicyBinding", "", "api-extensions", "", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "validatingwebhookconfiguration", "ValidatingWebhookConfiguration", "", "api-extensions", "", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "customresourcedefinition", "CustomResourceDefinition", "crd crds", "api-extensions", "status", "apiextensions.k8s.io/customresourcedefinitions"),
    ("apiregistration.k8s.io", "v1", "apiservices", "apiservice", "APIService", "", "api-extensions", "status", "apiregistration.k8s.io/apiservices"),
    ("certificates.k8s.io", "v1", "certificatesigningrequests", "certificatesigningrequest", "CertificateSigningRequest", "csr", "", "approval status", "certificatesigningrequests"),
    ("networking.k8s.io", "v1", "ingressclasses", "ingressclass", "IngressClass", "", "", "", "ingressclasses"),
    ("networking.k8s.io", "v1", "ipaddresses", "ipaddress", "IPAddress", "ip", "", "", "ipaddresses"),
    ("networking.k8s.io", "v1", "servicecidrs", "servicecidr", "ServiceCIDR", "", "", "status", "servicecidrs"),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "clusterrolebinding", "ClusterRoleBinding", "", "", "", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "clusterrole", "ClusterRole", "", "", "", "clusterroles"),
    ("storage.k8s.io", "v1", "csidrivers", "csidriver", "CSIDriver", "", "", "", "csidrivers"),
    ("storage.k8s.io", "v1", "csinodes", "csinode", "CSINode", "", "", "", "csinodes"),
    ("storage.k8s.io", "v1", "storageclasses", "storageclass", "StorageClass", "sc", "", "", "storageclasses"),
    ("storage.k8s.io", "v1", "volumeattachments", "volumeattachment", "VolumeAttachment", "", "", "status", "volumeattachments"),
    ("node.k8s.io", "v1", "runtimeclasses", "runtimeclass", "RuntimeClass", "", "", "", "runtimeclasses"),
    ("storage.k8s.io", "v1", "volumeattributesclasses", "volumeattributesclass", "VolumeAttributesClass", "vac", "", "", "volumeattributesclasses"),
    ("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "flowschema", "FlowSchema", "", "", "status", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", "prioritylevelconfiguration", "PriorityLevelConfiguration", "", "", "status", "prioritylevelconfigurations"),
    ("resource.k8s.io", "v1", "deviceclasses", "deviceclass", "DeviceClass", "", "", "", "deviceclasses"),
    ("resource.k8s.io", "v1", "resourceslices", "resourceslice", "ResourceSlice", "", "", "", "resourceslices"),
    ("scheduling.k8s.io", "v1", "priorityclasses", "priorityclass", "PriorityClass", "pc", "", "", "priorityclasses"),
];

/// Kinds that are asked and answered, never stored.
#[rustfmt::skip]
const REVIEWS: &[(&str, &str, &str, &str, bool)] = &[
    ("", "bindings", "binding", "Binding", true),
    ("authentication.k8s.io", "tokenreviews", "tokenreview", "TokenReview", false),
    ("authentication.k8s.io", "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview", false),
    ("authorization.k8s.io", "localsubjectaccessreviews", "localsubjectaccessreview", "LocalSubjectAccessReview", true),
    ("authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectaccessreview", "SelfSubjectAccessReview", false),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview", false),
    ("authorization.k8s.io", "subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview", false),
];

/// Order in which discovery lists groups (kube-apiserver's group priorities).
const GROUP_ORDER: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

pub(super) fn resources() -> Vec<Resource> {
    let mut all: Vec<Resource> = Vec::new();
    all.extend(NAMESPACED.iter().map(|row| stored(row, true)));
    all.extend(CLUSTER.iter().map(|row| stored(row, false)));
    all.extend(REVIEWS.iter().map(|&(group, plural, singular, kind, namespaced)| Resource {
        group: group.into(),
        version: "v1".into(),
        plural: plural.into(),
        singular: singular.into(),
        kind: kind.into(),
        namespaced,
        short_names: vec![],
        categories: vec![],
        verbs: words(CREATE),
        subresources: vec![],
        storage: String::new(),
        storage_version: if group.is_empty() { "v1".into() } else { format!("{group}/v1") },
        custom: None,
    }));
    all.push(Resource {
        version: "v1".into(),
        plural: "componentstatuses".into(),
        singular: "componentstatus".into(),
        kind: "ComponentStatus".into(),
        short_names: vec!["cs".into()],
        verbs: words(&["get", "list"]),
        storage_version: "v1".into(),
        ..Resource::default()
    });
    let rank = |group: &str| GROUP_ORDER.iter().position(|g| *g == group).unwrap_or(GROUP_ORDER.len());
    all.sort_by(|a, b| rank(&a.group).cmp(&rank(&b.group)).then_with(|| a.plural.cmp(&b.plural)));
    all
}

fn stored(row: &Row, namespaced: bool) -> Resource {
    let &(group, version, plural, singular, kind, short, categories, subresources, storage) = row;
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Resource {
        group: group.into(),
        version: version.into(),
        plural: plural.into(),
        singular: singular.into(),
        kind: kind.into(),
        namespaced,
        short_names: short.split_whitespace().map(Into::into).collect(),
        categories: categories.split_whitespace().map(Into::into).collect(),
        verbs: verbs(group, version, plural),
        subresources: subresources.split_whitespace().map(|name| subresource(group, version, kind, name)).collect(),
        storage: storage.into(),
        storage_version: match (group, version) {
            // One Event, two APIs: kube-apiserver stores it in the core form.
            ("events.k8s.io", _) => "v1".into(),
            ("autoscaling", _) => "autoscaling/v2".into(),
            _ => api_version,
        },
        custom: None,
    }
}

/// The schema's verbs of a resource (a Namespace has no deletecollection).
fn verbs(group: &str, version: &str, plural: &str) -> Vec<String> {
    match Schema::builtin().resource(group, version, plural) {
        Some(resource) => resource.verbs.iter().map(ToString::to_string).collect(),
        None => words(ALL),
    }
}

fn subresource(group: &str, version: &str, kind: &str, name: &str) -> Subresource {
    let (group, version, kind, verbs): (&str, &str, &str, &[&str]) = match name {
        "scale" => ("autoscaling", "v1", "Scale", &["get", "patch", "update"]),
        "binding" => ("", "v1", "Binding", CREATE),
        "eviction" => ("policy", "v1", "Eviction", CREATE),
        "token" => ("authentication.k8s.io", "v1", "TokenRequest", CREATE),
        "log" => (group, version, kind, &["get"]),
        "finalize" => (group, version, kind, &["update"]),
        "exec" => ("", "v1", "PodExecOptions", &["create", "get"]),
        "attach" => ("", "v1", "PodAttachOptions", &["create", "get"]),
        "portforward" => ("", "v1", "PodPortForwardOptions", &["create", "get"]),
        "proxy" if kind == "Node" => ("", "v1", "NodeProxyOptions", &["create", "delete", "get", "patch", "update"]),
        "proxy" if kind == "Service" => {
            ("", "v1", "ServiceProxyOptions", &["create", "delete", "get", "patch", "update"])
        }
        "proxy" => ("", "v1", "PodProxyOptions", &["create", "delete", "get", "patch", "update"]),
        _ => (group, version, kind, &["get", "patch", "update"]),
    };
    Subresource {
        name: name.into(),
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        verbs: words(verbs),
    }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_is_what_the_schema_says_it_is() {
        for ours in resources() {
            let theirs = Schema::builtin().resource(&ours.group, &ours.version, &ours.plural);
            let theirs = theirs.unwrap_or_else(|| panic!("{}/{}", ours.group, ours.plural));
            assert_eq!((ours.kind.as_str(), ours.namespaced), (&*theirs.kind, theirs.namespaced), "{}", ours.plural);
            assert_eq!(ours.singular, *theirs.singular, "{}", ours.plural);
            let short: Vec<String> = theirs.short_names.iter().map(ToString::to_string).collect();
            assert_eq!(ours.short_names, short, "{}", ours.plural);
            for sub in &ours.subresources {
                let their = theirs.subresource(&sub.name).unwrap_or_else(|| panic!("{}/{}", ours.plural, sub.name));
                let verbs: Vec<String> = their.verbs.iter().map(ToString::to_string).collect();
                assert_eq!(sub.verbs, verbs, "{}/{}", ours.plural, sub.name);
                assert_eq!(
                    (&*sub.group, &*sub.version, &*sub.kind),
                    (&*their.kind.group, &*their.kind.version, &*their.kind.kind),
                    "{}/{}",
                    ours.plural,
                    sub.name
                );
            }
        }
    }
}
