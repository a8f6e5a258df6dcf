"""Writes the schema table and its descriptions as JSON: `table.py CACHE MINOR FACTS OUT`.

CACHE holds the unpacked packages; `cargo xtask codegen` fetches them and compresses what this prints.
"""

import json
import os
import sys

import definitions
import protobuf
import resources


def main(cache, minor, facts_path, out):
    with open(facts_path, encoding="utf-8") as file:
        facts = json.load(file)
    with open(os.path.join(os.path.dirname(facts_path), "tags.json"), encoding="utf-8") as file:
        tag_facts = json.load(file)["tags"]
    schemas = os.path.join(cache, "kubernetes_validate", "kubernetes_validate", "kubernetes-json-schema")
    types, texts = definitions.read(os.path.join(schemas, "%s.0-local" % minor, "_definitions.json"), facts["defaults"])
    tags = protobuf.Tags(os.path.join(cache, "k8s-pb"), tag_facts)
    for row in types:
        missing = tags.apply(row)
        if missing:
            print("no protobuf tag: %s %s" % (row["n"], " ".join(missing)), file=sys.stderr)
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
