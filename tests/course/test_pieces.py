"""A few pieces of every document, few enough for each domain."""

import pytest

from moe_course.pieces import sample_pieces


class Letters:
    """A tokenizer of letters: a is 1, b is 2."""

    pad_token_id = 0

    def __call__(self, texts, **options):
        assert options["add_special_tokens"] is False and options["split_special_tokens"] is True
        return {"input_ids": [[ord(letter) - 96 for letter in text] for text in texts]}


DOCUMENTS = {
    "text": ["aabbccddeeffg", "hi", "jjk", "llmmnn", "ooppqq"],
    "domain": ["art", "art", "code", "art", "art"],
}


def sampled(**options):
    usual = dict(length=2, shortest=2, per_document=3, per_domain=7)
    return sample_pieces(DOCUMENTS, Letters(), **usual | options)


def test_pieces_are_spread_over_their_document_and_short_rests_left_out():
    found = sampled()
    # seven parts, a step of two, the rest "g" is too short; "k" as well; the last would be too many
    letters = [["aa", "cc", "ee"], ["hi"], ["jj"], ["ll", "mm", "nn"]]
    words = [word for document in letters for word in document]
    assert found.input_ids.tolist() == [[ord(letter) - 96 for letter in word] for word in words]
    assert found.document.tolist() == [0, 0, 0, 1, 2, 3, 3, 3]
    assert found.domains == ["art"] * 4 + ["code"] + ["art"] * 3


def test_short_pieces_are_padded_and_batches_hold_them_all():
    found = sampled(shortest=1, per_document=9, per_domain=99)
    assert found.attention_mask.sum() == 13 + 2 + 3 + 6 + 6
    sizes = [len(ids) for ids, mask in found.batches(4) if ids.shape == mask.shape]
    assert sum(sizes) == len(found.domains) and set(sizes[:-1]) == {4}


def test_documents_that_are_all_too_short_are_named():
    with pytest.raises(ValueError, match="documents: got .*wants a document of 50 tokens"):
        sampled(shortest=50)
