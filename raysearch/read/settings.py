"""How products' bytes are fetched: what the store is told, and the processes to which it travels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from raysearch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """How products' bytes are fetched. Picklable: it travels to the process that opens the connections."""

    s3_endpoint: str = ""
    """Address of the S3 service, for example `http://127.0.0.1:9000`; empty: $AWS_ENDPOINT_URL, else Amazon's own."""
    s3_region: str = "us-east-1"
    """Where the buckets lie; those of MAST, IRSA and HEASARC lie here."""
    s3_signed: bool = False
    """Whether to sign with the user's AWS credentials (environment, ~/.aws, instance role); public buckets need none."""
    s3_client: Literal["obstore", "s3fs"] = "obstore"
    """Which library speaks S3; obstore took half of s3fs' CPU time a request (scripts/benchmarks/store.py)."""
    connect_timeout_s: float = 5.0
    """Longest wait for a connection."""
    read_timeout_s: float = 20.0
    """Longest silence of a connection: before the first byte, and between two."""
    request_timeout_s: float = 300.0
    """Longest that one request may take altogether."""
    retries: int = 4
    """Further attempts after time-outs, resets, 429 and 5xx."""
    retry_s: float = 60.0
    """No further attempt begins later than this after the first."""
    max_concurrent: int = 32
    """Requests under way at once at one host (of `s3://`: in one bucket); at some hosts fewer (`addresses.AT_ONCE`)."""
    hosts: tuple[str, ...] | None = None
    """Where addresses are an archive's: the only hosts of this machine's network to be asked; None: any, as the user gave them."""
    memory: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)
    """What `memory://` addresses hold, by full address."""

    def __post_init__(self) -> None:
        if self.s3_client not in {"obstore", "s3fs"}:
            raise ConfigError(f"s3_client = {self.s3_client!r}: it is 'obstore' or 's3fs'")
        for name in ("connect_timeout_s", "read_timeout_s", "request_timeout_s", "max_concurrent"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)}: it must be greater than 0")
        for name in ("retries", "retry_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} = {getattr(self, name)}: it must not be negative")

    def service(self, uri: str) -> str:
        """Return who is asked for an address: a host and its port, as messages name it."""
        if not uri.startswith("s3://"):
            return uri.partition("://")[2].partition("/")[0].rpartition("@")[2]
        return self.endpoint.partition("://")[2].partition("/")[0] or f"Amazon S3 ({self.s3_region})"

    @property
    def endpoint(self) -> str:
        """The S3 service's address, or an empty string for Amazon's own."""
        return self.s3_endpoint or os.environ.get("AWS_ENDPOINT_URL_S3", "") or os.environ.get("AWS_ENDPOINT_URL", "")
