"""Which rows of a shard are likely among the worst of the whole: a part has the texts of their tokens, too.

Which tokens are the worst is known when all shards are there; by then nobody has a decoder, and ids alone are there.
"""

import heapq
import math
from collections.abc import Collection
from typing import Any

from predlog.numbers.snapshot import ShardRows


def suspicious(rows: ShardRows, shown: Collection[int], many: int, shift: int) -> list[dict[str, Any]]:
    """Return tokens that are not shown, without figures: at most three times as many as are asked for.

    The shard with a label's logit knows that its log-probability is at most the logit less the log-sum-exp of the
    shard: of those labels, twice as many. What is predicted there may be in another shard, which knows no more than
    that its own logits are large: of other labels, as many as have the largest log-sum-exp and different predictions.
    """
    own, others = [], []
    for place, row in enumerate(rows.rows):
        total = rows.peak[place] + rows.log_sum[place]
        if row in shown or math.isnan(total):
            continue
        label_logit = rows.label_logit[place]
        if math.isnan(label_logit):
            others.append((-total, place))
        else:
            own.append((label_logit - total, place))
    places = [place for _, place in heapq.nsmallest(2 * many, own)]
    known = {rows.prediction[place] for place in places}
    for _, place in heapq.nsmallest(4 * many, others):
        if len(places) < 3 * many and rows.prediction[place] not in known:
            known.add(rows.prediction[place])
            places.append(place)
    return [_token(rows, place, shift) for place in sorted(places)]


def _token(rows: ShardRows, place: int, shift: int) -> dict[str, Any]:
    unknown = ("label_logprob", "prediction_logprob", "label_rank", "input_text", "label_text", "prediction_text")
    prediction = rows.prediction[place]
    return {
        "slot": None,
        "position": rows.rows[place] + shift,
        "document": None if rows.documents is None else rows.documents[place],
        "document_position": None if rows.places is None else rows.places[place],
        "label": rows.labels[place],
        "prediction": prediction if prediction >= 0 else None,
        "match": False,
        "input": None if rows.inputs is None else rows.inputs[place],
        "alternatives": [],
        **dict.fromkeys(unknown),
    }
