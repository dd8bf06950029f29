"""Ask the OSV database (osv.dev) for known vulnerabilities of what scripts/constraints.txt pins: one request.

Exit status: 0 none known, or the database cannot be reached, which is said; 1 some are known; 2 it did not answer as it should.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

SERVICE = "https://api.osv.dev"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def main(service: str = SERVICE) -> int:
    """Print what is known, and return the exit status."""
    pins = PIN.findall((Path(__file__).parent / "constraints.txt").read_text())
    queries = [{"package": {"name": name.lower(), "ecosystem": "PyPI"}, "version": version} for name, version in pins]
    asked = urllib.request.Request(
        f"{service}/v1/querybatch", json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            results = json.load(answer)["results"]
    except (OSError, urllib.error.URLError) as exc:
        print(f"audit SKIPPED: {service} cannot be reached ({exc}); {len(pins)} packages were not looked up", file=sys.stderr)
        return 0
    except (ValueError, KeyError, TypeError) as exc:
        print(f"audit: {service} did not answer as OSV does ({exc!r})", file=sys.stderr)
        return 2
    if len(results) != len(pins):
        print(f"audit: {service} answered about {len(results)} of {len(pins)} packages", file=sys.stderr)
        return 2
    known = [
        (name, version, found["id"]) for (name, version), one in zip(pins, results, strict=True) for found in one.get("vulns", [])
    ]
    for name, version, vulnerability in known:
        print(f"audit: {name} {version} has a known vulnerability: https://osv.dev/{vulnerability}", file=sys.stderr)
    print(f"audit: {len(pins)} packages, {len(known)} known vulnerabilities")
    return int(bool(known))


if __name__ == "__main__":
    sys.exit(main(os.environ.get("OSV", SERVICE)))
