"""What SQS is asked for, which is paid for by the request."""

from brokers.sqs.predefined import PredefinedQueues


def test_a_queue_is_looked_for_when_kombu_connects_and_not_again_for_each_message() -> None:
    asked: list[str] = []

    def find_url(queue: str) -> str:
        asked.append(queue)
        return f"https://sqs/{queue}"

    queues = PredefinedQueues("ours-", ["orders"], find_url)
    for _ in range(2):
        assert dict(queues.items()) == {"ours-orders": {"url": "https://sqs/orders"}}
    assert asked == ["orders", "orders"]

    for name in ("ours-orders", "orders"):
        assert name in queues
        assert queues[name] == queues.get(name) == {"url": "https://sqs/orders"}
    assert "others" not in queues
    assert asked == ["orders", "orders"]
