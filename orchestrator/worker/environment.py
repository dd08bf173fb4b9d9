"""The environment of a step: the user's, without what only this process needs to know.

A model's code is somebody else's. Credentials of the store, of Ray and of the cluster stay out of its
environment (plan/inputs/variables.py), and what holds them on disk is named here, so that the child can hide
it (confine.py).
"""

from __future__ import annotations

import os
import site
from collections.abc import Mapping
from pathlib import Path

from enginebundle.storage.home import home

_LIBRARY = Path(__file__).resolve().parents[2]
_FILES = (
    "~/.aws", "~/.azure", "~/.config/gcloud", "~/.ray", "~/.kube", "~/.docker", "~/.ssh", "~/.netrc",
    "~/.git-credentials", "~/.pypirc", "/var/run/secrets", "/run/secrets",
)  # fmt: skip
_POINTERS = (
    "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS", "RAY_AUTH_TOKEN_PATH", "KUBECONFIG",
)  # fmt: skip
"""Variables whose value is the path of a file with credentials."""


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
    """Files and folders that no step needs: the signing keys, and credentials in their usual places."""
    named = [os.environ[name] for name in _POINTERS if name in os.environ]
    paths = [str(home() / "key.pem"), str(home() / "keys"), *named, *_FILES]
    found = [os.path.abspath(os.path.expanduser(path)) for path in paths]
    return [path for path in dict.fromkeys(found) if os.path.exists(path)]
