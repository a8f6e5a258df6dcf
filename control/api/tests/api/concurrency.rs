use std::collections::BTreeMap;

use futures::{StreamExt, future::join_all};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_under_load_ends_with_what_a_list_shows() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), "kube-public");
    let start = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = maps.watch(&WatchParams::default(), &start).await.unwrap().boxed();
    let writers = (0..8).map(|writer| {
        let maps = maps.clone();
        tokio::spawn(async move {
            for i in 0..60 {
                let name = format!("w{writer}-{}", i % 7);
                let map = ConfigMap {
                    metadata: ObjectMeta { name: Some(name.clone()), ..Default::default() },
                    ..Default::default()
                };
                let _ = maps.create(&PostParams::default(), &map).await;
                let patch = Patch::Merge(json!({"data": {"n": i.to_string()}}));
                let _ = maps.patch(&name, &PatchParams::default(), &patch).await;
                if i % 3 == 0 {
                    let _ = maps.delete(&name, &Default::default()).await;
                }
            }
        })
    });
    join_all(writers).await;
    let list = maps.list(&ListParams::default()).await.unwrap();
    let expected: BTreeMap<String, String> =
        list.items.into_iter().map(|m| (m.metadata.name.unwrap(), m.metadata.resource_version.unwrap())).collect();
    let mut seen = BTreeMap::new();
    let mut last = 0;
    while seen != expected {
        let event = tokio::time::timeout(std::time::Duration::from_secs(10), events.next()).await;
        let event = event.unwrap_or_else(|_| panic!("{seen:?} is not {expected:?}")).unwrap().unwrap();
        let (map, gone) = match event {
            WatchEvent::Added(map) | WatchEvent::Modified(map) => (map, false),
            WatchEvent::Deleted(map) => (map, true),
            other => panic!("{other:?}"),
        };
        let version = map.metadata.resource_version.unwrap();
        let number: u64 = version.parse().unwrap();
        assert!(number > last, "events come in order");
        last = number;
        if gone {
            assert!(seen.remove(&map.metadata.name.unwrap()).is_some(), "what goes was there");
        } else {
            seen.insert(map.metadata.name.unwrap(), version);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_at_once_all_count() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), "kube-public");
    let map =
        ConfigMap { metadata: ObjectMeta { name: Some("one".into()), ..Default::default() }, ..Default::default() };
    maps.create(&PostParams::default(), &map).await.unwrap();
    let patches = (0..20).map(|i| {
        let maps = maps.clone();
        async move {
            let patch = Patch::Merge(json!({"data": {format!("k{i}"): "v"}}));
            maps.patch("one", &PatchParams::default(), &patch).await.unwrap();
        }
    });
    join_all(patches).await;
    assert_eq!(maps.get("one").await.unwrap().data.unwrap().len(), 20);
}
