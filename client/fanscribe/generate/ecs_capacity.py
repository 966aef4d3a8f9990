"""The machines of an ECS template: groups of spot instances with cards that grow from nothing. Pure."""

from collections.abc import Iterable

from fanscribe.generate.ecs_base import CAPACITY, CLUSTER, WORKER_GROUP, trust
from fanscribe.generate.ecs_boxes import CACHE, CACHE_UID, STOP_TIMEOUT_S, Box
from fanscribe.generate.ecs_names import Value, attribute, ref, resource, sub
from fanscribe.generate.ecs_scaling import bounds

INSTANCE_PROFILE = "InstanceProfile"

_AMI = "/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id"
_IMAGES_GB = 40
_MOST_AT_ONCE = 10

_START = f"""#!/bin/bash
cat >> /etc/ecs/ecs.config <<'END'
ECS_CLUSTER=${{{CLUSTER}}}
ECS_ENABLE_GPU_SUPPORT=true
ECS_ENABLE_SPOT_INSTANCE_DRAINING=true
ECS_CONTAINER_STOP_TIMEOUT={STOP_TIMEOUT_S}s
END
install --directory --owner={CACHE_UID} --group={CACHE_UID} {CACHE}
"""
_SHARE = """sed -i 's/^OPTIONS="/OPTIONS="--default-runtime nvidia /' /etc/sysconfig/docker
systemctl restart docker
"""
"""Containers that reserve no card see those of the machine only under this runtime."""


def parameters() -> dict[str, Value]:
    """What whoever makes the stack may choose."""
    return {
        "GpuImage": {"Type": "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>", "Default": _AMI},
        "OnDemandPercentage": {
            "Type": "Number",
            "Default": 0,
            "MinValue": 0,
            "MaxValue": 100,
            "Description": "How many of a hundred machines are not spot machines",
        },
    }


def resources(boxes: Iterable[Box]) -> dict[str, Value]:
    """The capacity of all boxes: those with the same instance types share theirs."""
    classes: dict[str, list[Box]] = {}
    for box in boxes:
        if box.types:
            classes.setdefault(box.capacity, []).append(box)
    providers = ["FARGATE", "FARGATE_SPOT", *(ref(name) for name in classes)]
    found = {
        CAPACITY: resource(
            "AWS::ECS::ClusterCapacityProviderAssociations",
            {
                "Cluster": ref(CLUSTER),
                "CapacityProviders": providers,
                "DefaultCapacityProviderStrategy": [{"CapacityProvider": "FARGATE", "Weight": 1}],
            },
        )
    }
    if classes:
        found |= _machine_role()
    for name, members in classes.items():
        found |= _class(name, members)
    return found


def _machine_role() -> dict[str, Value]:
    policy = "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
    role = {"AssumeRolePolicyDocument": trust("ec2.amazonaws.com"), "ManagedPolicyArns": [sub(policy)]}
    return {
        "InstanceRole": resource("AWS::IAM::Role", role),
        INSTANCE_PROFILE: resource("AWS::IAM::InstanceProfile", {"Roles": [ref("InstanceRole")]}),
    }


def _class(name: str, boxes: list[Box]) -> dict[str, Value]:
    disk_gb = _IMAGES_GB + max(sum(each.disk_gb for each in box.workers) for box in boxes)
    machine = {
        "ImageId": ref("GpuImage"),
        "IamInstanceProfile": {"Arn": attribute(INSTANCE_PROFILE, "Arn")},
        "SecurityGroupIds": [attribute(WORKER_GROUP, "GroupId")],
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"VolumeSize": disk_gb, "VolumeType": "gp3", "Encrypted": True},
            }
        ],
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "UserData": {"Fn::Base64": sub(_START + (_SHARE if boxes[0].shared else ""))},
    }
    template = f"{name}Template"
    mixed = {
        "InstancesDistribution": {
            "OnDemandBaseCapacity": 0,
            "OnDemandPercentageAboveBaseCapacity": ref("OnDemandPercentage"),
            "SpotAllocationStrategy": "price-capacity-optimized",
        },
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {
                "LaunchTemplateId": ref(template),
                "Version": attribute(template, "LatestVersionNumber"),
            },
            "Overrides": [{"InstanceType": each} for each in boxes[0].types],
        },
    }
    group = {
        "MinSize": "0",
        "MaxSize": str(sum(bounds(box.workers)[1] for box in boxes)),
        "VPCZoneIdentifier": ref("Subnets"),
        "NewInstancesProtectedFromScaleIn": True,
        "MixedInstancesPolicy": mixed,
        "Tags": [{"Key": "AmazonECSManaged", "Value": "true", "PropagateAtLaunch": True}],
    }
    provider = {
        "AutoScalingGroupArn": ref(f"{name}Group"),
        "ManagedScaling": {
            "Status": "ENABLED",
            "TargetCapacity": 100,
            "MinimumScalingStepSize": 1,
            "MaximumScalingStepSize": _MOST_AT_ONCE,
        },
        "ManagedTerminationProtection": "ENABLED",
        "ManagedDraining": "ENABLED",
    }
    return {
        template: resource("AWS::EC2::LaunchTemplate", {"LaunchTemplateData": machine}),
        f"{name}Group": resource("AWS::AutoScaling::AutoScalingGroup", group),
        name: resource("AWS::ECS::CapacityProvider", {"AutoScalingGroupProvider": provider}),
    }
