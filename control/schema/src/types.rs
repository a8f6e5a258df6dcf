//! The shape of a type: its fields, and for each field what a decoder, a merge and a wire format must know.

use std::sync::Arc;

use serde_json::Value;

use crate::GroupVersionKind;

/// An interned string: equal names share one allocation within a schema.
pub type Str = Arc<str>;

/// A type's place in its schema. Only meaningful together with the schema (or an overlay of it) that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub(crate) u32);

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Ty {
    /// Any JSON value, kept as it is.
    Any,
    /// A UTF-8 string.
    String,
    /// Bytes, base64 in JSON.
    Bytes,
    /// true or false.
    Bool,
    /// A signed 32-bit integer.
    Int32,
    /// A signed 64-bit integer.
    Int64,
    /// A 64-bit float.
    Double,
    /// A named (or, in a custom resource, anonymous) type of the schema.
    Ref(TypeId),
    /// A list.
    List(Box<ListType>),
    /// A map from strings.
    Map(Box<MapType>),
}

/// A list and how it merges.
#[derive(Clone, Debug, PartialEq)]
pub struct ListType {
    /// What the elements are.
    pub item: Ty,
    /// How server-side apply identifies the elements.
    pub topology: ListTopology,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum ListTopology {
    /// The list is one value with one owner; also what an unmarked list is.
    #[default]
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects identified by the named fields (`x-kubernetes-list-map-keys`).
    Map(Box<[Str]>),
}

/// A map from strings and how it merges.
#[derive(Clone, Debug, PartialEq)]
pub struct MapType {
    /// What the values are.
    pub value: Ty,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
}

/// `x-kubernetes-patch-strategy`, the directives of strategic merge patch in a type's definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// The list is merged, by `patch_merge_key` if its elements are objects.
    pub merge: bool,
    /// Fields absent from the patch's `$retainKeys` are dropped (a union).
    pub retain_keys: bool,
    /// The list or object is replaced although its type could merge.
    pub replace: bool,
}

/// Where a field is on the protobuf wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct WireTag {
    /// The tags of the embedded messages on the way (Go's inlined structs), usually none.
    pub embedded: Box<[u32]>,
    /// The field's own tag; 0 if the field has none (`apiVersion` and `kind` of an object stand in the envelope).
    pub tag: u32,
    /// The list is a message of its own, whose field 1 repeats.
    pub list_message: bool,
}

/// A field of a type.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The JSON name.
    pub name: Str,
    /// What the value may be.
    pub ty: Ty,
    /// Listed in the definition's `required`: Go writes it even when it is empty.
    pub required: bool,
    /// Go leaves the field out when it is zero or empty: the two cannot be told apart.
    pub omit_zero: bool,
    /// A time that Go writes as `null` when it is zero: no pointer.
    pub null_when_zero: bool,
    /// The object or list is said to be owned as a whole by one manager (`x-kubernetes-map-type` or `x-kubernetes-list-type` at
    /// the field is `atomic`).
    pub atomic: bool,
    /// How strategic merge patch treats the field.
    pub patch: PatchStrategy,
    /// `x-kubernetes-patch-merge-key`.
    pub patch_merge_key: Option<Str>,
    /// The protobuf tag.
    pub wire: WireTag,
    /// The values the definition lists; empty if any.
    pub values: Box<[Value]>,
    /// The definition's default.
    pub default: Option<Value>,
}

/// Types whose JSON form is not an object of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// `meta/v1.Time`: RFC 3339 in whole seconds.
    Time,
    /// `meta/v1.MicroTime`: RFC 3339 with microseconds.
    MicroTime,
    /// `resource.Quantity`: a fixed-point number with a suffix.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `runtime.RawExtension`: any object.
    RawExtension,
    /// `meta/v1.FieldsV1`: a set of fields.
    FieldsV1,
    /// `meta/v1.Patch`: the body of a patch request.
    Patch,
    /// `apiextensions.JSON`: any value.
    Json,
    /// A schema or a list of schemas.
    JsonSchemaPropsOrArray,
    /// A schema or a boolean.
    JsonSchemaPropsOrBool,
    /// A schema or a list of strings.
    JsonSchemaPropsOrStringArray,
}

/// A type of the schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// The OpenAPI v2 name, such as `io.k8s.api.core.v1.Pod`; empty for a custom resource's anonymous objects.
    pub name: Str,
    /// The kinds it stands for: none for parts of objects, one for most objects, many for `DeleteOptions`.
    pub kinds: Box<[GroupVersionKind]>,
    /// Set if the JSON form is not an object of fields.
    pub special: Option<Special>,
    /// The object is owned as a whole by one manager (`x-kubernetes-map-type: atomic` at the type).
    pub atomic: bool,
    /// Fields that are not listed are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// `x-kubernetes-unions` as the definition states it.
    pub unions: Option<Value>,
    /// The fields in the order in which Go writes them.
    pub fields: Box<[Field]>,
}

impl Type {
    /// The field of that JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| &*f.name == name)
    }

    /// The last part of the name, as Go names the struct: `Pod` of `io.k8s.api.core.v1.Pod`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// Package and struct as Go prints them: `v1.Pod`.
    pub fn go_name(&self) -> &str {
        let mut dots = self.name.rmatch_indices('.').map(|(at, _)| at);
        dots.nth(1).map_or(&*self.name, |at| &self.name[at + 1..])
    }
}
