"""The simulated AWS account of the local run: region, credentials, and the names of its resources."""

REGION = "us-east-1"
"""MiniStack separates regions, so everything in the local run must use the same one."""
ACCOUNT = "123456789012"
ENGINE_ACCOUNT = "000000000000"
"""MiniStack also separates accounts; it has all resources of the local run in this one."""
API = "local"
STACK = "ordering"
"""The stack's name, which `samconfig.toml` proposes for a deployment too."""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


def service_variables(endpoint: str, services: str) -> dict[str, str]:
    """The environment variables with which a function calls the engine: DynamoDB's endpoint, and that of the rest."""
    return {
        **CREDENTIALS,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": services,
        "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
    }


def function_arn(name: str) -> str:
    """The ARN of a function, as in its context."""
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def queue_arn(name: str) -> str:
    """The ARN of a queue, as in event sources, rules and redrive policies."""
    return f"arn:aws:sqs:{REGION}:{ENGINE_ACCOUNT}:{name}"


def queue_url(services: str, name: str) -> str:
    """The URL of a queue, for calls of SQS."""
    return f"{services}/{ENGINE_ACCOUNT}/{name}"


def key_alias(name: str) -> str:
    """The alias of one of the stack's KMS keys."""
    return f"alias/{STACK}-{name}"


def method_arn(stage: str, method: str, path: str) -> str:
    """The ARN of an API method, which an authorizer's policy is matched against."""
    return f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{API}/{stage}/{method}{path}"
