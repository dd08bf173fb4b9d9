"""The environment of a step: the user's, without what only this process needs to know.

A model's code is somebody else's. Credentials of the store, of Ray and of the cluster stay out of its
environment, and what holds them on disk is named here, so that the child can hide it (confine.py).
A variable that a model needs all the same is let through by whoever runs the farm, not by the manifest:
KILN_STEP_ENV holds names, separated by commas.
"""

from __future__ import annotations

import os
import re
import site
from collections.abc import Mapping
from pathlib import Path

from enginebundle.storage.trust import home

ALLOWED = "KILN_STEP_ENV"
_LIBRARY = Path(__file__).resolve().parents[2]
_SECRET = re.compile(
    r"(?i)TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|(^|_)(API_?)?KEY(_|$)|(^|_)AUTH(_|$)"
    r"|^(AWS|AZURE|GOOGLE|GCP|GCS|RAY|KUBERNETES|SSH|DOCKER|GITHUB|GH|GITLAB|CI_JOB)_|^KUBECONFIG$"
)
"""Names of variables that hold secrets, or tell where some are."""
_IN_VALUE = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
"""A URL with a password."""
_FILES = (
    "~/.aws", "~/.azure", "~/.config/gcloud", "~/.ray", "~/.kube", "~/.docker", "~/.ssh", "~/.netrc",
    "~/.git-credentials", "~/.pypirc", "/var/run/secrets", "/run/secrets",
)  # fmt: skip
_POINTERS = (
    "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS", "RAY_AUTH_TOKEN_PATH", "KUBECONFIG",
)  # fmt: skip
"""Variables whose value is the path of a file with credentials."""


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a step sees: all but those that hold secrets by their name or value."""
    allowed = {name.strip() for name in environment.get(ALLOWED, "").split(",")}
    return {
        name: value
        for name, value in environment.items()
        if name in allowed or not (_SECRET.search(name) or _IN_VALUE.search(value))
    }


def python_path(environment: Mapping[str, str]) -> str:
    """PYTHONPATH for a step in another folder: the user's, made absolute, before anything of ours.

    This library is at its end, unless Python finds it there without: a step imports what the user imports.
    """
    given = environment.get("PYTHONPATH", "").split(os.pathsep)
    folders = [os.path.abspath(folder) for folder in given if folder]
    installed = [
        Path(folder).resolve() for folder in (*site.getsitepackages(), site.getusersitepackages())
    ]
    if _LIBRARY not in installed and str(_LIBRARY) not in folders:
        folders.append(str(_LIBRARY))
    return os.pathsep.join(folders)


def secret_files() -> list[str]:
    """Files and folders that no step needs: the signing key, and credentials in their usual places."""
    named = [os.environ[name] for name in _POINTERS if name in os.environ]
    paths = [str(home() / "key.pem"), *named, *_FILES]
    found = [os.path.abspath(os.path.expanduser(path)) for path in paths]
    return [path for path in dict.fromkeys(found) if os.path.exists(path)]
