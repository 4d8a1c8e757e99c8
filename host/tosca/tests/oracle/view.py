"""What tosca-parser makes of templates, as JSON, for the comparison with what Ostler makes of them.

Reads lines of JSON from standard input: {"path": a file, "inputs": {name: value}}. Writes a line for each:
{"nodes": ..., "groups": ..., "policies": ..., "outputs": ...} or {"refused": [messages]}.

tosca-parser resolves references; it leaves `concat` and `token` to who runs the template, so they are joined and split here.
"""

import json
import logging
import signal
import sys

from toscaparser.common.exception import ExceptionCollector
from toscaparser.functions import Concat, Function, Token, get_function, is_function
from toscaparser.tosca_template import ToscaTemplate

logging.disable(logging.CRITICAL)


def ask(compute):
    """tosca-parser reports what goes wrong to a collector, or not at all when that is off."""
    ExceptionCollector.start()
    try:
        value = compute()
        if ExceptionCollector.exceptionsCaught():
            raise ValueError("; ".join(ExceptionCollector.getExceptionsReport(False)))
        return value
    finally:
        ExceptionCollector.stop()


def resolve(value, topology, context):
    if isinstance(value, dict) and is_function(value):
        value = ask(lambda: get_function(topology, context, value))
    if isinstance(value, Concat):
        return "".join(text(resolve(part, topology, context)) for part in value.args)
    if isinstance(value, Token):
        whole, separator, index = (resolve(part, topology, context) for part in value.args[:3])
        return text(whole).split(separator)[index]
    if isinstance(value, Function):
        result = ask(value.result)
        # An attribute is known when the node runs.
        return {"unknown": value.name} if result is value else resolve(result, topology, context)
    if isinstance(value, dict):
        return {text(key): resolve(part, topology, context) for key, part in value.items()}
    if isinstance(value, list):
        return [resolve(part, topology, context) for part in value]
    return value


def text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def properties(entity, topology, context):
    found = {}
    for name, prop in entity.get_properties().items():
        value = resolve(prop.value, topology, context)
        if value is not None:
            found[name] = value
    return found


class Outputs(list):
    """tosca-parser tells by the list that it is about an output, and asks for a name when something is wrong."""

    name = "outputs"


def ancestors(definition):
    found = []
    while definition is not None:
        found.append(definition.type)
        definition = definition.parent_type
    return found


def view(path, inputs):
    template = ToscaTemplate(path, inputs)
    topology = template.topology_template
    nodes = {}
    for node in template.nodetemplates:
        nodes[node.name] = {
            "types": ancestors(node.type_definition),
            "requirements": sorted(
                [name, target["node"] if isinstance(target, dict) else target]
                for requirement in node.requirements
                for name, target in requirement.items()
            ),
            "relationships": sorted([kind.type, target.name] for kind, target in node.relationships.items()),
            "properties": properties(node, topology, node),
            "capabilities": {
                name: properties(capability, topology, node) for name, capability in node.get_capabilities().items()
            },
        }
    groups = {
        group.name: {"type": group.type, "members": sorted(node.name for node in group.member_nodes or [])}
        for group in topology.groups
    }
    policies = {
        policy.name: {
            "types": ancestors(policy.type_definition),
            "targets": sorted(policy.targets or []),
            "properties": resolve(policy.properties or {}, topology, policy),
        }
        for policy in template.policies
    }
    outputs = {output.name: resolve(output.value, topology, Outputs()) for output in template.outputs}
    return {"nodes": nodes, "groups": groups, "policies": policies, "outputs": outputs}


def answer(request):
    try:
        return view(request["path"], request["inputs"])
    except RecursionError:
        return {"refused": ["RecursionError"]}
    except Exception as error:  # All that it raises is its word about the template.
        return {"refused": [f"{type(error).__name__}: {error}".strip()]}


# Of some texts it goes round for ever: that ends everything, and is seen.
for line in sys.stdin:
    signal.alarm(20)
    print(json.dumps(answer(json.loads(line)), default=str), flush=True)
