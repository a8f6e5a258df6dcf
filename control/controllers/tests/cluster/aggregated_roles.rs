use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, eventually};

async fn may(cluster: &Cluster, user: &str, verb: &str, group: &str, resource: &str) -> bool {
    let asked = json!({"spec": {"user": user, "resourceAttributes": {
        "namespace": "default", "verb": verb, "group": group, "resource": resource}}});
    let reviews = Api::<SubjectAccessReview>::all(cluster.client());
    let answer = reviews.create(&PostParams::default(), &serde_json::from_value(asked).unwrap()).await.unwrap();
    answer.status.unwrap().allowed
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_edit_and_view_hold_the_rules_of_their_parts() {
    let cluster = Cluster::start().await;
    let roles = Api::<ClusterRole>::all(cluster.client());
    let rules = async |name: &str| roles.get(name).await.unwrap().rules.unwrap_or_default();
    eventually(async || {
        let (parts, whole) = (rules("system:aggregate-to-view").await, rules("view").await);
        if parts == whole { Ok(()) } else { Err(format!("{whole:?}")) }
    })
    .await;
    eventually(async || {
        let (own, edit, admin) = (rules("system:aggregate-to-admin").await, rules("edit").await, rules("admin").await);
        // Of edit's parts the aggregate-to-edit role comes first, then view itself.
        let whole = !edit.is_empty() && edit.iter().chain(&own).all(|rule| admin.contains(rule));
        if whole { Ok(()) } else { Err(format!("{admin:?}")) }
    })
    .await;
    let view = serde_json::to_value(roles.get("view").await.unwrap()).unwrap();
    let owner = &view["metadata"]["managedFields"][0];
    assert_eq!(
        (&owner["manager"], &owner["operation"], &owner["fieldsV1"]),
        (&json!("clusterrole-aggregation-controller"), &json!("Apply"), &json!({"f:rules": {}}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_labelled_for_view_adds_to_view_edit_and_admin_until_it_goes() {
    let cluster = Cluster::start().await;
    cluster.ready("default").await;
    let binding = |role: &str| {
        json!({"metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role}]})
    };
    for role in ["admin", "edit", "view"] {
        cluster.create::<k8s_openapi::api::rbac::v1::RoleBinding>(binding(role)).await;
    }
    let settled = async |user: &'static str, verb: &'static str, wanted: bool| {
        eventually(async || match may(&cluster, user, verb, "example.com", "hammers").await == wanted {
            true => Ok(()),
            false => Err(format!("that {user} may {verb} hammers should be {wanted}")),
        })
        .await;
    };
    let part = |label: &str, verb: &str| -> Value {
        json!({"metadata": {"name": format!("hammer-{verb}"), "labels": {format!("rbac.authorization.k8s.io/{label}"): "true"}},
            "rules": [{"verbs": [verb], "apiGroups": ["example.com"], "resources": ["hammers"]}]})
    };
    let roles = Api::<ClusterRole>::all(cluster.client());
    for (label, verb) in [("aggregate-to-view", "get"), ("aggregate-to-admin", "delete")] {
        roles.create(&PostParams::default(), &serde_json::from_value(part(label, verb)).unwrap()).await.unwrap();
    }
    for user in ["admin", "edit", "view"] {
        settled(user, "get", true).await;
    }
    settled("admin", "delete", true).await;
    assert!(!may(&cluster, "edit", "delete", "example.com", "hammers").await);
    roles.delete("hammer-get", &DeleteParams::default()).await.unwrap();
    for user in ["admin", "edit", "view"] {
        settled(user, "get", false).await;
    }
    assert!(may(&cluster, "admin", "delete", "example.com", "hammers").await);
}
