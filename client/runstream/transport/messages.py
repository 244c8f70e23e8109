"""Encodes the messages of an Append stream with many producers. The columns of batches are joined without decoding
them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from runstream._status import Failure, from_status
from runstream.transport.producer import Batch
from runstream.v1 import ingest_pb2, packed_pb2

METHOD = "/runstream.v1.IngestService/Append"
DECLARE_SERIES = 500  # series in one Declare: 500 keys of at most 1,000 bytes are far below any message limit
POINT_BYTES = 28
BATCH_BYTES = 24  # of a batch in a BatchSet, besides its points
MAX_AGE_US = 30 * 86_400 * 1_000_000  # a higher age of a batch is sent as this one

Response = ingest_pb2.AppendResponse


def open_producer(
    run_id: str, producer: bytes, rank: int, attempt: int, first_unacked: int, index: int, first_of_stream: bool
) -> bytes:
    """Encodes an Open. `first_of_stream`: it also says that the stream carries many producers."""
    request = ingest_pb2.AppendRequest(
        open=ingest_pb2.Open(
            run_id=run_id,
            producer_id=producer,
            rank=rank,
            attempt=attempt,
            first_unacked=first_unacked,
            producer_index=index,
            multiplexed=first_of_stream,
        )
    )
    return request.SerializeToString()


def declare(index: int, series: Sequence[tuple[int, str]]) -> list[bytes]:
    """Encodes Declare messages for these series, (index, key) each; each message is below the size limit."""
    messages = []
    for start in range(0, len(series), DECLARE_SERIES):
        declared = ingest_pb2.Declare(
            producer_index=index,
            series=[
                ingest_pb2.SeriesDeclaration(series_index=number, key=key)
                for number, key in series[start : start + DECLARE_SERIES]
            ],
        )
        messages.append(ingest_pb2.AppendRequest(declare=declared).SerializeToString())
    return messages


def close_producer(index: int) -> bytes:
    """Encodes a Close."""
    return ingest_pb2.AppendRequest(close=ingest_pb2.Close(producer_index=index)).SerializeToString()


def batch_set(batches: Sequence[tuple[int, int, Batch]], now_unix_us: int, now_s: float) -> bytes:
    """Encodes a BatchSet of batches, (producer index, number on the wire, batch) each. `now_unix_us` is the wall time,
    `now_s` the monotonic time."""
    count = len(batches)
    ages = [min(MAX_AGE_US, max(0, now_unix_us - batch.oldest_unix_us)) for _, _, batch in batches]
    message = packed_pb2.PackedBatchSet(
        producer_index=struct.pack(f"<{count}I", *(index for index, _, _ in batches)),
        number=struct.pack(f"<{count}Q", *(number for _, number, _ in batches)),
        point_count=struct.pack(f"<{count}I", *(batch.points for _, _, batch in batches)),
        oldest_age_us=struct.pack(f"<{count}Q", *ages),
        series_index=b"".join(batch.series_index for _, _, batch in batches),
        step=b"".join(batch.step for _, _, batch in batches),
        time_unix_us=b"".join(batch.time_unix_us for _, _, batch in batches),
        value=b"".join(batch.value for _, _, batch in batches),
    )
    return packed_pb2.PackedAppendRequest(batches=message, sent_us=round(now_s * 1e6)).SerializeToString()


def acks_of(response: Response) -> Iterable[ingest_pb2.Ack]:
    """The acknowledgements in a response."""
    return response.acks.acks if response.HasField("acks") else [response.ack] if response.HasField("ack") else []


def refusals_of(ack: ingest_pb2.Ack) -> list[tuple[str, int, str]]:
    """The refusals of an acknowledgement, as (reason, count, example)."""
    return [(_reason_name(one.reason), one.point_count, one.example) for one in ack.refusals]


def failure_of(ended: ingest_pb2.ProducerEnded) -> Failure:
    """Why one producer of a stream has ended."""
    return from_status(ended.status)


def _reason_name(reason: int) -> str:
    """The name of a reason in stats(): KEY_TOO_LONG becomes "key_too_long", an unknown number "reason_<number>"."""
    try:
        return ingest_pb2.RefusalReason.Name(reason).removeprefix("REFUSAL_REASON_").lower()
    except ValueError:
        return f"reason_{reason}"
