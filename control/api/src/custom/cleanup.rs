//! A definition that is being deleted takes its objects with it.

use std::sync::Arc;

use orlop_kinds::custom::{has_condition, set_condition};
use serde_json::Value;

use super::{DEFINITIONS, FINALIZER, is_leaving};
use crate::cache::Cache;
use crate::object::{meta, metadata_mut};
use crate::registry::Outcome;
use crate::rest::now;
use crate::server::ApiServer;
use crate::status::Status;

/// Takes the next step. True if the definition is gone; false if its objects still wait for somebody's finalizers.
pub(super) async fn step(server: &Arc<ApiServer>, definition: &Value, storage: &str) -> Result<bool, Status> {
    let name = meta(definition, "name");
    if !has_condition(definition, "Established") {
        tell(server, definition, "False", "NeverEstablished", "resource was never established").await?;
        return release(server, name).await;
    }
    tell(server, definition, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress").await?;
    if let Some(cache) = server.registry().hub().cache_at(storage)
        && !delete_all(server, &cache).await?
    {
        return Ok(false);
    }
    tell(server, definition, "False", "InstanceDeletionCompleted", "removed all instances").await?;
    release(server, name).await
}

async fn tell(server: &ApiServer, definition: &Value, status: &str, reason: &str, message: &str) -> Result<(), Status> {
    let registry = server.registry();
    let cache = definitions(server)?;
    let uid = meta(definition, "uid").to_owned();
    let said = |d: &Value| {
        orlop_kinds::custom::condition(d, "Terminating").is_some_and(|c| c["status"] == status && c["reason"] == reason)
    };
    let present = registry.get(&cache, "", meta(definition, "name")).await?;
    if present.is_none_or(|found| said(&found.value())) {
        return Ok(());
    }
    let result = registry
        .modify(&cache, "", meta(definition, "name"), &mut |object| {
            if meta(object, "uid") == uid {
                set_condition(object, "Terminating", status, reason, message, &now());
            }
            Ok(())
        })
        .await;
    match result {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

/// Deletes every object, or asks for it where finalizers stand in the way. True if none is left.
async fn delete_all(server: &ApiServer, cache: &Cache) -> Result<bool, Status> {
    let registry = server.registry();
    registry.hub().fresh(cache).await?;
    let mut empty = true;
    for object in cache.snapshot().0.values() {
        let value = object.value();
        let metadata = &value["metadata"];
        if metadata["finalizers"].as_array().is_none_or(Vec::is_empty) {
            if let Outcome::Stale(Some(_)) = registry.delete(cache, object).await? {
                empty = false;
            }
            continue;
        }
        empty = false;
        if metadata["deletionTimestamp"].is_string() {
            continue;
        }
        let mut mark = |object: &mut Value| {
            let Some(metadata) = metadata_mut(object) else { return Ok(()) };
            if !metadata.contains_key("deletionTimestamp") {
                metadata.insert("deletionTimestamp".into(), now().into());
                metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
                let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or(0) + 1;
                metadata.insert("generation".into(), generation.into());
            }
            Ok(())
        };
        match registry.modify(cache, &object.namespace, &object.name, &mut mark).await {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    registry.hub().fresh(cache).await?;
    Ok(empty && cache.snapshot().0.is_empty())
}

/// Takes the finalizer away; the last one's going is the end of the definition.
async fn release(server: &ApiServer, name: &str) -> Result<bool, Status> {
    let registry = server.registry();
    let cache = definitions(server)?;
    let mut current = registry.get(&cache, "", name).await?;
    while let Some(found) = current {
        let mut definition = found.value();
        if !is_leaving(&definition) {
            return Ok(true);
        }
        let mut left = false;
        if let Some(finalizers) = definition["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|f| f != FINALIZER);
            left = !finalizers.is_empty();
        }
        let outcome = if left {
            registry.put(&cache, definition, found.revision).await?
        } else {
            registry.delete(&cache, &found).await?
        };
        match outcome {
            Outcome::Done(_) => return Ok(true),
            Outcome::Stale(now) => current = now,
        }
    }
    Ok(true)
}

fn definitions(server: &ApiServer) -> Result<Arc<Cache>, Status> {
    server.registry().hub().cache_at(DEFINITIONS).ok_or_else(|| Status::internal("definitions are not served"))
}
