//! Holds the expressions of a ValidatingAdmissionPolicy to the types of the kinds that it names, and writes what does not fit
//! into `status.typeChecking` (`ValidatingAdmissionPolicyStatus` controller). A level-triggered task: a policy whose
//! `status.observedGeneration` is behind is looked at.

use std::sync::{Arc, Weak};

use orlop_cel::admission::Compiler;
use orlop_cel::decl::escape;
use orlop_cel::{Fields, Type};
use orlop_schema::structural::Structural;
use orlop_schema::{Schema, Special, Ty};
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::catalog::Resource;
use crate::object::meta;
use crate::rest::type_of;
use crate::server::ApiServer;

/// So many kinds of a policy are looked at (`maxTypesToCheck`).
const MAX_TYPES: usize = 10;

/// The fields of built-in kinds, and of the custom resources given.
struct Known(Vec<Arc<Resource>>);

/// How a custom resource's objects, which have no names, are called: `custom`, place in the list, path.
const CUSTOM: &str = "custom";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

impl Known {
    /// The schema at the path that is the name of an object.
    fn structural(&self, object: &str) -> Option<&Structural> {
        let mut parts = object.split('/');
        let place: usize = parts.by_ref().nth(1)?.parse().ok()?;
        let mut node = self.0.get(place)?.custom.as_ref()?.rules().schema;
        for part in parts {
            node = match part {
                "@items" => node.items.as_deref()?,
                "@values" => node.additional_schema()?,
                name => property(node, name)?,
            };
        }
        Some(node)
    }
}

fn property<'s>(node: &'s Structural, field: &str) -> Option<&'s Structural> {
    node.properties.iter().find(|(name, _)| escape(name).as_deref() == Some(field)).map(|(_, node)| node)
}

impl Fields for Known {
    fn field(&self, object: &str, field: &str) -> Option<Type> {
        if object.starts_with(CUSTOM) {
            let node = self.structural(object)?;
            if node.embedded || object.matches('/').count() == 1 {
                match field {
                    "apiVersion" | "kind" => return Some(Type::String),
                    "metadata" => return Some(Type::object(OBJECT_META)),
                    _ => {}
                }
            }
            return Some(custom(property(node, field)?, &format!("{object}/{field}")));
        }
        let ty = Schema::builtin().type_named(object)?;
        let found = ty.get().fields.iter().find(|f| escape(&f.name).as_deref() == Some(field))?;
        Some(declared(&found.ty))
    }
}

/// The type of a part of a custom resource.
fn custom(node: &Structural, path: &str) -> Type {
    if node.int_or_string {
        return Type::Dyn;
    }
    match node.ty.as_str() {
        "integer" => Type::Int,
        "number" => Type::Double,
        "boolean" => Type::Bool,
        "string" => match node.validation.format.as_str() {
            "byte" => Type::Bytes,
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::String,
        },
        "array" => Type::list(node.items.as_deref().map_or(Type::Dyn, |item| custom(item, &format!("{path}/@items")))),
        "object" => match node.additional_schema() {
            Some(values) => Type::map(Type::String, custom(values, &format!("{path}/@values"))),
            None if node.preserve_unknown || (node.properties.is_empty() && !node.embedded) => Type::Dyn,
            None => Type::object(path),
        },
        _ => Type::Dyn,
    }
}

fn declared(ty: &Ty) -> Type {
    match ty {
        Ty::Any => Type::Dyn,
        Ty::String => Type::String,
        Ty::Bytes => Type::Bytes,
        Ty::Bool => Type::Bool,
        Ty::Int32 | Ty::Int64 => Type::Int,
        Ty::Double => Type::Double,
        Ty::List(list) => Type::list(declared(&list.item)),
        Ty::Map(map) => Type::map(Type::String, declared(&map.value)),
        Ty::Ref(id) => match Schema::builtin().get(*id) {
            None => Type::Dyn,
            Some(ty) => match ty.special {
                None if ty.preserve_unknown || ty.fields.is_empty() => Type::Dyn,
                None => Type::object(&ty.name),
                Some(Special::Time | Special::MicroTime) => Type::Timestamp,
                Some(Special::Quantity) => Type::String,
                Some(_) => Type::Dyn,
            },
        },
    }
}

/// The task.
pub struct TypeChecker {
    server: Weak<ApiServer>,
    cache: Arc<Cache>,
}

impl TypeChecker {
    /// Starts it; it ends with the server.
    pub fn start(server: &Arc<ApiServer>) {
        let Some(cache) = server.registry().hub().cache_at("validatingadmissionpolicies") else { return };
        let checker = Self { server: Arc::downgrade(server), cache };
        let stop = server.stop_token();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = checker.run() => {}
            }
        });
    }

    async fn run(self) {
        loop {
            let (objects, _, mut changes) = self.cache.watch_from_now();
            for object in objects.values() {
                self.look_at(object.value()).await;
            }
            // Whatever changed, all are looked at again: there are few, and most need nothing.
            let _ = changes.next().await;
        }
    }

    async fn look_at(&self, policy: Value) {
        if policy["status"]["observedGeneration"] == policy["metadata"]["generation"] {
            return;
        }
        let Some(server) = self.server.upgrade() else { return };
        let warnings = check(&server, &policy);
        let mut next = |current: &mut Value| {
            if current["metadata"]["generation"] == policy["metadata"]["generation"] {
                current["status"]["observedGeneration"] = policy["metadata"]["generation"].clone();
                current["status"]["typeChecking"] = match warnings.is_empty() {
                    true => json!({}),
                    false => json!({"expressionWarnings": warnings}),
                };
            }
            Ok(())
        };
        let name = meta(&policy, "name");
        if let Err(error) = server.registry().modify(&self.cache, "", name, &mut next).await {
            tracing::debug!(%error, name, "the status of a policy was not written");
        }
    }
}

/// `expressionWarnings` of a policy.
fn check(server: &ApiServer, policy: &Value) -> Vec<Value> {
    let spec = &policy["spec"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut resources = named(server, spec);
    let count = resources.len();
    let param_kind = &spec["paramKind"];
    let params = server.catalog().by_kind(&text(&param_kind["apiVersion"]), &text(&param_kind["kind"])).cloned();
    resources.extend(params.filter(|_| !param_kind.is_null()));
    let types: Vec<Type> = resources.iter().enumerate().map(|(place, resource)| root(resource, place)).collect();
    let params = types.get(count).cloned().unwrap_or(Type::Dyn);
    let known = Arc::new(Known(resources.clone()));
    let mut warnings = Vec::new();
    for (index, validation) in list(&spec["validations"]).iter().enumerate() {
        for (field, outputs) in [("expression", Type::Bool), ("messageExpression", Type::String)] {
            let source = text(&validation[field]);
            if source.is_empty() {
                continue;
            }
            let mut told = String::new();
            for (resource, object) in resources.iter().zip(&types).take(count) {
                let kind = format!("{}, Kind={}", resource.api_version(), resource.kind);
                let compiler = Compiler::new(!param_kind.is_null());
                let mut compiler = compiler.with_types(object.clone(), params.clone(), known.clone());
                for variable in list(&spec["variables"]) {
                    // What is wrong with a variable is told where it is used, if it matters there.
                    let _ = compiler.variable(&text(&variable["name"]), &text(&variable["expression"]));
                }
                if let Err(error) = compiler.compile(&source, std::slice::from_ref(&outputs), field == "expression") {
                    let error = error.strip_prefix("compilation failed: ").unwrap_or(&error);
                    told.push_str(&format!("{kind}: {error}\n"));
                }
            }
            if !told.is_empty() {
                warnings.push(json!({"fieldRef": format!("spec.validations[{index}].{field}"), "warning": told}));
            }
        }
    }
    warnings
}

/// The type of a resource's objects.
fn root(resource: &Resource, place: usize) -> Type {
    match &resource.custom {
        Some(own) if own.rules().schema.preserve_unknown => Type::Dyn,
        Some(_) => Type::object(&format!("{CUSTOM}/{place}")),
        None => type_of(&resource.api_version(), &resource.kind).map_or(Type::Dyn, |ty| Type::object(&ty.name)),
    }
}

/// The resources that a policy names without wildcards.
fn named(server: &ApiServer, spec: &Value) -> Vec<Arc<Resource>> {
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(Into::into)).collect()
    };
    let catalog = server.catalog();
    let mut found = Vec::new();
    for rule in spec["matchConstraints"]["resourceRules"].as_array().into_iter().flatten() {
        for group in words(&rule["apiGroups"]) {
            for version in words(&rule["apiVersions"]) {
                for plural in words(&rule["resources"]) {
                    found.extend(catalog.get(&group, &version, &plural).cloned());
                    if found.len() == MAX_TYPES {
                        return found;
                    }
                }
            }
        }
    }
    found
}
