//! Who owns an object's replicas, as its `scale` subresource is told and tells it (`managedfields/scalehandler.go`): there they are
//! `.spec.replicas` of `autoscaling/v1`, wherever the object itself keeps them.

use super::managers::{Manager, Operation, Who};
use super::set::{Element, FieldSet, Path};

const SCALE: &str = "autoscaling/v1";

/// Where the versions of a kind keep their replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas(Vec<(String, Option<Path>)>);

impl Replicas {
    /// Knows a version, too: the names of the fields that lead to its replicas, or none if it has no scale.
    #[must_use]
    pub fn with(mut self, api_version: &str, names: Option<Vec<String>>) -> Self {
        let path = names.map(|names| Path(names.into_iter().map(Element::Field).collect()));
        self.0.push((api_version.to_owned(), path));
        self
    }

    fn of(&self, api_version: &str) -> Option<Option<&Path>> {
        self.0.iter().find(|(version, _)| version == api_version).map(|(_, path)| path.as_ref())
    }

    /// The owners of a Scale, from those of its object.
    pub fn to_scale(&self, owners: &[Manager]) -> Vec<Manager> {
        let owns = |owner: &&Manager| self.of(&owner.who.api_version).flatten().is_some_and(|p| owner.fields.has(p));
        let as_scale = |owner: &Manager| Manager {
            who: Who { api_version: SCALE.into(), ..owner.who.clone() },
            fields: only(&in_scale()),
        };
        let mut scale: Vec<Manager> = owners.iter().filter(owns).map(as_scale).collect();
        Manager::sort(&mut scale);
        scale
    }

    /// The owners of an object that is written in `api_version`, from those that it had and those of its new Scale.
    pub fn to_parent(&self, owners: &[Manager], mut scale: Vec<Manager>, api_version: &str) -> Vec<Manager> {
        let mut all = Vec::with_capacity(owners.len() + 1);
        for owner in owners {
            // Fields of versions that are no more are nobody's.
            let Some(path) = self.of(&owner.who.api_version) else { continue };
            let Some(path) = path.filter(|path| owner.fields.has(path)) else {
                all.push(owner.clone());
                continue;
            };
            if let Some(at) = scale.iter().position(|own| own.is(&owner.who)) {
                scale.remove(at);
                all.push(owner.clone());
                continue;
            }
            let fields = owner.fields.difference(&only(path));
            if !fields.is_empty() {
                all.push(Manager { who: owner.who.clone(), fields });
            }
        }
        let path = self.of(api_version).flatten();
        for own in scale.into_iter().filter(|own| own.fields.has(&in_scale())) {
            let Some(path) = path else { continue };
            // Since when is known of those alone who applied before.
            let known =
                owners.iter().find(|owner| owner.is(&own.who)).filter(|_| own.who.operation == Operation::Apply);
            let time = known.map(|owner| owner.who.time.clone()).unwrap_or_default();
            if own.who.operation == Operation::Apply {
                all.retain(|other| !other.is(&own.who));
            }
            all.push(Manager { who: Who { api_version: api_version.into(), time, ..own.who }, fields: only(path) });
        }
        Manager::sort(&mut all);
        all
    }
}

fn in_scale() -> Path {
    Path(["spec", "replicas"].map(|name| Element::Field(name.into())).into())
}

fn only(path: &Path) -> FieldSet {
    let mut set = FieldSet::default();
    set.insert(&path.0);
    set
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn owners(entries: &[(&str, &str, &str, Value)]) -> Vec<Manager> {
        let entry = |(name, operation, version, fields): &(&str, &str, &str, Value)| {
            json!({"manager": name, "operation": operation, "apiVersion": version, "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": fields})
        };
        Manager::read(&entries.iter().map(entry).collect())
    }

    fn deployments() -> Replicas {
        Replicas::default().with("apps/v1", Some(vec!["spec".into(), "replicas".into()])).with("apps/v1beta1", None)
    }

    fn shown(owners: &[Manager]) -> Vec<(String, String, Value, bool)> {
        let shown =
            |m: &Manager| (m.who.name.clone(), m.who.api_version.clone(), m.fields.to_value(), m.who.time.is_empty());
        owners.iter().map(shown).collect()
    }

    #[test]
    fn a_scale_knows_the_owners_of_its_replicas_alone() {
        let all = owners(&[
            ("a", "Apply", "apps/v1", json!({"f:spec": {"f:replicas": {}, "f:paused": {}}})),
            ("b", "Update", "apps/v1", json!({"f:spec": {"f:selector": {}}})),
            ("c", "Update", "apps/v7", json!({"f:spec": {"f:replicas": {}}})),
        ]);
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        assert_eq!(shown(&deployments().to_scale(&all)), [("a".into(), SCALE.into(), replicas, false)]);
    }

    #[test]
    fn who_scales_takes_the_replicas_from_who_had_them() {
        let all = owners(&[("a", "Update", "apps/v1", json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}))]);
        let scale = owners(&[("s", "Update", SCALE, json!({"f:spec": {"f:replicas": {}}}))]);
        let expected = [
            ("s".to_owned(), "apps/v1".to_owned(), json!({"f:spec": {"f:replicas": {}}}), true),
            ("a".to_owned(), "apps/v1".to_owned(), json!({"f:spec": {"f:paused": {}}}), false),
        ];
        assert_eq!(shown(&deployments().to_parent(&all, scale, "apps/v1")), expected);
    }

    #[test]
    fn who_applied_them_keeps_them_until_somebody_takes_them() {
        let all = owners(&[("a", "Apply", "apps/v1", json!({"f:spec": {"f:replicas": {}}}))]);
        let parent = deployments();
        assert_eq!(parent.to_parent(&all, parent.to_scale(&all), "apps/v1"), all);
        assert_eq!(parent.to_parent(&all, Vec::new(), "apps/v1"), []);
        // A version without a scale is left alone, one that nobody knows is forgotten.
        let others = owners(&[("b", "Update", "apps/v1beta1", json!({"f:spec": {"f:replicas": {}}}))]);
        assert_eq!(parent.to_parent(&others, Vec::new(), "apps/v1"), others);
        let unknown = owners(&[("b", "Update", "apps/v7", json!({"f:spec": {"f:replicas": {}}}))]);
        assert_eq!(parent.to_parent(&unknown, Vec::new(), "apps/v1"), []);
    }
}
