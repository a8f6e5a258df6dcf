"""Writes the schema table and its descriptions as JSON: `table.py CACHE MINOR FACTS OUT`.

CACHE holds the unpacked packages; `cargo xtask codegen` fetches them and compresses what this prints.
"""

import json
import os
import sys

import definitions
import protobuf
import resources

# Answered by /version only, which has no protobuf form.
JSON_ONLY = {"io.k8s.apimachinery.pkg.version.Info"}


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def main(cache, minor, facts_folder, out):
    facts, tag_facts, presence, openapi = (
        load(os.path.join(facts_folder, name)) for name in ("facts.json", "tags.json", "presence.json", "openapi.json")
    )
    schemas = os.path.join(cache, "kubernetes_validate", "kubernetes_validate", "kubernetes-json-schema")
    types, texts = definitions.read(os.path.join(schemas, "%s.0-local" % minor, "_definitions.json"), facts, presence, openapi)
    tags = protobuf.Tags(os.path.join(cache, "k8s-pb"), tag_facts["tags"])
    untagged = {row["n"]: missing for row in types if (missing := tags.apply(row)) and row["n"] not in JSON_ONLY}
    if untagged:
        sys.exit("tags.json lacks the protobuf tags of %s" % untagged)
    table = {
        "minor": minor,
        "types": types,
        "resources": resources.read(os.path.join(cache, "lightkube_models"), os.path.join(cache, "kubernetes"), facts),
    }
    for name, value in (("table", table), ("descriptions", texts)):
        with open(os.path.join(out, name + ".json"), "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main(*sys.argv[1:])
