"""Checks manifests against the schemas of Kubernetes.

Reads from standard input a JSON object: for each version of Kubernetes (1.29), a list of [where, manifest]. Prints a line for
each mistake, an unknown kind and an unknown field among them.
"""

import importlib.util
import json
import pathlib
import re
import sys

import jsonschema
from referencing import Registry, Resource

# The package's files alone: its program takes an unknown kind for a good one.
PACKAGE = importlib.util.find_spec("kubernetes_validate")
HERE = pathlib.Path(PACKAGE.origin).parent / "kubernetes-json-schema"


def schemas(version):
    """The validator of each kind, made when it is first asked for."""
    folder = HERE / f"v{version}.0-local-strict"
    definitions = Resource.from_contents(json.loads((folder / "_definitions.json").read_text()))
    registry = definitions @ Registry()
    validators = {}

    def validator(manifest):
        # rbac.authorization.k8s.io/v1 is rbac-v1 there.
        api = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", manifest["apiVersion"])
        path = folder / f"{manifest['kind'].lower()}-{api}.json"
        if path not in validators:
            if not path.is_file():
                return None
            schema = json.loads(path.read_text())
            validators[path] = jsonschema.Draft202012Validator(
                schema, registry=Resource.from_contents(schema) @ registry
            )
        return validators[path]

    return validator


for version, manifests in json.load(sys.stdin).items():
    find = schemas(version)
    for where, manifest in manifests:
        validator = find(manifest)
        name = f"{where}: Kubernetes {version}: {manifest['kind']} {manifest['metadata']['name']}"
        if validator is None:
            print(f"{name}: there is no such kind in {manifest['apiVersion']}")
            continue
        for error in validator.iter_errors(manifest):
            print(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")
