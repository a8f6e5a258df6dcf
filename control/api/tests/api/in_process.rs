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
async fn a_list_whose_revision_is_forgotten_may_go_on_with_what_there_is() {
    let mut store = None;
    let cluster = Cluster::start_with(tempfile::tempdir().unwrap(), |config| store = Some(config.store.clone())).await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), "kube-public");
    for i in 0..25 {
        maps.create(&PostParams::default(), &config_map(&format!("m{i:02}"))).await.unwrap();
    }
    let first = maps.list(&ListParams::default().limit(10)).await.unwrap();
    let last = maps.create(&PostParams::default(), &config_map("m99")).await.unwrap();
    let now: i64 = last.metadata.resource_version.unwrap().parse().unwrap();
    store.unwrap().compact(now).await.unwrap();
    let page = |token: &str| {
        let path = format!("/api/v1/namespaces/kube-public/configmaps?limit=10&continue={token}");
        let cluster = &cluster;
        async move { cluster.json("GET", &path, serde_json::Value::Null).await }
    };
    let (code, expired) = page(&first.metadata.continue_.unwrap()).await;
    assert_eq!((code, &expired["reason"]), (410, &"Expired".into()), "{expired}");
    let (code, second) = page(expired["metadata"]["continue"].as_str().unwrap()).await;
    assert_eq!(code, 200, "{second}");
    assert_eq!(second["items"][0]["metadata"]["name"], "m10");
    assert_eq!(second["metadata"]["remainingItemCount"], 6, "with what came later");
    let (_, third) = page(second["metadata"]["continue"].as_str().unwrap()).await;
    assert_eq!(third["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    assert_eq!(third["items"][5]["metadata"]["name"], "m99");
    let (code, exact) = cluster
        .json("GET", "/api/v1/configmaps?resourceVersion=1&resourceVersionMatch=Exact", serde_json::Value::Null)
        .await;
    assert_eq!((code, &exact["message"]), (410, &"The resourceVersion for the provided list is too old.".into()));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_follows_by_lists_pages_or_one_stream() {
    use kube::runtime::watcher::{Config, Event, watcher};
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), "default");
    for i in 0..7 {
        maps.create(&PostParams::default(), &config_map(&format!("m{i}"))).await.unwrap();
    }
    for (i, config) in
        [Config::default(), Config::default().page_size(3), Config::default().streaming_lists()].into_iter().enumerate()
    {
        let mut events = Box::pin(watcher(maps.clone(), config));
        let mut initial = 0;
        loop {
            match events.next().await.unwrap().unwrap() {
                Event::Init => {}
                Event::InitApply(_) => initial += 1,
                Event::InitDone => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(initial, 7 + i);
        maps.create(&PostParams::default(), &config_map(&format!("late{i}"))).await.unwrap();
        let Event::Apply(late) = events.next().await.unwrap().unwrap() else { panic!() };
        assert_eq!(late.metadata.name, Some(format!("late{i}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_the_past_is_exact() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), "default");
    let first = maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    maps.create(&PostParams::default(), &config_map("two")).await.unwrap();
    let version = first.metadata.resource_version.unwrap();
    let exact = ListParams::default().at(&version).matching(kube::api::VersionMatch::Exact);
    let then = maps.list(&exact).await.unwrap();
    assert_eq!(then.metadata.resource_version.as_deref(), Some(version.as_str()));
    assert_eq!(then.items.len(), 1);
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 2);
    let newer = ListParams::default().at(&version).matching(kube::api::VersionMatch::NotOlderThan);
    assert_eq!(maps.list(&newer).await.unwrap().items.len(), 2);
    let future = ListParams::default().at("999999").matching(kube::api::VersionMatch::NotOlderThan);
    let kube::Error::Api(status) = maps.list(&future).await.unwrap_err() else { panic!() };
    assert_eq!(status.code, 504);
    assert!(status.message.starts_with("Timeout: Too large resource version: 999999, current: "), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_sees_objects_come_and_go() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), "default");
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    let version = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = maps.watch(&WatchParams::default().labels("on=yes"), &version).await.unwrap().boxed();
    let label = |value: &str| kube::api::Patch::Merge(serde_json::json!({"metadata": {"labels": {"on": value}}}));
    for value in ["yes", "no"] {
        maps.patch("one", &Default::default(), &label(value)).await.unwrap();
    }
    assert!(matches!(events.next().await.unwrap().unwrap(), WatchEvent::Added(_)));
    let WatchEvent::Deleted(left) = events.next().await.unwrap().unwrap() else { panic!() };
    assert_eq!(left.metadata.labels.unwrap()["on"], "yes", "as it last matched");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_alone_can_be_listed_and_watched() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), "default");
    let mut map = config_map("one");
    map.data = Some([("secret".to_owned(), "value".to_owned())].into());
    maps.create(&PostParams::default(), &map).await.unwrap();
    let list = maps.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(list.items[0].metadata.name.as_deref(), Some("one"));
    let mut events = maps.watch_metadata(&WatchParams::default(), "0").await.unwrap().boxed();
    let event = events.next().await.unwrap().unwrap();
    assert!(matches!(&event, WatchEvent::Added(m) if m.metadata.name.as_deref() == Some("one")), "{event:?}");
}
