"""The AWS account that the local run plays."""

REGION = "us-east-1"
"""MiniStack keeps regions apart, so everything local must name the same one."""
ACCOUNT = "123456789012"
ENGINE_ACCOUNT = "000000000000"
"""MiniStack keeps accounts apart too, and has everything of the local run under this one."""
API = "local"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


def function_arn(name: str) -> str:
    """What a function's context says it was invoked as."""
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def queue_arn(name: str) -> str:
    """What a queue of the engine is called by event sources, rules and redrive policies."""
    return f"arn:aws:sqs:{REGION}:{ENGINE_ACCOUNT}:{name}"


def queue_url(services: str, name: str) -> str:
    """What calls on a queue of the engine name it."""
    return f"{services}/{ENGINE_ACCOUNT}/{name}"


def bus_arn(name: str) -> str:
    """What an event bus of the engine is called by others."""
    return f"arn:aws:events:{REGION}:{ENGINE_ACCOUNT}:event-bus/{name}"


def key_alias(name: str) -> str:
    """What a key in KMS is called, whose id the engine makes up."""
    return f"alias/{name}"


def method_arn(stage: str, method: str, path: str) -> str:
    """What an authorizer's policy is matched against."""
    return f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{API}/{stage}/{method}{path}"
