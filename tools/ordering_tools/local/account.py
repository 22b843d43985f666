"""The AWS account that the local run plays."""

REGION = "us-east-1"
"""MiniStack keeps regions apart, so everything local must name the same one."""
ACCOUNT = "123456789012"
API = "local"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


def function_arn(name: str) -> str:
    """What a function's context says it was invoked as."""
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def method_arn(stage: str, method: str, path: str) -> str:
    """What an authorizer's policy is matched against."""
    return f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{API}/{stage}/{method}{path}"
