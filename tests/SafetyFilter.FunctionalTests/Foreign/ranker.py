"""A ranker in another language: nothing of ours but the .proto file.

usage: ranker.py HOST:PORT FOLDER_WITH_GENERATED_STUBS

Asks one page with Filter and three with FilterStream (the second is bad on purpose), over TCP, and prints what it read
as one JSON object.
"""

import json
import struct
import sys

import grpc

sys.path.insert(0, sys.argv[2])
from safetyfilter.v1 import filter_pb2, filter_pb2_grpc  # noqa: E402

DEADLINE_SECONDS = 30


def page(request_id, surface, titles):
    request = filter_pb2.FilterRequest(request_id=request_id, surface=surface, return_scores=True)
    request.viewer.territory = "DE"
    request.viewer.age_band = "adult"
    request.candidate_ids.extend(f"video:{i}" for i in range(len(titles)))
    request.languages.extend("en" for _ in titles)
    request.texts.add(name="text", values=titles)
    # Numbers go as raw little-endian bytes: no library is needed for that.
    numbers = [0.01 * (i % 7) for i in range(len(titles) * 128)]
    request.tensors.add(
        name="embedding",
        dtype=filter_pb2.DATA_TYPE_FLOAT32,
        shape=[len(titles), 128],
        data=struct.pack(f"<{len(numbers)}f", *numbers),
    )
    request.attributes.add(name="made_for_kids", flags=[True for _ in titles])
    return request


def decided(response):
    return {
        "requestId": response.request_id,
        "actions": [filter_pb2.Action.Name(action) for action in response.actions],
        "rules": [response.rules[index].id for index in response.rule_indexes],
        "bases": [filter_pb2.Basis.Name(basis) for basis in response.bases],
        "classifiers": [classifier.name for classifier in response.classifiers],
        "scores": list(response.scores),
        "policyRevision": response.policy_revision,
        "streamIdBytes": len(response.receipt.stream_id),
        "sequence": response.receipt.sequence,
        "leafHashBytes": len(response.receipt.leaf_hash),
    }


def refused(error):
    return {"requestId": error.request_id, "code": error.code, "message": error.message}


def main():
    with grpc.insecure_channel(sys.argv[1]) as channel:
        stub = filter_pb2_grpc.SafetyFilterStub(channel)
        titles = ["A slow train to Lisbon", "You pathetic idiot, shut up, nobody likes you", "Baking rye bread at home"]
        unary = stub.Filter(page("py-1", "for-you", titles), timeout=DEADLINE_SECONDS)
        try:
            stub.Filter(page("py-2", "no-such-surface", titles), timeout=DEADLINE_SECONDS)
            refusal = "none"
        except grpc.RpcError as error:
            refusal = f"{error.code().name}: {error.details()}"

        questions = [page("s-1", "for-you", titles), page("s-2", "no-such-surface", titles), page("s-3", "kids", titles[:1])]
        replies = stub.FilterStream(iter(questions), timeout=DEADLINE_SECONDS)
        stream = [decided(r.response) if r.WhichOneof("outcome") == "response" else refused(r.error) for r in replies]
    print(json.dumps({"unary": decided(unary), "refusal": refusal, "stream": stream}, allow_nan=False))


main()
