"""Objects of S3, through one of two clients: each makes one attempt, without caches and retries of its own."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from raysearch.errors import ConfigError, ReadError
from raysearch.masking import masked
from raysearch.model import Usage
from raysearch.read import backend
from raysearch.read.backend import Backend, body_of, range_header, too_large
from raysearch.read.meanings import (
    Answer,
    RangeRefused,
    Span,
    TransientError,
    broken,
    is_strong,
    nothing,
    refusal,
    span_told,
    whole_size,
)
from raysearch.read.settings import StoreConfig

if TYPE_CHECKING:
    import obstore.store
    from obstore import GetOptions, ObjectMeta

CHUNK = 256 * 1024
"""Bytes taken at a time of a body that is not needed whole."""


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    if not bucket or not key:
        raise ReadError(f"{masked(uri)}: no S3 address; one reads s3://bucket/key")
    return bucket, key


def _version(about: ObjectMeta) -> str:
    """Return which version obstore's answer is of."""
    return about["e_tag"] or str(about["last_modified"])


def _user_credentials() -> Any:
    """Return botocore's credentials object (it renews itself): the same chain for both S3 clients."""
    import botocore.session

    credentials = botocore.session.Session().get_credentials()
    if credentials is None:
        raise ConfigError(
            "services.s3_signed = true, but there are no AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret"
        )
    return credentials


class Obstore(Backend):
    """S3 through obstore (Rust's object_store)."""

    def __init__(self, config: StoreConfig) -> None:
        super().__init__(config)
        self._stores: dict[str, obstore.store.S3Store] = {}

    async def fetch(self, uri: str, span: Span | None, usage: Usage, *, ranged: bool = True) -> Answer:
        """Return what one request brings."""
        from obstore.exceptions import BaseError

        bucket, key = _bucket_and_key(uri)
        if bucket not in self._stores:
            self._stores[bucket] = self._open(bucket)
        try:
            return await self._fetch(self._stores[bucket], key, uri, span, usage, ranged=ranged)
        except FileNotFoundError as exc:
            raise refusal(uri, 404) from exc
        except ValueError as exc:
            raise ReadError(f"{masked(uri)}: no usable S3 key (empty or relative parts)") from exc
        except BaseError as exc:
            raise self._translated(uri, str(exc)) from exc

    async def _fetch(
        self, store: obstore.store.S3Store, key: str, uri: str, span: Span | None, usage: Usage, *, ranged: bool
    ) -> Answer:
        import obstore
        from obstore.exceptions import BaseError

        known = usage.versions.get(uri, "")
        options: GetOptions = {"if_match": known} if is_strong(known) else {}
        try:
            result = await obstore.get_async(store, key, options={**options, "range": span} if span and ranged else options)
        except BaseError as exc:
            told = str(exc)
            if span and "status code: 416" in told and uri in usage.sizes:
                return Answer(b"")
            if span and ranged and ("status code: 416" in told or "NotPartial" in told):  # of the latter obstore drops the body
                raise RangeRefused from exc
            raise
        about = result.meta
        if span is None and about["size"] > backend.LARGEST_WHOLE:
            raise too_large(uri)
        if span and not ranged:
            return Answer(await body_of(uri, result.stream(CHUNK), span, None, usage), about["size"], _version(about))
        body = bytes(await result.bytes_async())
        usage.bytes_read += len(body)
        return Answer(body, about["size"], _version(about), result.range if span else None)

    @staticmethod
    def _translated(uri: str, text: str) -> Exception:
        """Return what obstore's message means: its exceptions do not carry the status, nor the headers."""
        status = re.search(r"status(?: code)?: (\d{3})", text)
        if status:
            return refusal(uri, int(status[1]))
        if "following redirect" in text:
            return broken(uri, text)
        if "BareRedirect" in text:
            return refusal(uri, 301)
        if "UnexpectedRange" in text:
            return TransientError("the server sent other bytes than those asked for")
        if re.search(r"kind: (Timeout|Connect|Request|Interrupted|Decode|Unknown)\b", text):
            return TransientError("no answer in time") if "kind: Timeout" in text else broken(uri, text)
        return ReadError(f"{masked(uri)}: {text.partition('Debug source')[0].strip()}")

    def _open(self, bucket: str) -> obstore.store.S3Store:
        from datetime import timedelta

        from obstore.store import S3Store

        config, endpoint = self.config, self.config.endpoint
        options: dict[str, Any] = {"region": config.s3_region}
        if endpoint:
            options["aws_endpoint_url_s3"] = endpoint  # "endpoint" would give way to the environment's, where run folders may lie
        if config.s3_signed:
            options["credential_provider"] = _credential_provider()
        else:
            options["skip_signature"] = True
        return S3Store(
            bucket,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=config.connect_timeout_s),
                "read_timeout": timedelta(seconds=config.read_timeout_s),
                "timeout": timedelta(seconds=config.request_timeout_s),
            },
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=config.request_timeout_s)},
            **options,
        )

    async def close(self) -> None:
        """Let go of the connections."""
        self._stores.clear()


def _credential_provider() -> Any:
    """Return what obstore calls for credentials: by itself it reads no ~/.aws."""
    from datetime import UTC, datetime, timedelta

    credentials = _user_credentials()

    def provide() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + timedelta(minutes=5),
        }

    return provide


class S3fs(Backend):
    """S3 through s3fs: its session and client, without its file objects, caches, HEADs and retries.

    A second try on a connection that the server has closed (aiohttp's own) cannot be seen, and is not counted.
    """

    def __init__(self, config: StoreConfig) -> None:
        import s3fs

        super().__init__(config)
        if config.s3_signed:
            _user_credentials()
        self._client: Any = None
        self._filesystem = s3fs.S3FileSystem(
            anon=not config.s3_signed,
            asynchronous=True,
            skip_instance_cache=True,
            endpoint_url=config.endpoint or None,
            client_kwargs={"region_name": config.s3_region},
            config_kwargs={
                "connect_timeout": config.connect_timeout_s,
                "read_timeout": config.read_timeout_s,
                "max_pool_connections": 0,
                "retries": {"total_max_attempts": 1, "mode": "standard"},
                "response_checksum_validation": "when_required",
                "s3": {"addressing_style": "path"},
            },
        )

    async def fetch(self, uri: str, span: Span | None, usage: Usage, *, ranged: bool = True) -> Answer:
        """Return what one request brings."""
        import aiohttp
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            async with asyncio.timeout(self.config.request_timeout_s):
                return await self._fetch(uri, span, usage, ranged=ranged)
        except ClientError as exc:
            about = exc.response["ResponseMetadata"]
            status, headers = about["HTTPStatusCode"], about.get("HTTPHeaders", {})
            if span and ranged and status == 416:
                return nothing(uri, headers.get("content-range", ""), usage)
            raise refusal(uri, status, headers.get("retry-after", "")) from exc
        except (BotoCoreError, aiohttp.ClientError, TimeoutError) as exc:
            cause = getattr(exc, "kwargs", {}).get("error")  # as botocore keeps it: `__context__` is the caller's to spoil
            raise broken(uri, f"{type(exc).__name__} {exc} {cause!r}") from exc

    async def _fetch(self, uri: str, span: Span | None, usage: Usage, *, ranged: bool) -> Answer:
        bucket, key = _bucket_and_key(uri)
        known = usage.versions.get(uri, "")
        asked = {"Range": range_header(span)} if span and ranged else {}
        asked |= {"IfMatch": known} if is_strong(known) else {}
        self._client = await self._filesystem.set_session()
        answer = await self._client.get_object(Bucket=bucket, Key=key, **asked)
        told = span_told(answer.get("ContentRange", "")) if span else None
        size = whole_size(answer.get("ContentRange", ""), answer.get("ContentLength"))
        async with answer["Body"] as stream:
            body = await body_of(uri, stream.iter_chunks(CHUNK), span, told, usage)
        return Answer(body, size, answer.get("ETag") or str(answer.get("LastModified") or ""), told)

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.close()
