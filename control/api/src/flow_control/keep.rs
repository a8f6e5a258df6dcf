//! Keeps the FlowSchemas and PriorityLevelConfigurations that every cluster has, and says of each FlowSchema whether its priority
//! level is there. Compares what is stored with what should be, at each change and once a minute.

use std::sync::{Arc, Weak};
use std::time::Duration;

use orlop_kinds::flow_control::bootstrap;
use serde_json::{Value, json};

use super::{LEVELS, SCHEMAS};
use crate::object::meta;
use crate::rest::now;
use crate::server::ApiServer;
use crate::status::Status;

const EVERY: Duration = Duration::from_secs(60);
/// Many changes at once are looked at once.
const REST: Duration = Duration::from_millis(100);

/// Runs until the server stops.
pub fn keep(server: &Arc<ApiServer>) {
    let weak: Weak<ApiServer> = Arc::downgrade(server);
    let flows = server.flow_control().clone();
    let stop = server.stop_token();
    tokio::spawn(async move {
        loop {
            {
                let Some(server) = weak.upgrade() else { return };
                if let Err(error) = reconcile(&server).await {
                    tracing::warn!(%error, "flow control objects cannot be kept");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
                () = flows.changed() => tokio::time::sleep(REST).await,
            }
        }
    });
}

/// Writes what is missing or differs.
pub async fn reconcile(server: &Arc<ApiServer>) -> Result<(), Status> {
    for object in bootstrap::suggested() {
        ensure(server, object, false).await?;
    }
    for object in bootstrap::mandatory() {
        ensure(server, object, true).await?;
    }
    dangling(server).await
}

async fn ensure(server: &Arc<ApiServer>, wanted: Value, mandatory: bool) -> Result<(), Status> {
    let storage = if wanted["kind"] == "FlowSchema" { SCHEMAS } else { LEVELS };
    let Some(cache) = server.registry().hub().cache_at(storage) else { return Ok(()) };
    let name = meta(&wanted, "name").to_owned();
    let Some(found) = server.registry().get(&cache, "", &name).await? else {
        return crate::bootstrap::write(server, &mut wanted.clone()).await;
    };
    let present = found.value();
    let follows = match present["metadata"]["annotations"][bootstrap::AUTO_UPDATE].as_str() {
        Some(value) => value == "true",
        None => present["metadata"]["generation"] == 1,
    };
    // Of the level `exempt`, what it lends and borrows is the administrator's.
    let differs = |present: &Value| match (storage, name.as_str()) {
        (LEVELS, "exempt") => present["spec"]["type"] != wanted["spec"]["type"],
        _ => present["spec"] != wanted["spec"],
    };
    if !(mandatory || follows) || !differs(&present) {
        return Ok(());
    }
    let mut restore = |object: &mut Value| {
        if differs(object) {
            object["spec"] = wanted["spec"].clone();
            object["metadata"]["generation"] = (object["metadata"]["generation"].as_i64().unwrap_or(0) + 1).into();
        }
        Ok(())
    };
    server.registry().modify(&cache, "", &name, &mut restore).await.map(drop)
}

/// The condition `Dangling` of each FlowSchema.
async fn dangling(server: &Arc<ApiServer>) -> Result<(), Status> {
    let hub = server.registry().hub();
    let (Some(schemas), Some(levels)) = (hub.cache_at(SCHEMAS), hub.cache_at(LEVELS)) else { return Ok(()) };
    hub.fresh(&levels).await?;
    hub.fresh(&schemas).await?;
    for schema in schemas.snapshot().0.values() {
        let value = schema.value();
        let level = value["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        let (status, reason, rest) = match levels.get(level) {
            Some(_) => ("False", "Found", "and it exists"),
            None => ("True", "NotFound", "but there is no such object"),
        };
        let message =
            format!("This FlowSchema references the PriorityLevelConfiguration object named \"{level}\" {rest}");
        if said(&value).is_some_and(|c| c["status"] == status && c["reason"] == reason && c["message"] == *message) {
            continue;
        }
        let mut say = |object: &mut Value| {
            let since = match said(object) {
                Some(condition) if condition["status"] == status => condition["lastTransitionTime"].clone(),
                _ => now().into(),
            };
            let condition = json!({
                "type": "Dangling", "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
            });
            let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.retain(|condition| condition["type"] != "Dangling");
            conditions.push(condition);
            object["status"]["conditions"] = conditions.into();
            Ok(())
        };
        match server.registry().modify(&schemas, "", &schema.name, &mut say).await {
            Ok(_) => {}
            Err(gone) if gone.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn said(schema: &Value) -> Option<&Value> {
    schema["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Dangling")
}
