"""The parts of an ECS template that every box needs: cluster, network names, roles, and the platform itself. Pure."""

import json
from typing import Any

from fanscribe.generate.compose import specs
from fanscribe.generate.ecs_names import Value, attribute, logical_id, ref, resource, sub
from fanscribe.generate.workers import PLATFORM, PORT, Deployment

KEY_PARAMETER = "PlatformKey"
LOGS = "Logs"
EXECUTION_ROLE = "ExecutionRole"
TASK_ROLE = "TaskRole"
WORKER_GROUP = "WorkerSecurityGroup"
PLATFORM_GROUP = "PlatformSecurityGroup"
CLIENT_GROUP = "ClientSecurityGroup"
CLUSTER = "Cluster"
CAPACITY = "Capacity"
"""The resource that gives the cluster its capacity providers: services must wait for it."""

_HEALTH = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{PORT}/ping', timeout=2)"
_ARN = "^arn:aws[a-z-]*:(secretsmanager|ssm):.+$"
_SPECS_ENTRY = "FANSCRIBE_SPECS"


def platform_url(project: str) -> str:
    """Where workers and clients within the network find the platform."""
    return f"http://{PLATFORM}.{namespace(project)}:{PORT}"


def namespace(project: str) -> str:
    """The private DNS zone of a project."""
    return f"{project}.fanscribe.internal"


def metrics_namespace(project: str) -> str:
    """The CloudWatch namespace of what the platform tells about its queues."""
    return f"fanscribe/{project}"


def secret_parameter(name: str) -> str:
    """The parameter that takes where a secret lies."""
    return logical_id("Secret", name)


def parameters(deployment: Deployment) -> dict[str, Value]:
    """What whoever makes the stack must say: the network, and where secrets lie; never a secret."""
    found: dict[str, Value] = {
        "Vpc": {"Type": "AWS::EC2::VPC::Id"},
        "Subnets": {
            "Type": "List<AWS::EC2::Subnet::Id>",
            "Description": "With a way out to the internet, for images and models",
        },
        "AssignPublicIp": {
            "Type": "String",
            "Default": "DISABLED",
            "AllowedValues": ["DISABLED", "ENABLED"],
            "Description": "ENABLED where the subnets have an internet gateway and no NAT",
        },
        KEY_PARAMETER: {
            "Type": "String",
            "AllowedPattern": _ARN,
            "Description": "ARN of the secret or parameter with the key that clients send: a text of your own choice",
        },
    }
    for name, endpoints in deployment.secrets().items():
        found[secret_parameter(name)] = {
            "Type": "String",
            "AllowedPattern": _ARN,
            "Description": f"ARN of the secret or parameter {name}, for {', '.join(endpoints)}",
        }
    return found


def resources(deployment: Deployment) -> dict[str, Value]:
    """Cluster, names, security groups, roles, logs, and the platform's service."""
    return {
        CLUSTER: resource("AWS::ECS::Cluster", {}),
        LOGS: {
            **resource("AWS::Logs::LogGroup", {"RetentionInDays": 30}),
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
        },
        **_network(deployment.project),
        **_roles(deployment),
        "PlatformTask": resource("AWS::ECS::TaskDefinition", _platform_task(deployment)),
        "PlatformService": resource("AWS::ECS::Service", _platform_service(), depends_on=CAPACITY),
    }


def outputs(deployment: Deployment) -> dict[str, Value]:
    """What users of the stack need to know of it."""
    return {
        "Url": {"Description": "FANSCRIBE_LOCAL_URL of clients", "Value": platform_url(deployment.project)},
        "ClientGroup": {
            "Description": "The security group of whoever may call the platform",
            "Value": ref(CLIENT_GROUP),
        },
        "WorkerRole": {
            "Description": "The role of workers: give it the right to read your buckets, for audio by s3://",
            "Value": ref(TASK_ROLE),
        },
    }


def log_configuration(prefix: str) -> Value:
    """A container's output as a log stream."""
    options = {
        "awslogs-group": ref(LOGS),
        "awslogs-region": ref("AWS::Region"),
        "awslogs-stream-prefix": prefix,
    }
    return {"LogDriver": "awslogs", "Options": options}


def named(values: dict[str, Any], key: str = "Value") -> list[Value]:
    """Environment or secrets as a task definition lists them."""
    return [{"Name": name, key: value} for name, value in sorted(values.items())]


def _network(project: str) -> dict[str, Value]:
    def from_group(group: str) -> Value:
        return {
            "IpProtocol": "tcp",
            "FromPort": PORT,
            "ToPort": PORT,
            "SourceSecurityGroupId": attribute(group, "GroupId"),
        }

    def group(description: str, **more: Value) -> Value:
        properties = {"GroupDescription": f"{project}: {description}", "VpcId": ref("Vpc"), **more}
        return resource("AWS::EC2::SecurityGroup", properties)

    ingress = [from_group(WORKER_GROUP), from_group(CLIENT_GROUP)]
    return {
        "Names": resource(
            "AWS::ServiceDiscovery::PrivateDnsNamespace", {"Name": namespace(project), "Vpc": ref("Vpc")}
        ),
        "PlatformName": resource(
            "AWS::ServiceDiscovery::Service",
            {
                "Name": PLATFORM,
                "NamespaceId": ref("Names"),
                "DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": 10}]},
                "HealthCheckCustomConfig": {"FailureThreshold": 1},
            },
        ),
        WORKER_GROUP: group("workers"),
        CLIENT_GROUP: group("who may call the platform"),
        PLATFORM_GROUP: group("the platform", SecurityGroupIngress=ingress),
    }


def _roles(deployment: Deployment) -> dict[str, Value]:
    secrets = [ref(name) for name in (KEY_PARAMETER, *map(secret_parameter, deployment.secrets()))]
    read = {
        "Effect": "Allow",
        "Action": ["secretsmanager:GetSecretValue", "ssm:GetParameters"],
        "Resource": secrets,
    }
    policy = {"Version": "2012-10-17", "Statement": [read]}
    execution = {
        "AssumeRolePolicyDocument": trust("ecs-tasks.amazonaws.com"),
        "ManagedPolicyArns": [
            sub("arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy")
        ],
        "Policies": [{"PolicyName": "secrets", "PolicyDocument": policy}],
    }
    return {
        EXECUTION_ROLE: resource("AWS::IAM::Role", execution),
        TASK_ROLE: resource("AWS::IAM::Role", {"AssumeRolePolicyDocument": trust("ecs-tasks.amazonaws.com")}),
    }


def trust(service: str) -> Value:
    """Who may take a role."""
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _platform_task(deployment: Deployment) -> dict[str, Value]:
    # A task has no file to give: the endpoints come as a variable and become one.
    start = (
        f'printf %s "${_SPECS_ENTRY}" > specs.json && exec python -m fanscribe.local --host 0.0.0.0 --port {PORT} '
        f"--url {platform_url(deployment.project)} --specs specs.json "
        f"--cloudwatch {metrics_namespace(deployment.project)}"
    )
    container = {
        "Name": PLATFORM,
        "Image": deployment.platform_image,
        "Command": ["sh", "-c", start],
        "Essential": True,
        "Environment": named({_SPECS_ENTRY: json.dumps(specs(deployment))}),
        "Secrets": named({"FANSCRIBE_LOCAL_KEY": ref(KEY_PARAMETER)}, "ValueFrom"),
        "PortMappings": [{"ContainerPort": PORT, "Protocol": "tcp"}],
        "HealthCheck": {
            "Command": ["CMD", "python", "-c", _HEALTH],
            "Interval": 10,
            "Timeout": 5,
            "Retries": 3,
            "StartPeriod": 30,
        },
        "LinuxParameters": {"InitProcessEnabled": True},
        "LogConfiguration": log_configuration(PLATFORM),
    }
    return {
        "Family": f"{deployment.project}-{PLATFORM}",
        "RequiresCompatibilities": ["FARGATE"],
        "NetworkMode": "awsvpc",
        "Cpu": "512",
        "Memory": "1024",
        # Recordings that are too long for a request lie on its disk for as long as they are worked on.
        "EphemeralStorage": {"SizeInGiB": 40},
        "ExecutionRoleArn": attribute(EXECUTION_ROLE, "Arn"),
        "ContainerDefinitions": [container],
    }


def _platform_service() -> dict[str, Value]:
    return {
        "Cluster": ref(CLUSTER),
        "TaskDefinition": ref("PlatformTask"),
        "CapacityProviderStrategy": [{"CapacityProvider": "FARGATE", "Weight": 1}],
        "DesiredCount": 1,
        # The queue is in its memory: never two at a time.
        "DeploymentConfiguration": {"MinimumHealthyPercent": 0, "MaximumPercent": 100},
        "NetworkConfiguration": awsvpc(PLATFORM_GROUP),
        "ServiceRegistries": [{"RegistryArn": attribute("PlatformName", "Arn")}],
    }


def awsvpc(group: str) -> Value:
    """The network of a Fargate task."""
    configuration = {
        "Subnets": ref("Subnets"),
        "SecurityGroups": [attribute(group, "GroupId")],
        "AssignPublicIp": ref("AssignPublicIp"),
    }
    return {"AwsvpcConfiguration": configuration}
