"""What is special about each kind of tokenizer, and how one is chosen."""

from __future__ import annotations

import _thread
import json
import os
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest
import regex

from sunfish.tokenizers import END_OF_TEXT, build_tokenizer, native, tokenizer_kinds
from sunfish.tokenizers.native import NativePanic, guarded, interruptible
from sunfish.tokenizers.pretrained import read
from sunfish.utils import UsageError
from tests.packages import run_in_copy

TEXTS = ["the cat sat on the mat and the dog sat on the cat"] * 10


def test_kinds_are_the_files_of_the_folder() -> None:
    assert tokenizer_kinds() == ["bpe", "bytes", "characters"]


def test_a_file_that_is_added_is_found(tmp_path: Path) -> None:
    kind = """
from sunfish.tokenizers.bytes import build as build_bytes

def build(name, vocab_size, texts):
    assert list(texts) == ["learned from"]
    return build_bytes("bytes", vocab_size, [])
"""
    program = """
from sunfish.tokenizers import build_tokenizer, tokenizer_kinds, whole_corpus

print(build_tokenizer("letters", 300, ["learned from"]).size, whole_corpus("letters"), *tokenizer_kinds())
"""
    output = run_in_copy(tmp_path, {"tokenizers/letters.py": kind}, program)
    assert output == "257 False bpe bytes characters letters"


def test_an_unknown_kind_names_the_choices() -> None:
    with pytest.raises(UsageError, match=r"'bqe'.*bpe, bytes, characters.*tokenizer.json"):
        build_tokenizer("bqe", 300, TEXTS)
    with pytest.raises(UsageError, match="neither"):
        build_tokenizer("", 300, TEXTS)


def test_bpe_keeps_to_the_size_and_shortens_text() -> None:
    bpe = build_tokenizer("bpe", 280, TEXTS)
    assert 257 < bpe.size <= 280
    assert len(bpe.encode(TEXTS[0])) < len(TEXTS[0]) / 2
    # A poor corpus has no more pieces to offer.
    assert build_tokenizer("bpe", 100_000, TEXTS).size < 400


def test_bpe_does_not_depend_on_anything_but_its_texts() -> None:
    first, second = (build_tokenizer("bpe", 280, TEXTS).engine.to_str() for _ in range(2))
    assert first == second


def pieces(text: str) -> list[str]:
    """What merges of BPE stay within, as decoded text."""
    engine = build_tokenizer("bytes", 257, []).engine
    cuts = [offsets for _, offsets in engine.pre_tokenizer.pre_tokenize_str(text)]
    return [text[first:last] for first, last in cuts]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    "text",
    ["किसान ने रोटी देखी", "নৌকা পাখি", "قِطَارٌ مَدِينَةٌ", "סְפִינָה", "고양이가 개를", "Größe naïve Việt", "کتاب‌خانه"],
)
def test_a_word_with_its_marks_is_one_piece(text: str, form: str) -> None:
    text = unicodedata.normalize(form, text)
    assert pieces(text) == regex.findall(r" ?[^ ]+", text)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("It's 1234567 don't", ["It", "'s", " 123", "456", "7", " don", "'t"]),
        ("a  b\n\n c!?", ["a", " ", " b", "\n\n", " c", "!?"]),
        ("❤\ufe0fabc 👩‍👧", ["❤\ufe0f", "abc", " 👩‍👧"]),
    ],
)
def test_pieces_of_numbers_spaces_and_emoji(text: str, expected: list[str]) -> None:
    assert [piece for piece in pieces(text) if piece] == expected


@pytest.mark.parametrize(
    "unit",
    ["ACGT", "a", "7", " ", "\n", "\t ", "!", "日本語", "ก้", "e\u0301", "\u0301", "👩\u200d👧", "aB3/"],
)
def test_no_piece_is_long_whatever_the_text(unit: str) -> None:
    """Merging is quadratic in a piece, so their length bounds the time."""
    text = unit * 3000
    assert "".join(pieces(text)) == text
    assert max(map(len, pieces(text))) <= 64 * 3
    tokenizer = build_tokenizer("bpe", 400, [text])
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    "text",
    ["👩‍👩‍👧‍👦", "🇩🇪🇫🇷🇯🇵", "👍🏽👍🏿", "❤️‍🔥", "1️⃣", "\ufeffBOM\ufeff", "\u202eabc\u202c", "e\u0301" * 99],
)
@pytest.mark.parametrize("kind", ["bpe", "bytes", "characters"])
def test_sequences_of_emoji_and_marks_come_back(kind: str, text: str) -> None:
    tokenizer = build_tokenizer(kind, 400, [text, text])
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("written,typed", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_prompt_is_tried_in_the_other_normal_form_and_a_text_names_it(written: str, typed: str) -> None:
    word = "café Ångström 고양이"
    tokenizer = build_tokenizer("characters", 400, [unicodedata.normalize(written, word)])
    other = unicodedata.normalize(typed, word)
    assert tokenizer.encode_prompt(other) == tokenizer.encode(unicodedata.normalize(written, word))
    with pytest.raises(ValueError, match=rf"U\+.*in the form {written}"):
        tokenizer.encode(other)
    with pytest.raises(ValueError, match=r"'ж' \(U\+0436\)"):
        tokenizer.encode_prompt("ж")


def test_ctrl_c_ends_a_long_call() -> None:
    finished = threading.Event()
    timer = threading.Timer(0.2, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        interruptible(lambda: finished.wait(60))
    finished.set()
    timer.join()


@pytest.mark.parametrize("is_running,code,written", [(True, 130, "said"), (False, 7, "saidlater")])
def test_the_program_exits_at_once_only_while_an_interrupted_call_runs(
    is_running: bool, code: int, written: str
) -> None:
    program = (
        "import _thread, atexit, sys, threading\n"
        "from sunfish.tokenizers.native import interruptible\n"
        "atexit.register(print, 'later', end='')\n"
        "finished, ended = threading.Event(), threading.Event()\n"
        "threading.Timer(0.2, _thread.interrupt_main).start()\n"
        "try:\n"
        "    interruptible(lambda: (finished.wait(60), ended.set()))\n"
        "except KeyboardInterrupt:\n"
        "    print('said', end='')\n"
        f"if not {is_running}:\n"
        "    finished.set()\n"
        "    ended.wait(60)\n"
        "    [t.join() for t in threading.enumerate() if t is not threading.current_thread()]\n"
        "sys.exit(7)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (code, written), run.stderr


@pytest.mark.parametrize("fault", [OSError("gone"), ValueError("closed"), None])
def test_an_output_that_nobody_reads_keeps_no_program_alive(
    monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    class Unread:
        def flush(self) -> None:
            assert fault is not None
            raise fault

    codes: list[int] = []
    monkeypatch.setattr(sys, "stdout", None if fault is None else Unread())
    monkeypatch.setattr(os, "_exit", codes.append)
    native._exit_unless(threading.Event(), 130)
    assert codes == [130]


def test_training_passes_on_the_errors_of_its_texts() -> None:
    def texts():
        yield "a text"
        raise UsageError("the second text is damaged")

    with pytest.raises(UsageError, match="the second text"):
        build_tokenizer("bpe", 300, texts())


def test_a_panic_of_the_library_is_an_error_and_an_interruption_stays_one() -> None:
    class PanicException(BaseException):
        """As the library's."""

    def fail(error: BaseException):
        raise error

    with pytest.raises(NativePanic, match="two lines"):
        guarded(lambda: fail(PanicException("two\nlines")))
    with pytest.raises(KeyboardInterrupt):
        guarded(lambda: fail(KeyboardInterrupt()))


@pytest.mark.parametrize("size", [1_000_000, 2**40])
def test_an_enormous_vocabulary_is_learned_as_far_as_the_text_goes(size: int) -> None:
    assert build_tokenizer("bpe", size, TEXTS).size == build_tokenizer("bpe", 1000, TEXTS).size


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_a_vocabulary_without_room_for_bytes_is_an_error(kind: str) -> None:
    with pytest.raises(UsageError, match=r"vocab_size is 256.*257"):
        build_tokenizer(kind, 256, TEXTS)


def test_bytes_has_one_id_a_byte() -> None:
    tokenizer = build_tokenizer("bytes", 8192, [])
    assert tokenizer.size == 257
    for text in ("abc", "日本", "a b  c\n", "don't"):
        assert len(tokenizer.encode(text)) == len(text.encode())


def test_characters_has_one_id_a_character_and_refuses_others() -> None:
    tokenizer = build_tokenizer("characters", 8192, ["abc 日\n"])
    assert tokenizer.size == 7
    assert len(tokenizer.encode("cab\n日 ")) == 6
    with pytest.raises(ValueError, match=r"'x' \(U\+0078\) at position 2.*bpe or bytes"):
        tokenizer.encode("abx")
    assert build_tokenizer("characters", 4, ["aaabbc"]).decode([1, 2, 3]) == "abc"
    with pytest.raises(UsageError, match=r"vocab_size is 3, .*3 different characters; give --vocab_size 4,"):
        build_tokenizer("characters", 3, ["aaabbc"])
    with pytest.raises(ValueError, match="no characters"):
        build_tokenizer("characters", 3, [])


def test_a_vocabulary_without_end_mark_gets_one(tmp_path: Path) -> None:
    symbols = json.loads(build_tokenizer("bytes", 300, []).engine.to_str())["model"]["vocab"]
    symbols = {s: i for i, s in enumerate(sorted(set(symbols) - {END_OF_TEXT}))}
    (tmp_path / "vocab.json").write_text(json.dumps(symbols))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = build_tokenizer(str(tmp_path), 300, [])
    assert (tokenizer.size, tokenizer.end) == (257, 256)
    assert tokenizer.decode(tokenizer.encode("a b")) == "a b"


def test_a_folder_without_a_vocabulary_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("nothing")
    with pytest.raises(UsageError, match=r"holds readme.md; it needs tokenizer.json, or encoder.json"):
        build_tokenizer(str(tmp_path), 300, [])


def gpt2_folder() -> Path | None:
    folder = os.environ.get("SUNFISH_GPT2_VOCABULARY")
    return Path(folder) if folder else None


@pytest.mark.skipif(
    gpt2_folder() is None, reason="set SUNFISH_GPT2_VOCABULARY to the folder of GPT-2's vocabulary"
)
def test_gpt2_vocabulary_gives_gpt2_ids() -> None:
    tokenizer = build_tokenizer(str(gpt2_folder()), 50_257, [])
    assert (tokenizer.size, tokenizer.end) == (50_257, 50_256)
    assert tokenizer.encode("Hello world") == [15496, 995]
    assert tokenizer.encode("Hello, I'm a language model,") == [15496, 11, 314, 1101, 257, 3303, 2746, 11]


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt"])
def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    for file in (name, "vocab.json", "merges.txt"):
        (tmp_path / file).write_text("{}")
    os.truncate(tmp_path / name, 2**40)  # takes no room on disk
    with pytest.raises(
        ValueError, match=rf"{name} has 1,099,511,627,776 bytes, but a vocabulary has at most"
    ):
        read(tmp_path)
