"""The environment variables that a step sees: the user's, without what only the process around it needs to know.

A variable that a model needs all the same is let through by whoever runs the farm, not by the manifest:
KILN_STEP_ENV holds names, separated by commas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ALLOWED = "KILN_STEP_ENV"
_SECRET = re.compile(
    r"(?i)TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|(^|_)(API_?)?KEY(_|$)|(^|_)AUTH(_|$)"
    r"|^(AWS|AZURE|GOOGLE|GCP|GCS|RAY|KUBERNETES|SSH|DOCKER|GITHUB|GH|GITLAB|CI_JOB)_|^KUBECONFIG$"
)
"""Names of variables that hold secrets, or tell where some are."""
_IN_VALUE = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
"""A URL with a password."""


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a step sees: all but those that hold secrets by their name or value."""
    allowed = {name.strip() for name in environment.get(ALLOWED, "").split(",")}
    return {
        name: value
        for name, value in environment.items()
        if name in allowed or not (_SECRET.search(name) or _IN_VALUE.search(value))
    }
