//! The variables of admission: what match conditions and policies may name, with the types that kube-apiserver declares
//! (`k8s.io/apiserver/pkg/admission/plugin/cel`), and the compiler that knows them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::program::{Environment, Program};
use crate::types::{Fields, Type};

const REQUEST: &str = "kubernetes.AdmissionRequest";
const NAMESPACE: &str = "kubernetes.Namespace";
const VARIABLES: &str = "kubernetes.variables";
const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";

/// object, its fields as `name type`.
const OBJECTS: &[(&str, &[(&str, &str)])] = &[
    (
        REQUEST,
        &[
            ("kind", "kubernetes.GroupVersionKind"),
            ("resource", "kubernetes.GroupVersionResource"),
            ("subResource", "string"),
            ("requestKind", "kubernetes.GroupVersionKind"),
            ("requestResource", "kubernetes.GroupVersionResource"),
            ("requestSubResource", "string"),
            ("name", "string"),
            ("namespace", "string"),
            ("operation", "string"),
            ("userInfo", "kubernetes.UserInfo"),
            ("dryRun", "bool"),
            ("options", "dyn"),
        ],
    ),
    ("kubernetes.GroupVersionKind", &[("group", "string"), ("version", "string"), ("kind", "string")]),
    ("kubernetes.GroupVersionResource", &[("group", "string"), ("version", "string"), ("resource", "string")]),
    (
        "kubernetes.UserInfo",
        &[
            ("username", "string"),
            ("uid", "string"),
            ("groups", "list(string)"),
            ("extra", "map(string, list(string))"),
        ],
    ),
    (
        NAMESPACE,
        &[
            ("metadata", "kubernetes.NamespaceMetadata"),
            ("spec", "kubernetes.NamespaceSpec"),
            ("status", "kubernetes.NamespaceStatus"),
        ],
    ),
    (
        "kubernetes.NamespaceMetadata",
        &[
            ("name", "string"),
            ("generateName", "string"),
            ("namespace", "string"),
            ("labels", "map(string, string)"),
            ("annotations", "map(string, string)"),
            ("UID", "string"),
            ("creationTimestamp", "timestamp"),
            ("deletionGracePeriodSeconds", "int"),
            ("deletionTimestamp", "timestamp"),
            ("generation", "int"),
            ("resourceVersion", "string"),
            ("finalizers", "list(string)"),
        ],
    ),
    ("kubernetes.NamespaceSpec", &[("finalizers", "list(string)")]),
    ("kubernetes.NamespaceStatus", &[("conditions", "list(dyn)"), ("phase", "string")]),
    ("JSONPatch", &[("op", "string"), ("path", "string"), ("from", "string"), ("value", "dyn")]),
];

static FIELDS: LazyLock<HashMap<&'static str, HashMap<&'static str, Type>>> = LazyLock::new(|| {
    OBJECTS.iter().map(|(name, fields)| (*name, fields.iter().map(|(f, t)| (*f, Type::parse(t))).collect())).collect()
});

/// Where the types of `object` and `params` come from when expressions are held to a known kind.
pub type Schemas = Arc<dyn Fields>;

/// Compiles the expressions of one policy or webhook.
pub struct Compiler {
    has_params: bool,
    has_patch_types: bool,
    object: Type,
    params: Type,
    schemas: Option<Schemas>,
    variables: HashMap<String, Type>,
    composes: bool,
}

impl Compiler {
    /// For expressions about objects of any kind.
    pub fn new(has_params: bool) -> Self {
        Self {
            has_params,
            has_patch_types: false,
            object: Type::Dyn,
            params: Type::Dyn,
            schemas: None,
            variables: HashMap::new(),
            composes: false,
        }
    }

    /// With `Object{…}` and `JSONPatch{…}`, as mutations have them.
    #[must_use]
    pub fn with_patch_types(mut self) -> Self {
        self.has_patch_types = true;
        self
    }

    /// For expressions about objects of one kind.
    #[must_use]
    pub fn with_types(mut self, object: Type, params: Type, schemas: Schemas) -> Self {
        (self.object, self.params, self.schemas) = (object, params, Some(schemas));
        self
    }

    /// Adds `variables.name` for the expressions that follow. One that does not compile is dynamic for them.
    pub fn variable(&mut self, name: &str, source: &str) -> Result<Program, String> {
        self.composes = true;
        let compiled = self.build(source, true);
        let ty = compiled.as_ref().map_or(Type::Dyn, |program| program.output().clone());
        self.variables.insert(name.to_owned(), ty);
        compiled
    }

    /// Compiles an expression that gives one of `outputs`; with none, anything.
    pub fn compile(&self, source: &str, outputs: &[Type], authorizer: bool) -> Result<Program, String> {
        let program = self.build(source, authorizer)?;
        let found = program.output();
        if outputs.is_empty() || outputs.contains(found) {
            return Ok(program);
        }
        let names: Vec<String> = outputs.iter().map(output_name).collect();
        Err(match names.as_slice() {
            [one] => format!("must evaluate to {one} but got {found}"),
            many => format!("must evaluate to one of [{}] but got {found}", many.join(" ")),
        })
    }

    fn build(&self, source: &str, authorizer: bool) -> Result<Program, String> {
        let mut environment = Environment::new(self)
            .with("object", self.object.clone())
            .with("oldObject", self.object.clone())
            .with("namespaceObject", Type::object(NAMESPACE))
            .with("request", Type::object(REQUEST));
        if self.has_params {
            environment = environment.with("params", self.params.clone());
        }
        if authorizer {
            environment = environment
                .with("authorizer", Type::object(AUTHORIZER))
                .with("authorizer.requestResource", Type::object(RESOURCE_CHECK));
        }
        if self.composes {
            environment = environment.with("variables", Type::object(VARIABLES));
        }
        environment.compile(source).map_err(|issues| format!("compilation failed: {issues}"))
    }
}

fn output_name(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".to_owned(),
        other => other.to_string(),
    }
}

impl Fields for Compiler {
    fn field(&self, object: &str, field: &str) -> Option<Type> {
        if object == VARIABLES {
            return self.variables.get(field).cloned();
        }
        if self.has_patch_types && is_apply_type(object) {
            return Some(Type::Dyn);
        }
        if let Some(fields) = FIELDS.get(object) {
            return fields.get(field).cloned();
        }
        self.schemas.as_ref()?.field(object, field)
    }

    fn constructs(&self, object: &str) -> bool {
        self.has_patch_types && (object == "JSONPatch" || is_apply_type(object))
    }
}

fn is_apply_type(object: &str) -> bool {
    object == "Object" || object.starts_with("Object.")
}
