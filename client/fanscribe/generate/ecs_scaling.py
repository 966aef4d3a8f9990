"""When a box of an ECS template gets workers, and when it loses them. Pure."""

import math

from fanscribe.generate.ecs_base import CLUSTER, metrics_namespace
from fanscribe.generate.ecs_names import Value, logical_id, ref, resource, sub
from fanscribe.generate.workers import WorkerSpec

QUEUED, JOBS, DIMENSION = "JobsQueued", "Jobs", "Endpoint"
"""What the platform publishes of each endpoint: see fanscribe.local.embedded_metrics, which tests compare."""

_PERIOD_S = 10
"""For both alarms, so that the one for an idle box ends before the one for a waiting job begins."""
_ROLE = (
    "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/aws-service-role/"
    "ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_ECSService"
)
"""The role that Amazon makes by itself for the scaling of ECS services."""

_STEPS = (1, 2, 4, 8)
"""Workers added at once, for a queue of at least so many workers' worth of jobs."""

MOST_ENDPOINTS = 9
"""A metric alarm takes ten metrics: one for each endpoint of a box, and their sum."""


def scaling(project: str, box: str, workers: tuple[WorkerSpec, ...], cooldown_s: int) -> dict[str, Value]:
    """Target, policies and alarms of a box's service.

    Workers are added while jobs wait longer than the file says, and all but the minimum go when no job has been there
    for the idle time: never while one runs, since ECS would not look for an idle one to end.
    """
    low, high = bounds(workers)
    service, target = f"{logical_id(box)}Service", f"{logical_id(box)}Scaling"
    out, back = f"{logical_id(box)}More", f"{logical_id(box)}Fewer"
    found: dict[str, Value] = {
        target: resource(
            "AWS::ApplicationAutoScaling::ScalableTarget",
            {
                "MinCapacity": low,
                "MaxCapacity": high,
                "ResourceId": sub(f"service/${{{CLUSTER}}}/${{{service}.Name}}"),
                "ScalableDimension": "ecs:service:DesiredCount",
                "ServiceNamespace": "ecs",
                "RoleARN": sub(_ROLE),
            },
        ),
        back: _policy(box, target, "fewer", "ExactCapacity", [_step(None, 0, low)], cooldown_s=0),
        f"{back}Alarm": resource("AWS::CloudWatch::Alarm", _idle_alarm(project, box, workers, back)),
    }
    for each in workers:
        name = f"{out}{logical_id(each.endpoint)}" if len(workers) > 1 else out
        size, delay_s = jobs_per_worker(each), queue_delay_s(each)
        edges = [(step - 1) * size for step in _STEPS]
        steps = [
            _step(edge, upper, step)
            for edge, upper, step in zip(edges, [*edges[1:], None], _STEPS, strict=True)
        ]
        found[name] = _policy(
            box, target, f"more-{each.endpoint}", "ChangeInCapacity", steps, cooldown_s=cooldown_s
        )
        found[f"{name}Alarm"] = resource(
            "AWS::CloudWatch::Alarm",
            {
                "AlarmDescription": f"Jobs wait for workers of {each.endpoint}",
                **_metric(project, each.endpoint, QUEUED),
                "Statistic": "Minimum",
                "Period": _PERIOD_S,
                "EvaluationPeriods": max(1, math.ceil(delay_s / _PERIOD_S)),
                "ComparisonOperator": "GreaterThanOrEqualToThreshold",
                "Threshold": 1,
                "TreatMissingData": "notBreaching",
                "AlarmActions": [ref(name)],
            },
        )
    return found


def bounds(workers: tuple[WorkerSpec, ...]) -> tuple[int, int]:
    """The fewest and the most tasks of a box: each task has one worker of each of its endpoints."""
    return max(each.workers_min for each in workers), max(each.workers_max for each in workers)


def jobs_per_worker(each: WorkerSpec) -> int:
    """How many waiting jobs ask for one more worker."""
    kind, _, value = each.scaling.partition("=")
    return int(value) if kind == "jobs_per_worker" else 1


def queue_delay_s(each: WorkerSpec) -> float:
    """How long a job waits before workers are added, in seconds."""
    kind, _, value = each.scaling.partition("=")
    return float(value) if kind == "queue_delay_s" else 0.0


def _policy(
    box: str, target: str, name: str, kind: str, steps: list[Value], *, cooldown_s: int
) -> dict[str, Value]:
    return resource(
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        {
            "PolicyName": f"{box}-{name}",
            "PolicyType": "StepScaling",
            "ScalingTargetId": ref(target),
            "StepScalingPolicyConfiguration": {
                "AdjustmentType": kind,
                "Cooldown": cooldown_s,
                "MetricAggregationType": "Minimum",
                "StepAdjustments": steps,
            },
        },
    )


def _step(lower: int | None, upper: int | None, adjustment: int) -> dict[str, Value]:
    step: dict[str, Value] = {"ScalingAdjustment": adjustment}
    if lower is not None:
        step["MetricIntervalLowerBound"] = lower
    if upper is not None:
        step["MetricIntervalUpperBound"] = upper
    return step


def _metric(project: str, endpoint: str, name: str) -> dict[str, Value]:
    return {
        "Namespace": metrics_namespace(project),
        "MetricName": name,
        "Dimensions": [{"Name": DIMENSION, "Value": endpoint}],
    }


def _idle_alarm(project: str, box: str, workers: tuple[WorkerSpec, ...], policy: str) -> dict[str, Value]:
    idle_s = max(each.idle_timeout_s for each in workers)
    alarm: dict[str, Value] = {
        "AlarmDescription": f"No job for {box}, waiting or running",
        "EvaluationPeriods": max(1, math.ceil(idle_s / _PERIOD_S)),
        "ComparisonOperator": "LessThanThreshold",
        "Threshold": 1,
        "TreatMissingData": "ignore",
        "AlarmActions": [ref(policy)],
    }
    if len(workers) == 1:
        metric = _metric(project, workers[0].endpoint, JOBS)
        return alarm | metric | {"Statistic": "Maximum", "Period": _PERIOD_S}
    metrics: list[Value] = [
        {
            "Id": f"m{number}",
            "MetricStat": {
                "Metric": _metric(project, each.endpoint, JOBS),
                "Period": _PERIOD_S,
                "Stat": "Maximum",
            },
            "ReturnData": False,
        }
        for number, each in enumerate(workers)
    ]
    total = "+".join(metric["Id"] for metric in metrics)
    return alarm | {"Metrics": [*metrics, {"Id": "jobs", "Expression": total, "ReturnData": True}]}
