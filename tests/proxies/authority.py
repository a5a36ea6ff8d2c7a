"""An authority of the tests' own, and certificates signed by it, made with `openssl`."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")


@dataclass(frozen=True)
class Signed:
    """A certificate and its key; `both` is one file with the two."""

    certificate: Path
    key: Path
    both: Path


@dataclass(frozen=True)
class Authority:
    """Signs certificates; `certificate` is the file by which it is trusted."""

    folder: Path
    certificate: Path
    key: Path

    @staticmethod
    def made(folder: Path) -> Authority:
        made = Authority(folder, folder / "ca.pem", folder / "ca.key")
        made._request("ca", "/CN=authority of a test", "-addext", "keyUsage=critical,keyCertSign")
        return made

    def signed(self, name: str) -> Signed:
        """For 127.0.0.1, and for a client called `name`."""
        extensions = ("subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:FALSE")
        added = [word for extension in extensions for word in ("-addext", extension)]
        signer = ["-CA", str(self.certificate), "-CAkey", str(self.key)]
        certificate, key = self._request(name, f"/CN={name}", *added, *signer)
        both = self.folder / f"{name}.both.pem"
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        return Signed(certificate, key, both)

    def _request(self, name: str, subject: str, *more: str) -> tuple[Path, Path]:
        if shutil.which("openssl") is None:  # the gate installs it, and this lane is its own
            pytest.skip("openssl is not installed")
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        files = ["-keyout", str(key), "-out", str(certificate)]
        command = ["openssl", "req", "-x509", *_KEY, "-subj", subject, *files, *more]
        subprocess.run(command, check=True, capture_output=True)
        return certificate, key
