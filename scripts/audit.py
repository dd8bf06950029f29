"""Ask the OSV database (osv.dev) for known vulnerabilities of what scripts/locks pins: one request.

What scripts/audit.toml accepts, with its reason, is told and counts no further. Exit status: 0 nothing else is known, or the
database cannot be reached, which is said; 1 something is known; 2 it did not answer as it should.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SERVICE = "https://api.osv.dev"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def main(service: str = SERVICE, accepted: Path = HERE / "audit.toml") -> int:
    """Print what is known, and return the exit status."""
    pins = [pin for lock in sorted((HERE / "locks").glob("*.txt")) for pin in PIN.findall(lock.read_text())]
    try:
        known = _known(service, pins)
    except (OSError, urllib.error.URLError) as exc:
        print(f"audit SKIPPED: {service} cannot be reached ({exc}); {len(pins)} packages were not looked up", file=sys.stderr)
        return 0
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        print(f"audit: {service} did not answer as OSV does ({exc!r})", file=sys.stderr)
        return 2
    reasons = tomllib.loads(accepted.read_text())["accepted"]
    for name, version, found in known:
        told = f"accepted: {reasons[found]}" if found in reasons else f"see https://osv.dev/{found}"
        print(f"audit: {name} {version} has a known vulnerability, {found}; {told}", file=sys.stderr)
    for gone in sorted(set(reasons) - {found for *_, found in known}):
        print(f"audit: scripts/audit.toml accepts {gone}, which is not known of these versions: take it out", file=sys.stderr)
    unaccepted = sum(found not in reasons for *_, found in known)
    print(f"audit: {len(pins)} packages, {len(known)} known vulnerabilities, {len(known) - unaccepted} of them accepted")
    return int(bool(unaccepted))


def _known(service: str, pins: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Return package, version and vulnerability of all that the database knows."""
    queries = [{"package": {"name": name.lower(), "ecosystem": "PyPI"}, "version": version} for name, version in pins]
    body = json.dumps({"queries": queries}).encode()
    asked = urllib.request.Request(f"{service}/v1/querybatch", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        results: list[dict[str, Any]] = json.load(answer)["results"]
    if len(results) != len(pins):
        raise ValueError(f"about {len(results)} of {len(pins)} packages")
    found = ((*pin, known["id"]) for pin, one in zip(pins, results, strict=True) for known in one.get("vulns", []))
    return list(found)


if __name__ == "__main__":
    sys.exit(main(os.environ.get("OSV", SERVICE)))
