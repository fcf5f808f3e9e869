"""Files as accidents and strangers leave them: bytes changed, cut out, put in, lengths made huge."""

from hypothesis import strategies as st


@st.composite
def damaged(draw, whole):
    """Bytes with one to three such changes; half of them near the beginning, where headers lie."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)) | st.integers(0, min(len(data), 200)))
        end = draw(st.sampled_from([at, at + 1, at + 4, at + 8, len(data)]) | st.integers(at, max(at, len(data))))
        data[at:end] = draw(st.binary(max_size=8) | st.sampled_from([b"\xff" * 4, b"\xff" * 8, b"\0", b"[" * 2000]))
    return bytes(data)
