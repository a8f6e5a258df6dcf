//! Documents of other servers within the v2 document (`kube-openapi/pkg/aggregator`): their paths join ours; a definition or
//! parameter that says something else under a name that is taken gets a number behind its name, in all of its document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

const KINDS: &str = "x-kubernetes-group-version-kind";
const DEFINITION: &str = "#/definitions/";
const PARAMETER: &str = "#/parameters/";

/// What a document says of one group and version: its paths, and of definitions and parameters only those that these need.
pub fn part(mut document: Value, group: &str, version: &str) -> Value {
    let prefix = format!("/apis/{group}/{version}/");
    let mut paths = take(&mut document, "paths");
    paths.retain(|path, _| path.starts_with(&prefix));
    let (mut definitions, mut parameters) = (take(&mut document, "definitions"), take(&mut document, "parameters"));
    let mut open: Vec<String> = paths.values().flat_map(references).collect();
    let mut used = BTreeSet::new();
    while let Some(reference) = open.pop() {
        let definition = reference.strip_prefix(DEFINITION).and_then(|name| definitions.get(name));
        let parameter = reference.strip_prefix(PARAMETER).and_then(|name| parameters.get(name));
        if let Some(value) = definition.or(parameter).filter(|_| !used.contains(&reference)) {
            open.extend(references(value));
            used.insert(reference);
        }
    }
    definitions.retain(|name, _| used.contains(&format!("{DEFINITION}{name}")));
    parameters.retain(|name, _| used.contains(&format!("{PARAMETER}{name}")));
    json!({"info": document["info"], "paths": paths, "definitions": definitions, "parameters": parameters})
}

/// What documents of others add.
#[derive(Default)]
pub(super) struct Others {
    pub(super) paths: BTreeMap<String, Value>,
    /// New ones, and those of ours that describe more kinds than before.
    pub(super) definitions: BTreeMap<String, Value>,
    pub(super) parameters: BTreeMap<String, Value>,
}

impl Others {
    /// Takes in a document (see [`part`]) of which no path is ours. The first that says something of a path is believed.
    pub(super) fn add(&mut self, document: &Value, own: impl Fn(&str) -> Option<Value>) {
        let part = |name: &str| document[name].as_object().cloned().unwrap_or_default();
        let (mut paths, mut definitions, mut parameters) = (part("paths"), part("definitions"), part("parameters"));
        paths.retain(|path, _| !self.paths.contains_key(path));
        if paths.is_empty() {
            return;
        }
        let known = |name: &str| self.definitions.get(name).cloned().or_else(|| own(name));
        let clashes = rename(&definitions, known, same_but_kinds);
        let mut references: BTreeMap<String, String> = BTreeMap::new();
        references
            .extend(clashes.iter().map(|(old, new)| (format!("{DEFINITION}{old}"), format!("{DEFINITION}{new}"))));
        definitions = renamed(definitions, &clashes);
        let clashes = rename(&parameters, |name| self.parameters.get(name).cloned(), |a, b| a == b);
        references.extend(clashes.iter().map(|(old, new)| (format!("{PARAMETER}{old}"), format!("{PARAMETER}{new}"))));
        parameters = renamed(parameters, &clashes);
        for value in paths.values_mut().chain(definitions.values_mut()).chain(parameters.values_mut()) {
            refer(value, &references);
        }
        for (name, definition) in definitions {
            match self.definitions.get(&name).cloned().or_else(|| own(&name)) {
                None => drop(self.definitions.insert(name, definition)),
                Some(mut known) => {
                    if let Some(kinds) = more_kinds(&known[KINDS], &definition[KINDS]) {
                        known[KINDS] = kinds;
                        self.definitions.insert(name, known);
                    }
                }
            }
        }
        for (name, parameter) in parameters {
            self.parameters.entry(name).or_insert(parameter);
        }
        self.paths.extend(paths);
    }
}

fn take(document: &mut Value, member: &str) -> Map<String, Value> {
    match document.get_mut(member).map(Value::take) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Every `$ref` below a value.
fn references(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                open.extend(map.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    found
}

/// Turns references to what was renamed.
fn refer(value: &mut Value, renames: &BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(new) = renames.get(reference)
            {
                reference.clone_from(new);
            }
            map.values_mut().for_each(|value| refer(value, renames));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| refer(value, renames)),
        _ => {}
    }
}

/// New names for those of `theirs` that are known as something else: the first free `NAME_vN`, or one that says the same.
fn rename(
    theirs: &Map<String, Value>,
    known: impl Fn(&str) -> Option<Value>,
    same: impl Fn(&Value, &Value) -> bool,
) -> BTreeMap<String, String> {
    let mut renames: BTreeMap<String, String> = BTreeMap::new();
    let mut given = BTreeSet::new();
    for (name, value) in theirs {
        if known(name).is_none_or(|known| same(&known, value)) {
            continue;
        }
        let fits = |new: &String| match known(new) {
            Some(known) => same(&known, value),
            None => !given.contains(new) && !theirs.contains_key(new),
        };
        if let Some(new) = (2u32..).map(|n| format!("{name}_v{n}")).find(fits) {
            given.insert(new.clone());
            renames.insert(name.clone(), new);
        }
    }
    renames
}

fn renamed(theirs: Map<String, Value>, renames: &BTreeMap<String, String>) -> Map<String, Value> {
    theirs.into_iter().map(|(name, value)| (renames.get(&name).cloned().unwrap_or(name), value)).collect()
}

/// Whether two definitions say the same of possibly different kinds.
fn same_but_kinds(one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return one == other };
    let rest = |map: &Map<String, Value>| map.keys().filter(|key| *key != KINDS).count();
    rest(one) == rest(other) && one.iter().all(|(key, value)| key == KINDS || other.get(key) == Some(value))
}

/// The kinds of both, if the second knows any that the first does not.
fn more_kinds(one: &Value, other: &Value) -> Option<Value> {
    let list = |kinds: &Value| kinds.as_array().cloned().unwrap_or_default();
    let mut kinds = list(one);
    let new: Vec<Value> = list(other).into_iter().filter(|kind| !kinds.contains(kind)).collect();
    if new.is_empty() {
        return None;
    }
    kinds.extend(new);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    kinds.sort_by_cached_key(|kind| {
        format!("{}/{}.{}", text(&kind["group"]), text(&kind["version"]), text(&kind["kind"]))
    });
    Some(kinds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(path: &str, definitions: Value) -> Value {
        let answer = json!({"schema": {"$ref": "#/definitions/Thing"}});
        json!({"paths": {path: {"get": {"responses": {"200": answer}}}}, "definitions": definitions})
    }

    fn own(name: &str) -> Option<Value> {
        (name == "Meta").then(|| json!({"type": "object", KINDS: [{"group": "", "version": "v1", "kind": "Meta"}]}))
    }

    #[test]
    fn a_part_holds_the_paths_of_its_group_version_and_what_they_need() {
        let mut whole = document(
            "/apis/g/v1/things",
            json!({
                "Thing": {"properties": {"meta": {"$ref": "#/definitions/Meta"}}}, "Meta": {"type": "object"}, "Other": {},
            }),
        );
        whole["paths"]["/apis/g/v1/things"]["parameters"] = json!([{"$ref": "#/parameters/pretty"}]);
        whole["paths"]["/apis/g/v2/things"] = json!({"get": {"$ref": "#/definitions/Other"}});
        whole["parameters"] = json!({"pretty": {"name": "pretty"}, "watch": {"name": "watch"}});
        let part = part(whole, "g", "v1");
        let names = |member: &str| part[member].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names("paths"), ["/apis/g/v1/things"]);
        assert_eq!(
            (names("definitions"), names("parameters")),
            (vec!["Thing".into(), "Meta".into()], vec!["pretty".into()])
        );
    }

    #[test]
    fn what_means_the_same_is_shared_and_what_does_not_is_renamed_with_its_references() {
        let mut others = Others::default();
        let thing = |text: &str| json!({"description": text, "properties": {"meta": {"$ref": "#/definitions/Meta"}}});
        others.add(&document("/apis/a/v1/x", json!({"Thing": thing("a"), "Meta": {"type": "object"}})), own);
        others.add(&document("/apis/b/v1/x", json!({"Thing": thing("b"), "Meta": {"type": "string"}})), own);
        others.add(&document("/apis/c/v1/x", json!({"Thing": thing("a"), "Meta": {"type": "object"}})), own);
        assert_eq!(others.definitions.keys().collect::<Vec<_>>(), ["Meta_v2", "Thing", "Thing_v2"]);
        assert_eq!(others.definitions["Thing_v2"]["properties"]["meta"]["$ref"], "#/definitions/Meta_v2");
        let of = |path: &str| others.paths[path]["get"]["responses"]["200"]["schema"]["$ref"].clone();
        assert_eq!(of("/apis/b/v1/x"), "#/definitions/Thing_v2");
        assert_eq!(
            (of("/apis/a/v1/x"), of("/apis/c/v1/x")),
            (json!("#/definitions/Thing"), json!("#/definitions/Thing"))
        );
    }

    #[test]
    fn kinds_that_another_server_knows_a_definition_by_are_added() {
        let mut others = Others::default();
        let kind = |group: &str| json!({"group": group, "version": "v1", "kind": "Meta"});
        others
            .add(&document("/apis/a/v1/x", json!({"Thing": {}, "Meta": {"type": "object", KINDS: [kind("a")]}})), own);
        assert_eq!(others.definitions["Meta"][KINDS], json!([kind(""), kind("a")]));
    }

    #[test]
    fn a_path_stays_with_who_named_it_first() {
        let mut others = Others::default();
        others.add(&document("/apis/a/v1/x", json!({"Thing": {"description": "first"}})), own);
        others.add(&document("/apis/a/v1/x", json!({"Thing": {"description": "second"}})), own);
        assert_eq!(others.definitions.len(), 1);
        assert_eq!(others.definitions["Thing"]["description"], "first");
    }
}
