"""Protobuf tags from the Rust sources of k8s-pb, and the order of fields in Go's structs, which the messages keep."""

import os
import re

WIRE = {"int32", "int64", "bool", "string", "bytes", "double", "message"}


def messages(path):
    """`{message: [(field, kind, repeated, tag, message type)]}` of one generated file."""
    found, fields, attribute = {}, None, None
    with open(path, encoding="utf-8") as file:
        # rustfmt breaks long types over lines: join what follows an open angle bracket or a colon.
        text = re.sub(r"(?<=[:<,])\n\s+(?=::|super)|(?<=>),?\n\s+(?=>)|(?<=:)\n\s+", " ", file.read())
    for line in text.split("\n"):
        opening = re.match(r"\s*pub struct (\w+)\b", line)
        if opening:
            fields = found.setdefault(opening[1], [])
            continue
        marked = re.search(r"#\[prost\((.*)\)\]", line)
        if marked:
            attribute = marked[1]
            continue
        member = re.match(r"\s+pub (?:r#)?(\w+): +(.*),$", line)
        if member and fields is not None and attribute:
            tag = int(re.search(r'tag = "(\d+)"', attribute)[1])
            inner = re.findall(r"\w+", member[2])[-1]
            fields.append((member[1].replace("_", "").lower(), attribute.split(",")[0].split("=")[0].strip(), tag, inner))
            attribute = None
    return found


def flat(name):
    return re.sub(r"[-_$]", "", name).lower()


def inner_message(fields, name):
    """Whether a list of strings is a message of its own on the wire (Go's named slice types that may be nil)."""
    return any(n == flat(name) and kind == "message" for n, kind, _, _ in fields or [])


class Tags:
    """Looks tags up by type and field; `facts` carries what the package does not know yet."""

    def __init__(self, root, facts):
        self.root, self.facts, self.files = root, facts, {}

    def message(self, type_name):
        """The message of a type: its fields, and the messages of its file by lower-case name."""
        package = type_name.split(".")[2:-1]
        path = os.path.join(self.root, "src", *[p.replace("-", "_") for p in package], "mod.rs")
        if path not in self.files:
            self.files[path] = {n.lower(): f for n, f in messages(path).items()} if os.path.exists(path) else {}
        file = self.files[path]
        return file.get(flat(type_name.split(".")[-1])), file

    def collect(self, fields, file, properties, order, path, known):
        """Adds each field as `name: (order, tags)`. An embedded Go struct is a message on the wire and inline in JSON: its fields follow, with the
        tags on the way, and never hide a field of the outer message. What JSON knows as a property of its own is not inlined."""
        for position, (name, _, tag, _) in enumerate(fields):
            known.setdefault(name, (order + (position,), path + (tag,)))
        for position, (name, kind, tag, inner) in enumerate(fields):
            if name not in properties and len(path) < 2:
                self.collect(file.get(inner.lower(), []), file, properties, order + (position,), path + (tag,), known)

    def apply(self, row):
        """Puts tags into a type's row and orders its fields as Go does. Returns the names left without a tag."""
        fields, file = self.message(row["n"])
        known = {}
        self.collect(fields or [], file, {flat(f["n"]) for f in row.get("f", [])}, (), (), known)
        given = self.facts.get(row["n"], {})
        kind_of_top = "g" in row
        order, missing = {}, []
        for f in row.get("f", []):
            name = f["n"]
            if kind_of_top and name in ("kind", "apiVersion") and len(known.get(flat(name), ((), ()))[1]) != 1:
                order[name] = (-2 if name == "kind" else -1,)
                continue
            hit = given.get(name) or known.get(flat(name))
            if hit is None:
                order[name] = (1000,)
                missing.append(name)
                continue
            if name in given:
                path = hit if isinstance(hit, list) else [hit]
                hit = (tuple(tag - 1 for tag in path), path)
            order[name], path = hit
            f["p"] = path[-1]
            if len(path) > 1:
                f["pe"] = list(path[:-1])
            if f["t"] == "[]string" and inner_message(fields, name):
                f["pw"] = True
        row.get("f", []).sort(key=lambda f: order[f["n"]])
        return missing
