use super::*;
use crate::{ListTopology, Special};

fn pod() -> TypeRef<'static> {
    Schema::builtin().type_named("io.k8s.api.core.v1.Pod").expect("Pod")
}

#[test]
fn the_table_describes_the_minor_and_its_resources() {
    let schema = Schema::builtin();
    assert_eq!(schema.minor(), "v1.36");
    assert!(schema.resources().all(|r| !r.version.contains("alpha") && !r.version.contains("beta")));
    let groups: std::collections::BTreeSet<_> = schema.resources().map(|r| r.api_version()).collect();
    assert_eq!(groups.len(), 22, "{groups:?}");
    let pods = schema.resource("", "v1", "pods").expect("pods");
    assert!(pods.namespaced && pods.has_verb("deletecollection"));
    assert_eq!((&*pods.list_kind, &*pods.short_names[0], &*pods.categories[0]), ("PodList", "po", "all"));
    let names: Vec<_> = pods.subresources.iter().map(|s| &*s.name).collect();
    assert_eq!(
        names,
        [
            "attach",
            "binding",
            "ephemeralcontainers",
            "eviction",
            "exec",
            "log",
            "portforward",
            "proxy",
            "resize",
            "status"
        ]
    );
    assert_eq!(schema.resource_by_kind("apps", "v1", "Deployment").map(|r| &*r.plural), Some("deployments"));
}

#[test]
fn subresources_have_kinds_of_their_own() {
    let schema = Schema::builtin();
    let kind = |group: &str, plural: &str, name: &str| {
        let found = schema.resource(group, "v1", plural).and_then(|r| r.subresource(name)).expect("a subresource");
        (found.kind.api_version(), found.kind.kind.to_string())
    };
    assert_eq!(kind("", "replicationcontrollers", "scale"), ("autoscaling/v1".into(), "Scale".into()));
    assert_eq!(kind("", "pods", "eviction"), ("policy/v1".into(), "Eviction".into()));
    assert_eq!(kind("", "pods", "binding"), ("v1".into(), "Binding".into()));
    assert_eq!(kind("", "serviceaccounts", "token"), ("authentication.k8s.io/v1".into(), "TokenRequest".into()));
    assert_eq!(kind("certificates.k8s.io", "certificatesigningrequests", "approval").1, "CertificateSigningRequest");
}

#[test]
fn fields_know_how_they_merge() {
    let ports = pod().at(&["spec", "containers", "ports"]).expect("ports");
    assert!(ports.patch.merge);
    assert_eq!(ports.patch_merge_key.as_deref(), Some("containerPort"));
    let Ty::List(list) = &ports.ty else { panic!("ports is a list") };
    assert_eq!(list.topology, ListTopology::Map(["containerPort".into(), "protocol".into()].into()));
    let protocol = pod().at(&["spec", "containers", "ports", "protocol"]).expect("protocol");
    assert_eq!(protocol.default, Some("TCP".into()));
    assert!(pod().at(&["spec", "volumes"]).expect("volumes").patch.retain_keys);
}

#[test]
fn special_types_are_marked() {
    let schema = Schema::builtin();
    let special: Vec<_> = schema.types().filter_map(|t| t.special).collect();
    assert_eq!(special.len(), 11);
    assert!(special.contains(&Special::Quantity));
}

#[test]
fn an_overlay_adds_types_that_refer_to_builtin_ones() {
    let builtin = Schema::builtin();
    let meta = builtin.type_named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("ObjectMeta").id();
    let mut widget = pod().get().clone();
    widget.name = "example.com.v1.Widget".into();
    widget.kinds = [GroupVersionKind::new("example.com", "v1", "Widget")].into();
    let overlay = builtin.overlay(vec![widget], vec![]);
    let found = overlay.type_by_kind(&GroupVersionKind::new("example.com", "v1", "Widget")).expect("the overlay's own");
    assert_eq!(found.id(), builtin.overlay_id(0));
    assert_eq!(found.field("metadata").map(|f| f.ty.clone()), Some(Ty::Ref(meta)));
    assert!(overlay.type_by_kind(&GroupVersionKind::new("", "v1", "Pod")).is_some());
}
