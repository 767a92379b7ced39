"""Promises of proxyapp.rules.masking: no secret of a URL is written down. See test_logformat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.masking import masked


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (b"/fetch?url=x&signature=0ab1&cache=1", b"/fetch?url=x&signature=***&cache=1"),
        (b"/fetch?signature=0ab1", b"/fetch?signature=***"),
        (b"http://s/x?X-Amz-Signature=1%2B2#f", b"http://s/x?X-Amz-Signature=***#f"),
        (b"/f?url=s%3FSignature%3Da%2Bb%26x", b"/f?url=s%3FSignature%3D***%26x"),
        (b"/fetch?url=http://u:p@a/&signature=1", b"/fetch?url=http://***@a/&signature=***"),
        (b"/f?SIGNATURE=0ab1", b"/f?SIGNATURE=***"),
        (b"/signature=1", b"/signature=1"),
        (b"/a?about=signature", b"/a?about=signature"),
    ],
)
def test_signatures(url: bytes, expected: bytes) -> None:
    """Whoever reads the log can't fetch what was signed for another."""
    assert masked(url) == expected


@given(st.binary(max_size=60))
def test_masking_again_changes_nothing(url: bytes) -> None:
    """What is masked has nothing more to mask."""
    assert masked(masked(url)) == masked(url)
