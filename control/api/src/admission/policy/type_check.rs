//! Holds the expressions of a ValidatingAdmissionPolicy to the types of the kinds that it names, and writes what does not fit
//! into `status.typeChecking` (`ValidatingAdmissionPolicyStatus` controller). A level-triggered task: a policy whose
//! `status.observedGeneration` is behind is looked at.

use std::sync::{Arc, Weak};

use orlop_cel::admission::Compiler;
use orlop_cel::{Fields, Type};
use orlop_schema::{Schema, Special, Ty};
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::object::meta;
use crate::rest::type_of;
use crate::server::ApiServer;

/// So many kinds of a policy are looked at (`maxTypesToCheck`).
const MAX_TYPES: usize = 10;

/// The fields of built-in kinds.
struct Builtin;

impl Fields for Builtin {
    fn field(&self, object: &str, field: &str) -> Option<Type> {
        let ty = Schema::builtin().type_named(object)?;
        let found = ty.get().fields.iter().find(|f| orlop_cel::decl::escape(&f.name).as_deref() == Some(field))?;
        Some(declared(&found.ty))
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
    let kinds = kinds(server, spec);
    let param_kind = &spec["paramKind"];
    let params = type_of(&text(&param_kind["apiVersion"]), &text(&param_kind["kind"]));
    let params = params.map_or(Type::Dyn, |ty| Type::object(&ty.name));
    let mut warnings = Vec::new();
    for (index, validation) in list(&spec["validations"]).iter().enumerate() {
        for (field, outputs) in [("expression", Type::Bool), ("messageExpression", Type::String)] {
            let source = text(&validation[field]);
            if source.is_empty() {
                continue;
            }
            let mut told = String::new();
            for (kind, object) in &kinds {
                let compiler = Compiler::new(!param_kind.is_null());
                let mut compiler = compiler.with_types(object.clone(), params.clone(), Arc::new(Builtin));
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

/// The kinds that a policy names without wildcards, and their types.
fn kinds(server: &ApiServer, spec: &Value) -> Vec<(String, Type)> {
    let mut kinds = Vec::new();
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(Into::into)).collect()
    };
    for rule in spec["matchConstraints"]["resourceRules"].as_array().into_iter().flatten() {
        for group in words(&rule["apiGroups"]) {
            for version in words(&rule["apiVersions"]) {
                for plural in words(&rule["resources"]) {
                    if kinds.len() == MAX_TYPES {
                        return kinds;
                    }
                    let Some(resource) = server.catalog().get(&group, &version, &plural).cloned() else { continue };
                    let Some(ty) = type_of(&resource.api_version(), &resource.kind) else { continue };
                    kinds.push((format!("{}, Kind={}", resource.api_version(), resource.kind), Type::object(&ty.name)));
                }
            }
        }
    }
    kinds
}
