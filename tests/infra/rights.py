"""What each workload may do by IAM and which secrets it is handed, read from templates alone.

A right is an action on something, and under which condition. What it is on is named as the manifest names it:
`<objects>/*` for what lies in the bucket, `<key of objects>` for the key that the bucket is encrypted with.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple

from tests.infra.reachability import Network
from tests.infra.reading import Found, Templates, places_in

_OWN: Final = re.compile(r"arn:\{AWS::Partition\}:([\w-]+):\{AWS::Region\}:\{AWS::AccountId\}:")
_PLACE: Final = re.compile(r"\{([a-z-]+/\w+)(?:\.[\w.]+)?\}")
# What a store of a type is called; one of None by a property of its own.
_CALLED: Final[Mapping[str, str | None]] = {
    "AWS::Bedrock::KnowledgeBase": "knowledge-base",
    "AWS::RDS::DBCluster": "postgres",
    "AWS::Neptune::DBCluster": "neptune",
    "AWS::OpenSearchServerless::Collection": "opensearch",
    "AWS::DynamoDB::GlobalTable": None,
    "AWS::DynamoDB::Table": None,
    "AWS::SecretsManager::Secret": None,
    "AWS::S3::Bucket": None,
    "AWS::EFS::FileSystem": None,
    "AWS::EFS::AccessPoint": None,
    "AWS::Logs::LogGroup": None,
}


class Right(NamedTuple):
    """An action on something, and when: `""` for always."""

    action: str
    on: str
    when: str = ""

    def __str__(self) -> str:
        return f"{self.action} on {self.on}" + (f" when {self.when}" if self.when else "")


class Rights:
    """The rights of an assembly's workloads."""

    def __init__(self, templates: Templates, network: Network) -> None:
        self._read, self._network = templates, network

    def of_workloads(self) -> dict[str, frozenset[Right]]:
        """The rights of each workload's own role."""
        return {name: frozenset(self._of_role(role)) for name, role in self._roles().items()}

    def handed(self) -> dict[str, frozenset[str]]:
        """The names of the secrets that each workload is handed or may read: of its containers and of who starts it."""
        found: dict[str, frozenset[str]] = {}
        for each in self._read.of("AWS::ECS::TaskDefinition"):
            given = {
                self.named(self._read.text(each.part, secret["ValueFrom"]))
                for container in each.properties["ContainerDefinitions"]
                for secret in container.get("Secrets", ())
            }
            read = {
                right.on
                for place in self._read.places(each.part, each.properties.get("ExecutionRoleArn", ""))
                for right in self._of_role(place)
                if right.action == "secretsmanager:GetSecretValue"
            }
            found[self._network.task_name(each.place)] = frozenset(_secret(text) for text in (*given, *read))
        for document in self._network.documents("SecretProviderClass"):
            objects = json.loads(document["spec"]["parameters"]["objects"])
            names = frozenset(_secret(self.named(each["objectName"])) for each in objects)
            found[document["metadata"]["name"]] = names
        for deployment in self._network.documents("Deployment"):
            found.setdefault(deployment["metadata"]["name"], frozenset())
        return found

    def entitled(self, kind: str) -> frozenset[str]:
        """Who data policies of a collection name, as workloads; others by their place."""
        by_role = {place: name for name, place in self._roles().items()}
        return frozenset(
            by_role.get(place, place)
            for each in self._read.of("AWS::OpenSearchServerless::AccessPolicy")
            if each.properties.get("Type") == kind
            for rule in json.loads(self._read.text(each.part, each.properties["Policy"]))
            for principal in rule["Principal"]
            for place in places_in(principal) or (principal,)
        )

    def named(self, text: str) -> str:
        """A text with what it refers to by name."""
        short = _OWN.sub(r"\1:", text).replace("arn:{AWS::Partition}:", "arn:")
        return _PLACE.sub(lambda match: f"<{self._names.get(match[1], match[1])}>", short)

    def _roles(self) -> dict[str, str]:
        roles = {
            self._network.task_name(each.place): self._read.places(each.part, each.properties["TaskRoleArn"])[0]
            for each in self._read.of("AWS::ECS::TaskDefinition")
            if "TaskRoleArn" in each.properties
        }
        accounts = {
            (each.properties["Namespace"], each.properties["ServiceAccount"]): self._read.places(
                each.part, each.properties["RoleArn"]
            )[0]
            for each in self._read.of("AWS::EKS::PodIdentityAssociation")
        }
        for deployment in self._network.documents("Deployment"):
            where = deployment["metadata"]["namespace"]
            account = deployment["spec"]["template"]["spec"].get("serviceAccountName", "default")
            if (where, account) in accounts:
                roles[deployment["metadata"]["name"]] = accounts[where, account]
        return roles

    def _of_role(self, place: str) -> Iterator[Right]:
        for each in self._read.of("AWS::IAM::Role"):
            if each.place == place:
                for managed in self._read.texts(each.part, each.properties.get("ManagedPolicyArns", [])):
                    yield Right("everything of", managed)
                for policy in each.properties.get("Policies", ()):
                    yield from self._of_document(each, policy["PolicyDocument"])
        for each in self._read.of("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            attached = self._read.texts(each.part, each.properties.get("Roles", []))
            if any(place in places_in(text) for text in attached):
                yield from self._of_document(each, each.properties["PolicyDocument"])

    def _of_document(self, holder: Found, document: Mapping[str, Any]) -> Iterator[Right]:
        statements = document["Statement"]
        for statement in statements if isinstance(statements, list) else [statements]:
            if statement.get("Effect") != "Allow":
                continue
            when = self._when(holder, statement.get("Condition", {}))
            if "NotAction" in statement or "NotResource" in statement:
                yield Right("everything but", json.dumps(statement, sort_keys=True))
                continue
            for action in _each(statement["Action"]):
                for resource in self._read.texts(holder.part, statement["Resource"]):
                    yield Right(action, self.named(resource), when)

    def _when(self, holder: Found, condition: Mapping[str, Any]) -> str:
        return " and ".join(
            f"{key} is {' or '.join(self.named(text) for text in self._read.texts(holder.part, value))}"
            for operator in sorted(condition)
            for key, value in sorted(condition[operator].items())
        ).replace(".{AWS::Region}.{AWS::URLSuffix}", "")

    @cached_property
    def _names(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for each in self._read.of(*_CALLED):
            name = _CALLED[each.kind] or self._called(each)
            names[each.place] = name
            # A key is named by the store that is encrypted with it; all secrets share one.
            of = "secrets" if each.kind == "AWS::SecretsManager::Secret" else _store(name)
            for reference in _references(each.properties):
                for key in self._keys.intersection(self._read.places(each.part, reference)):
                    names.setdefault(key, f"key of {of}")
        return names

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(each.place for each in self._read.of("AWS::KMS::Key"))

    def _called(self, each: Found) -> str:
        properties = each.properties
        match each.kind:
            case "AWS::SecretsManager::Secret":
                return "secret " + self._read.text(each.part, properties["Name"]).rpartition("/secrets/")[2]
            case "AWS::S3::Bucket":
                return "objects" if each.part == "data" else each.place
            case "AWS::Logs::LogGroup":
                return "logs " + self._read.text(each.part, properties["LogGroupName"]).rpartition("/logs/")[2]
            case "AWS::EFS::FileSystem":
                return f"{'+'.join(self._network.mounting.get(each.place, ['nobody']))}-files"
            case "AWS::EFS::AccessPoint":
                [files] = self._read.places(each.part, properties["FileSystemId"])
                return f"entrance of {'+'.join(self._network.mounting.get(files, ['nobody']))}-files"
            case _:
                return self._table_name(each)

    def _table_name(self, each: Found) -> str:
        """A table as the parameter with its address calls it: AWS makes up its own name."""
        for parameter in self._read.of("AWS::SSM::Parameter"):
            if each.place in self._read.places(parameter.part, parameter.properties["Value"]):
                name = self._read.text(parameter.part, parameter.properties["Name"])
                if "/dynamodb/" in name:
                    return "table " + name.rpartition("/dynamodb/")[2]
        return each.place


def _store(name: str) -> str:
    kind = name.partition(" ")[0]
    return {"table": "dynamodb"}.get(kind, "files" if name.endswith("-files") else kind)


def _secret(text: str) -> str:
    """A secret's name, whichever key of it is meant."""
    match = re.search(r"<secret ([^>]+)>", text)
    return match[1] if match else text


def _each(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _references(value: Any) -> Iterator[Any]:
    """Every reference within a value."""
    if isinstance(value, Mapping):
        if len(value) == 1 and next(iter(value)) in ("Ref", "Fn::GetAtt", "Fn::ImportValue", "Fn::Join", "Fn::Sub"):
            yield value
        else:
            for each in value.values():
                yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)
