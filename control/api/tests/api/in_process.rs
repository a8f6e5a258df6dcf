use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams, ObjectMeta, PostParams, WatchEvent, WatchParams};
use orlop_auth::UserInfo;

use crate::cluster::Cluster;

fn config_map(name: &str) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name.into()), ..Default::default() }, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_the_process_is_authorized_like_anyone() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.admin());
    assert_eq!(namespaces.list(&ListParams::default()).await.unwrap().items.len(), 4);
    let nobody: Api<Namespace> = Api::all(cluster.server.client(UserInfo::new("nobody", Vec::<String>::new())));
    let error = nobody.list(&ListParams::default()).await.unwrap_err();
    assert!(error.to_string().contains("namespaces is forbidden"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_continues_where_a_list_ended() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), "default");
    maps.create(&PostParams::default(), &config_map("before")).await.unwrap();
    let list = maps.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    assert!(list.items.iter().any(|m| m.metadata.name.as_deref() == Some("before")));
    maps.create(&PostParams::default(), &config_map("after")).await.unwrap();
    maps.delete("before", &Default::default()).await.unwrap();
    let events = maps.watch(&WatchParams::default(), &version).await.unwrap();
    let events: Vec<_> = events.take(2).try_collect().await.unwrap();
    assert!(matches!(&events[0], WatchEvent::Added(m) if m.metadata.name.as_deref() == Some("after")));
    assert!(matches!(&events[1], WatchEvent::Deleted(m) if m.metadata.name.as_deref() == Some("before")));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_all_show_the_same_revision() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), "kube-public");
    for i in 0..25 {
        maps.create(&PostParams::default(), &config_map(&format!("m{i:02}"))).await.unwrap();
    }
    let first = maps.list(&ListParams::default().limit(10)).await.unwrap();
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (10, Some(15)));
    maps.delete("m15", &Default::default()).await.unwrap();
    maps.create(&PostParams::default(), &config_map("m155")).await.unwrap();
    let mut names: Vec<String> = first.items.into_iter().filter_map(|m| m.metadata.name).collect();
    let mut token = first.metadata.continue_;
    while let Some(next) = token.filter(|t| !t.is_empty()) {
        let page = maps.list(&ListParams::default().limit(10).continue_token(&next)).await.unwrap();
        assert_eq!(page.metadata.resource_version, first.metadata.resource_version);
        names.extend(page.items.into_iter().filter_map(|m| m.metadata.name));
        token = page.metadata.continue_;
    }
    let expected: Vec<String> = (0..25).map(|i| format!("m{i:02}")).collect();
    assert_eq!(names, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_an_old_version_conflicts() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), "default");
    let created = maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    let mut changed = created.clone();
    changed.data = Some([("a".to_owned(), "b".to_owned())].into());
    maps.replace("one", &PostParams::default(), &changed).await.unwrap();
    let error = maps.replace("one", &PostParams::default(), &changed).await.unwrap_err();
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert_eq!(status.code, 409);
    assert_eq!(
        status.message,
        "Operation cannot be fulfilled on configmaps \"one\": the object has been modified; \
         please apply your changes to the latest version and try again"
    );
}
