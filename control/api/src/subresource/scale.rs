//! `scale`: the replicas of a workload, whatever its kind. Who writes them here owns them in the object, too.

use std::sync::Arc;

use http::Response;
use jiff::Timestamp;
use orlop_kinds::scale;
use orlop_schema::apply::{Manager, Replicas};
use serde_json::Value;

use crate::object::{Object, meta};
use crate::rest::{Application, Call, Patch};
use crate::status::Status;
use crate::strategy;
use crate::table::Include;
use crate::wire::{Body, Shape};

/// What is asked for.
enum Wanted<'a> {
    Update(Value),
    Patch((Patch, Vec<String>)),
    Apply(Application<'a>),
}

pub(super) async fn answer(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    let wanted = match call.info.verb {
        "get" => {
            let found = call.find().await?;
            return render(call, found).await;
        }
        "update" => {
            let scale = call.decode("autoscaling/v1", "Scale")?;
            call.check_name(&scale)?;
            call.check_namespace(&scale)?;
            Wanted::Update(scale)
        }
        _ if call.applies() => Wanted::Apply(call.application()?),
        _ => Wanted::Patch(call.decode_patch()?),
    };
    let object = call.change(&mut |old| rescaled(call, old, &wanted)).await?;
    render(call, object).await
}

async fn render(call: &Arc<Call>, object: Arc<Object>) -> Result<Response<Body>, Status> {
    let object = call.present_one(object).await?;
    let scale = shown(call, &call.value_of(&object))?;
    match call.accept.shape {
        Shape::Object => call.render_value(200, scale),
        Shape::Metadata => call.render_value(200, call.partial(&scale)),
        Shape::Table => {
            let include = Include::parse(call.query.text("includeObject"))?;
            let mut table = scale::table(&scale, call.resource.custom.is_some(), Timestamp::now());
            table["apiVersion"] = call.accept.shape_version().into();
            table["rows"][0]["object"] = match include {
                Include::None => Value::Null,
                Include::Metadata => call.partial(&scale),
                Include::Object => scale,
            };
            call.render_value(200, table)
        }
    }
}

/// The Scale that a new one is made from, whether the object has replicas yet or not.
pub fn spoken(call: &Call, object: &Value) -> Value {
    match call.resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        Some(paths) => crate::custom::scale::read_to_write(paths, object),
        None => scale::read(object),
    }
}

/// The Scale that an object shows.
fn shown(call: &Call, object: &Value) -> Result<Value, Status> {
    match call.resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        Some(paths) => crate::custom::scale::read(paths, object),
        None => Ok(scale::read(object)),
    }
}

/// The object with the replicas that are wanted.
fn rescaled(call: &Call, old: &Value, wanted: &Wanted<'_>) -> Result<Value, Status> {
    let replicas = replicas(call);
    let owners = Manager::read(&old["metadata"]["managedFields"]);
    let custom = call.resource.custom.as_ref().and_then(|custom| custom.scale.as_ref());
    let mut live = spoken(call, old);
    let in_scale = replicas.to_scale(&owners);
    if !in_scale.is_empty() {
        live["metadata"]["managedFields"] = Manager::write(&in_scale);
    }
    let mut scale = match wanted {
        Wanted::Update(scale) => scale.clone(),
        Wanted::Apply(application) => application.to(&live)?,
        Wanted::Patch(patch) => {
            let mut scale = call.patched(patch, &live)?;
            // A patch builds on what is there now, unless it names a resourceVersion itself.
            if scale["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"] {
                scale["metadata"]["resourceVersion"] = "".into();
            }
            scale
        }
    };
    if let Some(paths) = custom {
        crate::custom::scale::check(paths, &scale)?;
    }
    // A custom object's own schema knows what its replicas may be.
    let errors = scale::validate(&scale);
    if call.resource.custom.is_none() && !errors.is_empty() {
        return Err(Status::invalid_as("autoscaling", "Scale", &call.info.name, strategy::causes(&errors)));
    }
    call.track(&mut scale, &live);
    let owners =
        replicas.to_parent(&owners, Manager::read(&scale["metadata"]["managedFields"]), &call.resource.api_version());
    let mut object = old.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove("resourceVersion");
        match owners.is_empty() {
            true => metadata.shift_remove("managedFields"),
            false => metadata.insert("managedFields".into(), Manager::write(&owners)),
        };
    }
    write(call, &mut object, &scale);
    // Whose Scale it is, is compared where every update's is.
    let uid = meta(&scale, "uid");
    if !uid.is_empty() {
        object["metadata"]["uid"] = uid.into();
    }
    Ok(object)
}

/// Where the versions of the kind keep their replicas.
fn replicas(call: &Call) -> Replicas {
    match &call.resource.custom {
        Some(custom) => custom.replicas.clone(),
        None => {
            let path = ["spec", "replicas"].map(Into::into).to_vec();
            Replicas::default().with(&call.resource.api_version(), Some(path))
        }
    }
}

/// Makes an object what a Scale says.
pub fn write(call: &Call, object: &mut Value, wanted: &Value) {
    match call.resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        Some(paths) => crate::custom::scale::write(paths, object, wanted),
        None => scale::write(object, wanted),
    }
}
