//! The API as a page of documentation: every resource of the Kubernetes minor with what this server does with it. It is made
//! from the catalog, the schema and the kinds' rules themselves, so it cannot promise more than there is.

use std::fmt::Write;

use orlop_schema::Schema;

use crate::catalog::{Catalog, Resource};
use crate::strategy;

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

const HEAD: &str = "# The API, resource by resource

Made by `cargo run -p orlop-api --example api-table > docs/api-table.md` from the server's own registry; a test keeps it equal. Do not edit.

- A verb is `yes`, `absent` (Kubernetes has it, this server answers 405) or empty (Kubernetes has none, 405 as well).
- defaults, validation, strategy, columns: `own` where the kind has rules of its own, `general` where only the rules for all kinds hold (for some of these Kubernetes checks more).
- Subresources in brackets are absent: they answer 404.
- Resources that are absent answer 404.
- `patch` takes JSON Patch, JSON Merge Patch, strategic merge patch and server-side apply.
";

/// The page, in Markdown.
pub fn api_table() -> String {
    let catalog = Catalog::builtin();
    let mut page = HEAD.to_owned();
    for (group, versions) in catalog.groups() {
        for version in versions {
            let title = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
            // Writing to a String cannot fail.
            let _ = write!(
                page,
                "\n## {title}\n\n| resource | scope | {} | defaults | validation | strategy | columns | subresources |\n",
                VERBS.join(" | ")
            );
            let _ = writeln!(page, "|---|---|{}", "---|".repeat(VERBS.len() + 5));
            for resource in catalog.of(&group, &version) {
                page.push_str(&row(resource));
            }
        }
    }
    page.push_str("\n## Absent\n\n");
    for known in Schema::builtin().resources() {
        if catalog.get(&known.group, &known.version, &known.plural).is_none() {
            let _ = writeln!(page, "- {} {}", known.api_version(), known.plural);
        }
    }
    page
}

fn row(resource: &Resource) -> String {
    let known = Schema::builtin().resource(&resource.group, &resource.version, &resource.plural);
    let mut row = format!("| {} | {} |", resource.plural, if resource.namespaced { "namespace" } else { "cluster" });
    for verb in VERBS {
        let cell = match (resource.serves(verb), known.is_some_and(|k| k.has_verb(verb))) {
            (true, _) => " yes |",
            (false, true) => " absent |",
            (false, false) => " |",
        };
        row.push_str(cell);
    }
    let own = strategy::rules(resource).own();
    for own in [own.defaults, own.validation, own.strategy, own.columns] {
        row.push_str(match (resource.storage.is_empty(), own) {
            (true, _) => " |",
            (false, true) => " own |",
            (false, false) => " general |",
        });
    }
    let mut subs: Vec<String> = Vec::new();
    for sub in known.into_iter().flat_map(|k| &k.subresources) {
        subs.push(if resource.subresource(&sub.name).is_some() {
            sub.name.to_string()
        } else {
            format!("({})", sub.name)
        });
    }
    let _ = writeln!(row, " {} |", subs.join(", "));
    row
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api-table.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == super::api_table(), "run `cargo run -p orlop-api --example api-table > docs/api-table.md`");
    }
}
