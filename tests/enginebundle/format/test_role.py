"""What a key may sign, as the lines below it say."""

from __future__ import annotations

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.role import ROLES, Limit


@pytest.mark.parametrize(
    ("text", "roles", "names"),
    [
        ("", ROLES, ()),
        ("\n \r\n", ROLES, ()),
        ("may: evidence", ("evidence",), ()),
        ("may: aliases bundles", ("bundles", "aliases"), ()),
        (" may:evidence evidence\r\n", ("evidence",), ()),
        ("may: bundles evidence aliases revocations", ROLES, ()),
        ("names: minilm bert-*", ("bundles", "evidence", "aliases"), ("minilm", "bert-*")),
        ("names: *\nmay: revocations", ("revocations",), ("*",)),
    ],
)
def test_lines_that_limit_a_key(text: str, roles: tuple[str, ...], names: tuple[str, ...]) -> None:
    found = Limit.parse(text, "here")
    assert (found.roles, found.names) == (roles, names)
    assert Limit.parse(found.lines(), "here") == found, "what is written reads back"
    assert (found.lines() == "") == (found == Limit())


@pytest.mark.parametrize(
    "text",
    [
        "may", "may:", "may: ", "names:", "may evidence", "May: evidence", "my: evidence", "may: everything",
        "may: evidence, bundles", "may: evidence\nmay: bundles", "names: a\nnames: b", "names: ../x", "names: a/b",
        "names: [ab]", "names: a?", "names: -a", "names: .a", "ed25519 AAAA", "# a remark", "may: Evidence",
    ],
)  # fmt: skip
def test_a_slip_is_an_error_and_no_wider_limit(text: str) -> None:
    with pytest.raises(FormatError, match=r"here|may: |names: "):
        Limit.parse(text, "here")


@pytest.mark.parametrize(
    ("limit", "role", "name", "allowed"),
    [
        (Limit(), "bundles", "tiny", True),
        (Limit(), "revocations", "", True),
        (Limit.of(["evidence"]), "evidence", "tiny", True),
        (Limit.of(["evidence"]), "bundles", "tiny", False),
        (Limit.of(["evidence"]), "revocations", "", False),
        (Limit.of(None, ["bert-*"]), "bundles", "bert-base", True),
        (Limit.of(None, ["bert-*"]), "bundles", "bert", False),
        (Limit.of(None, ["bert-*"]), "bundles", "Bert-base", False),
        (Limit.of(None, ["bert-*", "tiny"]), "aliases", "tiny", True),
        (Limit.of(None, ["a.c"]), "bundles", "abc", False),
        (Limit.of(None, ["*"]), "revocations", "", False),
        (Limit.of(["revocations"], ["tiny"]), "revocations", "", True),
        (Limit.of(["revocations"], ["tiny"]), "bundles", "tiny", False),
    ],
)
def test_what_a_limit_allows(limit: Limit, role: str, name: str, allowed: bool) -> None:
    assert limit.allows(role, name) is allowed


def test_a_limit_says_what_it_allows() -> None:
    assert str(Limit.of(["evidence"])) == "evidence of any bundle"
    assert str(Limit.of(["aliases", "bundles"], ["a", "b-*"])) == "bundles, aliases of a, b-*"
    for given in ([], ["evidence", "nothing"]):
        with pytest.raises(FormatError) as caught:
            Limit.of(given)
        assert str(caught.value) == (
            f"may: expected some of bundles, evidence, aliases, revocations, got {' '.join(given)!r}"
        )
    assert not Limit.of(None, ["X*"]).allows("bundles"), "without a name, about none"
