"""Types from the JSON Schema definitions that kubernetes-validate carries for each minor."""

import json

SPECIAL = {
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "Time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "MicroTime",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "Quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "IntOrString",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "RawExtension",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "FieldsV1",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": "Patch",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": "JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "JSONSchemaPropsOrStringArray",
}


def plain_type(schema):
    """The schema's type without the `null` that the package adds to optional fields."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next(k for k in kind if k != "null")
    return kind


def expression(schema, index):
    """A type as the table writes it: `string`, `@12` (a type's index), `[]string`, `{}@12`."""
    if "$ref" in schema:
        return "@%d" % index[schema["$ref"].rsplit("/", 1)[-1]]
    kind, form = plain_type(schema), schema.get("format")
    if kind == "array":
        return "[]" + expression(schema["items"], index)
    if kind == "object":
        inner = schema.get("additionalProperties")
        return "{}" + expression(inner, index) if isinstance(inner, dict) else "any"
    if kind == "integer":
        return form or "int64"
    if kind == "number":
        return "double"
    if kind == "string":
        return "bytes" if form == "byte" else "string"
    if kind == "boolean":
        return "bool"
    if kind is None:
        return "string" if "enum" in schema else "any"
    raise ValueError("no expression for %r" % schema)


def omits_zero(type_name, name, expression, required, presence):
    """Whether Go leaves the field out when it is zero or empty. References are never left out for being empty."""
    if expression.startswith("@") or name in presence["pointers"].get(type_name, ()):
        return False
    if name in presence["omitted"].get(type_name, ()):
        return True
    return not required and name not in presence["always"].get(type_name, ())


def field(name, schema, required, default, stated, index):
    """One field's row; absent attributes are left out."""
    row = {"n": name, "t": expression(schema, index)}
    if name in required:
        row["r"] = True
    for key, attribute in (
        ("lt", "x-kubernetes-list-type"),
        ("lk", "x-kubernetes-list-map-keys"),
        ("mt", "x-kubernetes-map-type"),
        ("ps", "x-kubernetes-patch-strategy"),
        ("mk", "x-kubernetes-patch-merge-key"),
    ):
        if attribute in schema:
            row[key] = schema[attribute]
    # The package narrows an object's apiVersion and kind to its own; Kubernetes does not.
    values = [v for v in schema.get("enum", []) if v is not None and name not in ("apiVersion", "kind")]
    values = stated["values"].get(name, values)
    if values:
        row["e"] = values
    if default is not None:
        row["d"] = default
    return row


def read(path, facts, presence, openapi):
    """All types of one minor, sorted by name, and their descriptions."""
    defaults = facts["defaults"]
    with open(path, encoding="utf-8") as file:
        definitions = json.load(file)["$defs"]
    definitions.update(facts["types"])
    names = sorted(definitions)
    index = {name: i for i, name in enumerate(names)}
    types, texts = [], {}
    for name in names:
        schema = definitions[name]
        row = {"n": name}
        if "x-kubernetes-group-version-kind" in schema:
            row["g"] = [[g["group"], g["version"], g["kind"]] for g in schema["x-kubernetes-group-version-kind"]]
        if "x-kubernetes-map-type" in schema:
            row["mt"] = schema["x-kubernetes-map-type"]
        if "x-kubernetes-unions" in schema:
            row["u"] = schema["x-kubernetes-unions"]
        if name in SPECIAL:
            row["s"] = SPECIAL[name]
        required = schema.get("required", [])
        given = {**openapi["defaults"].get(name, {}), **defaults.get(name, {})}
        stated = {key: openapi[key].get(name, {}) for key in ("values", "texts")}
        properties = schema.get("properties", {})
        unknown = set(given) - set(properties)
        if unknown:
            raise ValueError("facts.json has defaults for fields that %s lacks: %s" % (name, unknown))
        fields = [field(n, s, required, given.get(n), stated, index) for n, s in properties.items()]
        for f in fields:
            if f["n"] in presence["zeroTimes"].get(name, ()):
                f["nz"] = True
            if omits_zero(name, f["n"], f["t"], f.get("r", False), presence):
                f["z"] = True
        if fields:
            row["f"] = fields
        types.append(row)
        told = {"": schema.get("description", "")}
        told.update({n: s["description"] for n, s in properties.items() if "description" in s})
        told.update(stated["texts"])
        texts[name] = {"d": told.pop(""), "f": told}
    return types, texts
