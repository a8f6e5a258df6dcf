"""Resources, verbs and subresources from the paths of the Python client and the models of lightkube."""

import ast
import os
import re

VERBS = {
    "delete": "delete", "deletecollection": "deletecollection", "get": "get", "list": "list",
    "patch": "patch", "post": "create", "put": "update", "watch": "watch",
}
# What a connect subresource takes, as kube-apiserver registers it; the packages give the path only.
CONNECT = {
    "pods/attach": "PodAttachOptions", "pods/exec": "PodExecOptions", "pods/portforward": "PodPortForwardOptions",
    "pods/proxy": "PodProxyOptions", "services/proxy": "ServiceProxyOptions", "nodes/proxy": "NodeProxyOptions",
}


def string(node):
    return ast.literal_eval(node)


def classes(path):
    """Every `_api_info` of a lightkube module as `(namespaced, keywords)`."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    for item in tree.body:
        if not isinstance(item, ast.ClassDef):
            continue
        namespaced = "Namespaced" in ast.unparse(item.bases[0])
        for statement in item.body:
            if isinstance(statement, ast.Assign) and statement.targets[0].id == "_api_info":
                yield namespaced, {k.arg: k.value for k in statement.value.keywords}


def definition(node):
    return tuple(string(a) for a in node.args)


def read_lightkube(root):
    """`{(group, version, plural): resource}` with subresources."""
    found, subresources = {}, []
    folder = os.path.join(root, "lightkube", "resources")
    for name in sorted(os.listdir(folder)):
        for namespaced, info in classes(os.path.join(folder, name)):
            group, version, kind = definition(info["resource"])
            verbs = sorted({VERBS[v] for v in string(info["verbs"]) if v in VERBS})
            plural = string(info["plural"])
            if "action" in info:
                parent = definition(info["parent"])
                subresources.append((parent, plural, {"name": string(info["action"]), "g": group, "v": version, "kind": kind, "verbs": verbs}))
                continue
            found[(group, version, plural)] = {
                "g": group, "v": version, "plural": plural, "kind": kind, "ns": namespaced, "verbs": verbs, "sub": [],
            }
    # The client can ask to watch any list; kube-apiserver serves no watch for these.
    found[("", "v1", "componentstatuses")]["verbs"].remove("watch")
    for (group, version, _), plural, sub in subresources:
        found[(group, version, plural)]["sub"].append(sub)
    return found


def client_paths(root):
    """Every path of the Python client with its methods."""
    paths = {}
    folder = os.path.join(root, "kubernetes", "client", "api")
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            for path, method in re.findall(r"call_api\(\s*'([^']+)', '([A-Z]+)'", file.read()):
                paths.setdefault(path, set()).add(method)
    return paths


def add_connect(found, paths):
    """Adds exec, attach, port-forward and proxy, which lightkube leaves out."""
    for path in sorted(paths):
        match = re.fullmatch(r"/api/v1/(?:namespaces/\{namespace\}/)?(\w+)/\{name\}/(\w+)", path)
        if not match or "%s/%s" % match.groups() not in CONNECT:
            continue
        plural, name = match.groups()
        methods = paths[path]
        verbs = ["create", "get"] if methods == {"GET", "POST"} else ["create", "delete", "get", "patch", "update"]
        found[("", "v1", plural)]["sub"].append({"name": name, "g": "", "v": "v1", "kind": CONNECT["%s/%s" % (plural, name)], "verbs": verbs, "connect": True})


def read(lightkube, client, facts):
    """All resources in the order of groups, versions and names."""
    found = read_lightkube(lightkube)
    paths = client_paths(client)
    add_connect(found, paths)
    for (group, version, plural), row in found.items():
        prefix = "/api/v1" if not group else "/apis/%s/%s" % (group, version)
        collection = "%s/%s%s" % (prefix, "namespaces/{namespace}/" if row["ns"] else "", plural)
        if collection not in paths:
            raise ValueError("the Python client has no path %s" % collection)
        row["sub"].sort(key=lambda s: s["name"])
        row["singular"] = row["kind"].lower()
        for key in ("shortNames", "categories"):
            table = facts[key]
            value = table.get("%s/%s" % (group or "core", plural)) or table.get(plural)
            if value:
                row[key] = value
    return [found[k] for k in sorted(found)]
