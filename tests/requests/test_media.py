"""Pictures and sound of a row become content parts; rows reach no file that the job does not allow."""

from __future__ import annotations

import base64
import errno
import json
import os
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openai.types.chat import ChatCompletionUserMessageParam
from pydantic import TypeAdapter

from batch.model import Row
from batch.requests import media
from batch.requests.media import MAX_BYTES
from batch.requests.prompts import BadRow, Prompt, Prompter
from tests.fake_api import Step, answer_to
from tests.reading import rows, until

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
JPEG = b"\xff\xd8\xff\xe0" + b"j" * 60
GIF = b"GIF89a" + b"g" * 60
WEBP = b"RIFF\x24\0\0\0WEBPVP8 "
WAV = b"RIFF\x24\0\0\0WAVEfmt "
MP3 = b"ID3\x04" + b"m" * 60
BARE_MP3 = b"\xff\xfb\x90\x00" + b"m" * 60


def data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture(url: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


def sound(content: bytes, kind: str) -> dict[str, object]:
    encoded = base64.b64encode(content).decode()
    return {"type": "input_audio", "input_audio": {"data": encoded, "format": kind}}


@pytest.fixture
def folder(tmp_path):
    """An input's folder, with a secret beside it."""
    folder = tmp_path / "data"
    (folder / "pics").mkdir(parents=True)
    (folder / "pics/a.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)
    return folder


def asked(values: dict[str, object], folder: object = None, **prompt: Any) -> Any:
    """The content of the user's message, as it is sent."""
    row = Row(0, {"text": "What?", **values}, "in.jsonl:1", None, str(folder) if folder else None)
    question = Prompter(Prompt(user="{{ text }}", **prompt)).question(row)
    (message,) = msgspec.json.decode(msgspec.json.encode(question.messages))
    return message["content"]


def parts(value: object, folder: object = None, **more: object) -> list[dict[str, object]]:
    content = asked({"p": value}, folder, images="p", **more)
    assert content[0] == {"type": "text", "text": "What?"}
    return content[1:]


def refusal(value: object, folder: object = None, **prompt: object) -> str:
    with pytest.raises(BadRow) as caught:
        asked({"p": value}, folder, **(prompt or {"images": "p"}))
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "kind"), [(PNG, "png"), (JPEG, "jpeg"), (GIF, "gif"), (WEBP, "webp")]
)
def test_a_picture_is_what_its_first_bytes_say(tmp_path, content, kind):
    (tmp_path / "p.txt").write_bytes(content)
    sent = [picture(data_url(f"image/{kind}", content))]
    assert parts(content) == sent
    assert parts("p.txt", tmp_path) == sent


@pytest.mark.parametrize(("content", "kind"), [(WAV, "wav"), (MP3, "mp3"), (BARE_MP3, "mp3")])
def test_sound_is_what_its_first_bytes_say(tmp_path, content, kind):
    (tmp_path / "s").write_bytes(content)
    for value in (content, "s", data_url("audio/any", content)):
        assert asked({"s": value}, tmp_path, audio="s")[1:] == [sound(content, kind)]


@pytest.mark.parametrize(
    "url", ["https://host/a.png?x=1", "http://127.0.0.1:9/never", "data:image/png;base64,AAAA"]
)
def test_a_url_is_sent_as_it_is(url):
    assert parts(url) == [picture(url)]


def test_a_struct_of_bytes_and_path_is_its_bytes(folder):
    sent = [picture(data_url("image/png", PNG))]
    assert parts({"bytes": PNG, "path": "/nowhere.png"}) == sent
    assert parts({"bytes": None, "path": "pics/a.png"}, folder) == sent


def test_a_list_is_several_and_null_is_none(folder):
    sent = [picture("http://h/1"), picture(data_url("image/gif", GIF))]
    assert parts(["http://h/1", None, GIF]) == sent
    assert parts('["http://h/1", "http://h/2"]') == [picture("http://h/1"), picture("http://h/2")]
    for nothing in (None, "", [], [None]):
        assert asked({"p": nothing}, images="p") == "What?"


def test_parts_follow_the_text_in_the_order_of_the_columns():
    content = asked(
        {"a": "http://h/a", "b": "http://h/b", "s": WAV}, images=["b", "a"], audio=["s"]
    )
    assert content[1:] == [picture("http://h/b"), picture("http://h/a"), sound(WAV, "wav")]


def test_pictures_join_the_last_thing_the_user_of_a_row_says():
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Look:"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": [{"type": "text", "text": "This."}]},
    ]
    row = Row(0, {"messages": messages, "p": "http://h/a"}, "in:1")
    made = Prompter(Prompt(images="p")).question(row).messages or []
    assert made[2]["content"] == [{"type": "text", "text": "This."}, picture("http://h/a")]
    assert made[:2] == messages[:2]
    assert len(messages[2]["content"]) == 1


@pytest.mark.parametrize(
    "values",
    [{"body": {"messages": []}}, {"messages": [{"role": "system", "content": "Be brief."}]}],
)
def test_a_row_with_no_place_for_a_picture_is_refused(values):
    with pytest.raises(BadRow, match="pictures"):
        Prompter(Prompt(images="p")).question(Row(0, {**values, "p": "http://h/a"}, "in:1"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("../secret.png", "p: ../secret.png: a path with .. is not followed"),
        ("pics/../../secret.png", "is not followed"),
        ("{tmp}/secret.png", "secret.png is not below"),
        ("{tmp}/nothing.png", "nothing.png is not below"),
        ("/etc/passwd", "files_from"),
        ("link.png", "link.png is not below"),
        ("linked/secret.png", "is not below"),
        ("loop", "loop: "),
        ("pics/b.png", f"pics/b.png: {os.strerror(errno.ENOENT)}"),
        ("pics", "pics"),
        ("pipe", "pipe is no regular file"),
        ("large.png", "large.png is larger than 20 MiB"),
        ("plain.png", "plain.png is no PNG, JPEG, GIF or WebP"),
        ("a\0b", "p: "),
        ("x" * 5000, "x…: "),
        ("file:///etc/passwd", "such a URL"),
        ("s3://bucket/a.png", "such a URL"),
        (b"text", "a value is no PNG"),
        (PNG + bytes(MAX_BYTES), "a value is larger than 20 MiB"),
        ("data:" + "A" * 30_000_000, "a data: URL is larger than 20 MiB"),
        (17, "expected a path, URL or bytes, not int"),
        ({"url": "x"}, "not dict"),
        ({"bytes": None, "path": None}, "not NoneType"),
    ],
    ids=lambda value: str(value)[:20].replace("\0", "0"),
)
def test_what_a_row_may_not_send_is_named(folder, tmp_path, value, said):
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "plain.png").write_text("<svg/>")
    os.mkfifo(folder / "pipe")
    with (folder / "large.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    value = value.replace("{tmp}", str(tmp_path)) if isinstance(value, str) else value
    message = refusal(value, folder)
    assert message.startswith("p: ") and said in message
    assert len(message) < 500


def test_links_inside_the_folder_are_followed(folder):
    (folder / "again.png").symlink_to("pics/a.png")
    assert parts("again.png", folder) == parts(str(folder / "pics/a.png"), folder)


def test_a_folder_that_the_job_allows_is_looked_in_after_that_of_the_input(folder, tmp_path):
    (tmp_path / "a.gif").write_bytes(GIF)
    allowed = {"files_from": [str(tmp_path)]}
    assert parts("a.gif", folder, **allowed) == [picture(data_url("image/gif", GIF))]
    assert parts(str(tmp_path / "secret.png"), folder, **allowed) == parts("pics/a.png", folder)
    (folder / "a.gif").write_bytes(PNG)
    assert parts("a.gif", folder, **allowed) == [picture(data_url("image/png", PNG))]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("http://h/a.wav", "such a URL"),
        (PNG, "a value is no WAV or MP3"),
        ("data:audio/wav,plain", "no base64"),
        ("data:audio/wav;base64,%%%", "no base64"),
    ],
)
def test_sound_that_cannot_be_sent_is_named(value, said):
    assert said in refusal(value, audio="p")


def test_openai_s_own_types_hold_what_is_sent():
    content = asked({"p": [PNG, "http://h/a"], "s": WAV}, images="p", audio="s")
    message = {"role": "user", "content": content}
    kind = TypeAdapter(ChatCompletionUserMessageParam)
    kind.validate_python(message, extra="forbid")
    assert len(content) == 4


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(BadRow, match=r"no column 'photo'.*\(columns: text\)"):
        asked({}, images="photo")


def test_a_row_from_elsewhere_reaches_no_file(folder):
    assert "not below any folder" in refusal(str(folder / "pics/a.png"), None)


def test_long_base64_is_shown_by_its_length():
    long = data_url("image/png", PNG)
    body = {"messages": [{"content": [picture(long), sound(WAV * 9, "wav"), picture("data:,x")]}]}
    shown = media.shortened(json.dumps(body, separators=(",", ":")).encode())
    first, second, third = json.loads(shown)["messages"][0]["content"]
    encoded = long.partition(",")[2]
    assert first["image_url"]["url"] == (
        f"data:image/png;base64,{encoded[:24]}… ({len(encoded)} characters)"
    )
    assert second["input_audio"]["data"].endswith("characters)")
    assert third == picture("data:,x")


def job(api, tmp_path, more: str = "") -> tuple[str, ...]:
    (tmp_path / "job.toml").write_text(
        f'input = "data/in.parquet"\nrequest.model = "m"\nendpoint.base_url = "{api.url}"\n'
        f'prompt.user = "{{{{ text }}}}"\nprompt.images = "photo"\n{more}'
    )
    return ("run", "job.toml", "-o", "out")


def write(folder, photos: pa.Array) -> None:
    text = [f"text {number}" for number in range(len(photos))]
    pq.write_table(pa.table({"text": text, "photo": photos}), folder / "in.parquet")


def test_pictures_are_sent_and_are_part_of_the_question(api, batchmill, folder, tmp_path):
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    photos = [{"bytes": PNG, "path": None}, {"bytes": None, "path": "pics/a.png"}, None]
    write(folder, pa.array(photos, struct))
    api.script = {"text 1": [503, 503]}  # its picture is read again for each try
    command = job(api, tmp_path, "retry.first_delay = 0\n")
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    sent = {asked.prompt: asked.body["messages"][0]["content"] for asked in api.ledger}
    expected = picture(data_url("image/png", PNG))
    assert sent["text 0"][1:] == sent["text 1"][1:] == [expected]
    assert sent["text 2"] == "text 2"
    found = rows(tmp_path / "out")
    assert [row["completion"] for row in found] == [answer_to(f"text {n}") for n in range(3)]
    assert found[1]["attempts"] == 3
    assert batchmill("verify", "out", "--input").exit_code == 0
    (folder / "pics/a.png").write_bytes(JPEG)
    assert "row 1: what was asked" in batchmill("verify", "out", "--input").stdout
    assert batchmill("show", "out", "--row", 1).stdout.count("text 1") == 2
    changed = batchmill(*command, "--set", "prompt.audio=photo")
    assert changed.exit_code == 4 and "prompt.audio changed" in changed.stderr


def test_a_row_that_reaches_too_far_is_invalid_and_the_others_are_asked(
    api, batchmill, folder, tmp_path
):
    write(folder, pa.array(["pics/a.png", "../secret.png", "/etc/passwd"]))
    command = job(api, tmp_path)
    stopped = batchmill(*command)
    assert stopped.exit_code == 2
    assert "in.parquet row 1: photo: ../secret.png: a path with .." in stopped.stderr
    ended = batchmill(*command, "--on-bad-row", "record")
    assert ended.exit_code == 1, ended.stderr
    assert api.prompts() == {"text 0": 1}
    failed = rows(tmp_path / "out")[1:]
    assert [row["error_class"] for row in failed] == ["invalid_row"] * 2
    assert "/etc/passwd is not below" in failed[1]["error_message"]


def test_a_dry_run_shows_a_picture_by_its_length(api, batchmill, folder, tmp_path):
    write(folder, pa.array(["pics/a.png"]))
    shown = batchmill(*job(api, tmp_path), "--dry-run")
    assert shown.exit_code == 0, shown.stderr
    length = len(base64.b64encode(PNG))
    assert f"… ({length} characters)" in shown.stdout
    assert "data:image/png;base64,iVBORw0K" in shown.stdout
    assert len(shown.stdout) < 700


def test_a_picture_that_goes_away_between_tries_fails_its_row(api, start, folder, tmp_path):
    write(folder, pa.array(["pics/a.png"]))
    api.always = Step(503, delay=0.05)
    process = start(*job(api, tmp_path, "retry.first_delay = 0.2\n"))
    until(lambda: api.asked("text 0"), process)
    (folder / "pics/a.png").unlink()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1, stderr
    (row,) = rows(tmp_path / "out")
    assert [row["error_class"], row["attempts"] >= 1] == ["invalid_row", True]
    assert f"pics/a.png: {os.strerror(errno.ENOENT)}" in row["error_message"]
