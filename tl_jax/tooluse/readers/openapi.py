"""Functions that ToolAlpaca describes in words or as operations of an OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.readers.fields import literal
from tl_jax.tooluse.readers.schemas import json_type
from tl_jax.tooluse.schema import DataError, Tool

_PARAMETER = re.compile(
    r"(?:Required\. ?)?(?P<type>[A-Za-z]\w*(?:\[[^\]]*\])?)\.\s*(?P<description>(?:One of: \[(?P<values>[^\]]*)\])?.*)",
    re.DOTALL,
)
_METHODS = ("get", "post", "put", "patch", "delete")


def described_function(name: str, text: Any, where: str) -> Tool:
    """A tool described as ``what it does``, ``Parameters: {name: "Required. type. what it is"}``, ``Output: ...``.

    Raises:
        DataError: the text has another form.
    """
    description, found, rest = f"\n{text}".partition("\nParameters:")
    if not isinstance(text, str) or not found:
        raise DataError("must be text with a line 'Parameters: {...}'", field=where)
    written, _, output = rest.partition("\nOutput:")
    parameters = literal(written, f"{where}: Parameters")
    if not isinstance(parameters, dict):
        raise DataError("must be an object", field=f"{where}: Parameters")
    properties = {key: described_parameter(spec) for key, spec in parameters.items()}
    required = [key for key, spec in parameters.items() if str(spec).startswith("Required")]
    schema = {"type": "object", "properties": properties, "required": required}
    return Tool(name, description.strip(), schema, {"x-output": output.strip()} if output.strip() else {})


def described_parameter(spec: Any) -> dict[str, Any]:
    """The schema of a parameter described as ``Required. string. One of: [a, b]. What it is.``"""
    match = _PARAMETER.fullmatch(str(spec))
    if not match:
        return {"description": str(spec), "x-spec": spec}
    schema = {key: value for key, value in json_type(match["type"]).items() if key != "x-type"}
    if match["values"]:
        schema["enum"] = [value.strip() for value in match["values"].split(",")]
    return {**schema, "description": match["description"].strip(), "x-spec": spec}


def operations(written: Any) -> dict[tuple[str, str], tuple[str, Mapping[str, Any]]]:
    """(path, method) -> name and operation of an OpenAPI document as JSON text; empty if it is none.

    An operation without a name is called after its path.
    """
    try:
        document = literal(written, "") if isinstance(written, str) else None
    except DataError:
        document = None
    paths = document.get("paths") if isinstance(document, dict) else None
    found: dict[tuple[str, str], tuple[str, Mapping[str, Any]]] = {}
    for path, methods in (paths if isinstance(paths, dict) else {}).items():
        for method, operation in (methods if isinstance(methods, dict) else {}).items():
            if method.lower() in _METHODS and isinstance(operation, dict):
                name = re.sub(r"[{}]", "", path).strip("/").replace("/", "_") + f"_{method.lower()}"
                found[path, method.lower()] = (str(operation.get("operationId") or name), operation)
    return found


def described_operation(name: str, operation: Mapping[str, Any]) -> Tool:
    """An operation as a tool: its parameters and the fields of its JSON body."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter in operation.get("parameters") or []:
        if isinstance(parameter, dict) and isinstance(parameter.get("name"), str):
            properties[parameter["name"]] = _field(parameter.get("schema"), parameter.get("description"))
            required += [parameter["name"]] if parameter.get("required") else []
    body = operation.get("requestBody")
    for key in ("content", "application/json", "schema"):
        body = body.get(key) if isinstance(body, dict) else None
    if isinstance(body, dict) and isinstance(body.get("properties"), dict):
        properties |= {key: _field(spec, None) for key, spec in body["properties"].items()}
        required += [key for key in body.get("required") or [] if isinstance(key, str)]
    description = operation.get("summary") or operation.get("description") or ""
    return Tool(name, str(description), {"type": "object", "properties": properties, "required": required})


def _field(schema: Any, description: Any) -> dict[str, Any]:
    schema = schema if isinstance(schema, dict) else {}
    kept = {key: schema[key] for key in ("type", "enum", "items") if key in schema}
    text = description or schema.get("description")
    return {**kept, "description": text} if isinstance(text, str) else kept
