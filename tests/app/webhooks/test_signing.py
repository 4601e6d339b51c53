"""Signatures by the published example of the specification."""

import base64

from app.webhooks import signing

# https://github.com/standard-webhooks/standard-webhooks, the example of its test suites
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_published_example():
    assert signing.sign(SECRET, MESSAGE, TIMESTAMP, BODY) == SIGNATURE


def test_every_part_is_signed():
    for changed in (
        (signing.new_secret(), MESSAGE, TIMESTAMP, BODY),
        (SECRET, "msg_2", TIMESTAMP, BODY),
        (SECRET, MESSAGE, TIMESTAMP + 1, BODY),
        (SECRET, MESSAGE, TIMESTAMP, BODY + b" "),
    ):
        assert signing.sign(*changed) != SIGNATURE


def test_two_secrets_sign_side_by_side():
    found = signing.headers([signing.new_secret(), SECRET], MESSAGE, TIMESTAMP, BODY)
    assert found["webhook-signature"].split(" ")[1] == SIGNATURE
    assert (found["webhook-id"], found["webhook-timestamp"]) == (MESSAGE, str(TIMESTAMP))


def test_secrets_are_long_and_differ():
    secrets = {signing.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    sizes = {len(base64.b64decode(secret.removeprefix("whsec_"))) for secret in secrets}
    assert sizes == {32}
