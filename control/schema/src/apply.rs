//! Server-side apply: a client says which fields it wants and how, the server remembers who owns which field
//! (`metadata.managedFields`), takes away what its owner no longer wants, and refuses what somebody else has set otherwise.
//!
//! The rules are those of `sigs.k8s.io/structured-merge-diff`; types come from the table.

mod check;
mod compare;
mod managers;
mod scale;
mod set;
mod walk;

pub use check::go;
pub use managers::{Manager, Operation, Who};
pub use scale::Replicas;
use serde_json::Value;
pub use set::{Element, FieldSet, Path};
pub use walk::ApplyError;
use walk::{Shape, Walker};

use crate::TypeRef;

/// Fields that nobody owns: they are the server's, or say which object it is.
const NOBODYS: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// A field that somebody else owns and has set otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner.
    pub who: Who,
    /// The field.
    pub path: Path,
}

/// What an apply comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// The object with what was asked for, and its managers from now on.
    Done(Value, Vec<Manager>),
    /// Others own what was asked for.
    Conflicts(Vec<Conflict>),
}

impl TypeRef<'_> {
    /// The fields that an object of this type has and that somebody can own.
    pub fn owned_fields(self, object: &Value) -> Result<FieldSet, ApplyError> {
        Ok(ownable(Walker { schema: self.schema() }.fields(&self.whole(), object)?))
    }

    /// Applies `config` to `live` (`null` if it does not exist yet).
    pub fn apply(
        self,
        live: &Value,
        config: &Value,
        managers: Vec<Manager>,
        who: &Who,
        force: bool,
    ) -> Result<Applied, ApplyError> {
        let walker = Walker { schema: self.schema() };
        let mut managers = managers;
        if managers.is_empty() && !live.is_null() {
            // What is written through subresources alone stays out of it.
            let mut written = live.clone();
            if let Some(fields) = written.as_object_mut() {
                match who.subresource.as_str() {
                    "" => drop(fields.shift_remove("status")),
                    "status" => fields.retain(|name, _| name == "status"),
                    _ => {}
                }
            }
            managers.extend(Manager::before(self.compare(&Value::Null, &written)?.0, who));
        }
        let wanted = self.owned_fields(config)?;
        let merged = if live.is_null() { config.clone() } else { walker.merge(&self.whole(), live, config)? };
        let before = managers.iter().find(|m| m.is(who)).map(|m| m.fields.clone()).unwrap_or_default();
        let others = managers.iter().filter(|m| !m.is(who));
        let owned = others.fold(wanted.clone(), |all, manager| all.union(&manager.fields));
        let mut pruned = merged;
        walker.remove(&self.whole(), &mut pruned, &removable(&before.difference(&owned), &owned))?;
        let (changed, removed) = self.compare(live, &pruned)?;
        let mut conflicts = Vec::new();
        for manager in managers.iter_mut().filter(|m| !m.is(who)) {
            let disputed = manager.fields.intersection(&changed);
            if !disputed.is_empty() && !force {
                conflicts
                    .extend(disputed.members().into_iter().map(|path| Conflict { who: manager.who.clone(), path }));
            }
            manager.fields = manager.fields.difference(&disputed).difference(&removed);
        }
        if !conflicts.is_empty() {
            return Ok(Applied::Conflicts(conflicts));
        }
        Manager::set(&mut managers, who, wanted);
        Ok(Applied::Done(pruned, managers))
    }

    /// The managers after `who` has changed `old` into `new` in any other way.
    pub fn track(
        self,
        old: &Value,
        new: &Value,
        mut managers: Vec<Manager>,
        who: &Who,
    ) -> Result<Vec<Manager>, ApplyError> {
        let (changed, removed) = self.compare(old, new)?;
        for manager in managers.iter_mut().filter(|m| !m.is(who)) {
            manager.fields = manager.fields.difference(&changed).difference(&removed);
        }
        let before = managers.iter().find(|m| m.is(who)).map(|m| m.fields.clone()).unwrap_or_default();
        Manager::set(&mut managers, who, before.difference(&removed).union(&changed));
        Ok(managers)
    }

    /// Of the fields that somebody once wished for in `last` those that `live` still has as they were wished.
    pub fn kept_fields(self, last: &Value, live: &Value) -> Result<FieldSet, ApplyError> {
        let (changed, removed) = self.compare(last, live)?;
        Ok(self.owned_fields(last)?.difference(&changed).difference(&removed))
    }

    /// The fields that are new or have new values, and those that are gone.
    fn compare(self, old: &Value, new: &Value) -> Result<(FieldSet, FieldSet), ApplyError> {
        let nothing = Value::Object(Default::default());
        let old = if old.is_null() { &nothing } else { old };
        let compared = Walker { schema: self.schema() }.compare(&self.whole(), Some(old), Some(new))?;
        Ok((ownable(compared.changed), ownable(compared.removed)))
    }

    fn whole(&self) -> Shape<'_> {
        Shape::Struct(self.get())
    }
}

/// Without what nobody owns.
fn ownable(mut set: FieldSet) -> FieldSet {
    set.here = false;
    NOBODYS.iter().for_each(|path| set.remove_field(path));
    let metadata = Element::Field("metadata".into());
    if let Some(node) = set.below.get_mut(&metadata) {
        node.here = false;
        if node.is_empty() {
            set.below.remove(&metadata);
        }
    }
    set
}

/// Of the fields that are no longer wanted those under which nothing is owned by anybody.
fn removable(unwanted: &FieldSet, owned: &FieldSet) -> FieldSet {
    let mut out = FieldSet { here: unwanted.here && owned.is_empty(), below: Default::default() };
    let none = FieldSet::default();
    for (element, node) in &unwanted.below {
        let kept = removable(node, owned.below.get(element).unwrap_or(&none));
        if !kept.is_empty() {
            out.below.insert(element.clone(), kept);
        }
    }
    out
}

#[cfg(test)]
mod tests;
