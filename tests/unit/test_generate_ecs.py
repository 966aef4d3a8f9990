"""The generated CloudFormation template: clean under cfn-lint, and made of the same endpoints, groups and facts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint.api import lint_all
from typer.testing import CliRunner

from fanscribe.cli import app
from fanscribe.cli.exits import Exit
from fanscribe.contracts.errors import UsageError
from fanscribe.generate import ecs_scaling
from fanscribe.generate.ecs import ecs
from fanscribe.generate.ecs_base import platform_url
from fanscribe.generate.ecs_machines import FARGATE_GIB, INSTANCES, fargate_size, instances
from fanscribe.generate.ecs_names import logical_id
from fanscribe.generate.workers import read_deployment
from fanscribe.local import embedded_metrics

FILE = """
[project]
name = "calls"
[images]
registry = "ghcr.io/you"
tag = "1.2.3"
[defaults]
workers = { min = 0, max = 4 }
[endpoints.turbo]
variant = "whisper-large-v3-turbo"
group = "speech"
idle_timeout_s = 90
[endpoints.speakers]
variant = "pyannote-community-1"
group = "speech"
secrets = { HF_TOKEN = "hf_token" }
workers = { min = 1, max = 2 }
[endpoints.align]
variant = "align-pocketsphinx-en"
group = "speech"
[endpoints.large]
variant = "whisper-large-v3"
gpus = ["ADA_24"]
scaling = { jobs_per_worker = 4 }
[endpoints.best-large]
variant = "whisper-large-v3"
gpus = ["AMPERE_24"]
[endpoints.diarize]
variant = "diarize-onnx"
cpu = ["cpu3c-4"]
scaling = { queue_delay_s = 25 }
[orchestrator]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "endpoints.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def template(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(text_of(file))
    return document


def text_of(file: Path) -> str:
    return ecs(read_deployment(file, None, platform_url("calls")))


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"][name]["Properties"]
    return found


def of_type(template: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == kind}


def test_cfn_lint_finds_nothing(file: Path) -> None:
    text = text_of(file)
    assert [str(each) for each in lint_all(text)] == []
    broken = text.replace("MaximumPercent", "MaximumPerCent", 1)
    assert lint_all(broken), "the check can fail"


def test_every_endpoint_is_a_container_of_its_groups_task(template: dict[str, Any]) -> None:
    tasks = of_type(template, "AWS::ECS::TaskDefinition")
    held = {name: [each["Name"] for each in task["ContainerDefinitions"]] for name, task in tasks.items()}
    assert held == {
        "PlatformTask": ["platform"],
        "SpeechTask": ["turbo", "speakers", "align"],
        "LargeTask": ["large"],
        "BestLargeTask": ["best-large"],
        "DiarizeTask": ["diarize"],
        "OrchestratorTask": ["orchestrator"],
    }
    assert set(of_type(template, "AWS::ECS::Service")) == {name.replace("Task", "Service") for name in tasks}
    (large,) = tasks["LargeTask"]["ContainerDefinitions"]
    assert large["Image"] == "ghcr.io/you/fanscribe-whisper:1.2.3"
    assert large["Command"][-7:] == [
        "--url",
        "http://platform.calls.fanscribe.internal:8008",
        "--endpoint",
        "large",
        "python",
        "-m",
        "fanscribe_handlers.whisper",
    ]
    told = {
        each["Name"]: each["Value"]
        for each in tasks["PlatformTask"]["ContainerDefinitions"][0]["Environment"]
    }
    names = [each["name"] for each in json.loads(told["FANSCRIBE_SPECS"])]
    assert names == ["turbo", "speakers", "align", "large", "best-large", "diarize", "orchestrator"]


def test_a_card_is_reserved_or_shared(template: dict[str, Any]) -> None:
    (large,) = properties(template, "LargeTask")["ContainerDefinitions"]
    assert large["ResourceRequirements"] == [{"Type": "GPU", "Value": "1"}]
    turbo, speakers, align = properties(template, "SpeechTask")["ContainerDefinitions"]
    assert all("ResourceRequirements" not in each for each in (turbo, speakers, align))

    def seen(container: dict[str, Any]) -> str | None:
        return {each["Name"]: each["Value"] for each in container["Environment"]}.get(
            "NVIDIA_VISIBLE_DEVICES"
        )

    assert (seen(turbo), seen(speakers), seen(align), seen(large)) == ("all", "all", "void", None)
    assert properties(template, "SpeechService")["PlacementConstraints"] == [{"Type": "distinctInstance"}]
    start = properties(template, "G4dnXlargeSharedCapacityTemplate")["LaunchTemplateData"]["UserData"]
    assert "--default-runtime nvidia" in start["Fn::Base64"]["Fn::Sub"]
    start = properties(template, "G6XlargeCapacityTemplate")["LaunchTemplateData"]["UserData"]
    assert "--default-runtime nvidia" not in start["Fn::Base64"]["Fn::Sub"]


def test_machines_are_chosen_by_memory_and_shared_by_boxes_of_one_kind(template: dict[str, Any]) -> None:
    groups = of_type(template, "AWS::AutoScaling::AutoScalingGroup")
    assert set(groups) == {"G4dnXlargeSharedCapacityGroup", "G6XlargeCapacityGroup"}
    kinds = {each.name: each for each in INSTANCES}
    for name, least_gb in (("G4dnXlargeSharedCapacityGroup", 10), ("G6XlargeCapacityGroup", 24)):
        policy = groups[name]["MixedInstancesPolicy"]
        types = [each["InstanceType"] for each in policy["LaunchTemplate"]["Overrides"]]
        assert all(kinds[each].card_gb >= least_gb for each in types)
        assert len(types) > 1, "one type alone is often not to be had as a spot machine"
        assert policy["InstancesDistribution"]["OnDemandBaseCapacity"] == 0
    assert groups["G6XlargeCapacityGroup"]["MaxSize"] == "8"
    assert properties(template, "LargeService")["CapacityProviderStrategy"] == [
        {"CapacityProvider": {"Ref": "G6XlargeCapacity"}, "Weight": 1}
    ]


def test_processors_are_fargate_spot_and_the_platform_is_not(template: dict[str, Any]) -> None:
    task = properties(template, "DiarizeTask")
    assert (task["Cpu"], task["Memory"]) == ("4096", "8192")
    strategies = {
        name: each["CapacityProviderStrategy"][0]["CapacityProvider"]
        for name, each in of_type(template, "AWS::ECS::Service").items()
    }
    assert strategies["DiarizeService"] == "FARGATE_SPOT"
    assert strategies["PlatformService"] == "FARGATE"
    only = properties(template, "PlatformService")
    assert (only["DesiredCount"], only["DeploymentConfiguration"]["MaximumPercent"]) == (1, 100)


def test_an_end_is_announced_and_waited_for(template: dict[str, Any]) -> None:
    for name, task in of_type(template, "AWS::ECS::TaskDefinition").items():
        for container in task["ContainerDefinitions"]:
            if name != "PlatformTask":
                assert container["StopTimeout"] == 120
                assert container["Command"][:3] == ["python", "-m", "fanscribe.local.external"]
            assert container["LinuxParameters"] == {"InitProcessEnabled": True}
    start = properties(template, "G6XlargeCapacityTemplate")["LaunchTemplateData"]["UserData"]
    assert "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true" in start["Fn::Base64"]["Fn::Sub"]
    for provider in of_type(template, "AWS::ECS::CapacityProvider").values():
        assert provider["AutoScalingGroupProvider"]["ManagedDraining"] == "ENABLED"


def test_workers_come_with_the_queue_and_go_when_nothing_is_left(template: dict[str, Any]) -> None:
    target = properties(template, "SpeechScaling")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    alarm = properties(template, "DiarizeMoreAlarm")
    assert (alarm["Namespace"], alarm["MetricName"]) == ("fanscribe/calls", "JobsQueued")
    assert alarm["Dimensions"] == [{"Name": "Endpoint", "Value": "diarize"}]
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 30, "25 s in whole periods"
    assert alarm["AlarmActions"] == [{"Ref": "DiarizeMore"}]
    steps = properties(template, "LargeMore")["StepScalingPolicyConfiguration"]["StepAdjustments"]
    assert [each["MetricIntervalLowerBound"] for each in steps] == [0, 4, 12, 28]
    assert [each["ScalingAdjustment"] for each in steps] == [1, 2, 4, 8]
    fewer = properties(template, "SpeechFewer")["StepScalingPolicyConfiguration"]
    assert fewer["AdjustmentType"] == "ExactCapacity"
    assert fewer["StepAdjustments"] == [{"ScalingAdjustment": 1, "MetricIntervalUpperBound": 0}]
    idle = properties(template, "SpeechFewerAlarm")
    assert idle["EvaluationPeriods"] == 9, "the longest idle time of the group, 90 s"
    assert idle["Metrics"][-1]["Expression"] == "m0+m1+m2"
    assert {each["MetricStat"]["Metric"]["MetricName"] for each in idle["Metrics"][:-1]} == {"Jobs"}


def test_alarms_watch_what_the_platform_publishes(template: dict[str, Any]) -> None:
    assert (ecs_scaling.QUEUED, ecs_scaling.JOBS) == (embedded_metrics.QUEUED, embedded_metrics.JOBS)
    assert ecs_scaling.DIMENSION == embedded_metrics.DIMENSION
    (platform,) = properties(template, "PlatformTask")["ContainerDefinitions"]
    assert "--cloudwatch fanscribe/calls" in platform["Command"][-1]


def test_secrets_are_arns_that_the_stack_is_given(template: dict[str, Any]) -> None:
    speakers = properties(template, "SpeechTask")["ContainerDefinitions"][1]
    assert speakers["Secrets"] == [
        {"Name": "FANSCRIBE_LOCAL_KEY", "ValueFrom": {"Ref": "PlatformKey"}},
        {"Name": "HF_TOKEN", "ValueFrom": {"Ref": "SecretHfToken"}},
    ]
    assert re.match(
        template["Parameters"]["SecretHfToken"]["AllowedPattern"], "arn:aws:ssm:eu-west-1:1:parameter/x"
    )
    (policy,) = properties(template, "ExecutionRole")["Policies"]
    assert policy["PolicyDocument"]["Statement"][0]["Resource"] == [
        {"Ref": "PlatformKey"},
        {"Ref": "SecretHfToken"},
    ]


def test_nothing_outside_the_network_reaches_the_platform(template: dict[str, Any]) -> None:
    for group in of_type(template, "AWS::EC2::SecurityGroup").values():
        for rule in group.get("SecurityGroupIngress", []):
            assert "SourceSecurityGroupId" in rule
            assert "CidrIp" not in rule


def test_without_cards_there_are_no_machines(file: Path) -> None:
    file.write_text('[project]\nname = "calls"\n[endpoints.diarize]\nvariant = "diarize-onnx"\n')
    document = yaml.safe_load(text_of(file))
    assert "GpuImage" not in document["Parameters"]
    assert not of_type(document, "AWS::AutoScaling::AutoScalingGroup")
    assert [str(each) for each in lint_all(text_of(file))] == []


@pytest.mark.parametrize(
    ("addition", "said"),
    [
        (
            '[endpoints.big]\nvariant = "whisper-large-v3"\ngpus = ["HOPPER_141"]',
            "big: no instance type has 1 x 141 GB",
        ),
        (
            '[endpoints.wide]\nvariant = "diarize-onnx"\ncpu = ["cpu3c-32"]',
            "wide: 32 vCPUs and 64 GB are more than",
        ),
        (
            '[endpoints.best_large]\nvariant = "whisper-base"',
            "names best-large and best_large: are one name on ECS",
        ),
        (
            "\n".join(f'[endpoints.e{n}]\nvariant = "diarize-onnx"\ngroup = "many"' for n in range(10)),
            "many: a group has at most 9 endpoints on ECS",
        ),
    ],
)
def test_what_ecs_cannot_run_is_named(addition: str, said: str, file: Path) -> None:
    file.write_text(f"{FILE}{addition}\n")
    done = CliRunner().invoke(app, ["generate", "ecs", "--endpoints", str(file)])
    assert done.exit_code == Exit.USAGE
    assert said in done.stderr


def test_the_smallest_machine_that_holds_a_box_comes_first() -> None:
    assert instances("box", 1, 6, 5)[0] == "g4dn.xlarge"
    assert instances("box", 1, 16, 20)[0] == "g4dn.2xlarge"
    assert instances("box", 2, 24, 20) == ("g6.12xlarge", "g5.12xlarge", "g6e.12xlarge")
    assert instances("box", 1, 80, 20) == ("p5.4xlarge",)
    assert fargate_size("box", 2, 4).memory == 4096
    assert fargate_size("box", 0.5, 4).cpu == 512
    assert fargate_size("box", 16, 100).memory == 96 * 1024, "93.1 GiB in steps of 8"
    for cpu, (least, most, step) in FARGATE_GIB.items():
        assert (most - least) % step == 0, cpu
    with pytest.raises(UsageError):
        fargate_size("box", 16, 200)


def test_logical_ids_are_letters_and_digits() -> None:
    assert logical_id("whisper-turbo", "v3.1") == "WhisperTurboV31"
