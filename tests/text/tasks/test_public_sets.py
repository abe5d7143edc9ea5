"""Public sets from small local files in the form in which each was published; all sentences are our
own."""

import csv
import json
import re
import warnings

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from moe_lib.text.tasks import load_task, public_names, task_names
from moe_lib.text.tasks.public_sets import PUBLIC_SETS

PASSAGE = "The mill at Orla was built in 1802. It burned down."


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding, newline="\n")
    return path


def squad(start=30):
    answered = {
        "id": "q1",
        "question": "When?",
        "answers": [{"text": "1802", "answer_start": start}],
    }
    empty = {
        "id": "q2",
        "question": "By whom?",
        "answers": [],
        "is_impossible": True,
        "plausible_answers": [],
    }
    paragraphs = [{"context": PASSAGE, "qas": [{**answered, "is_impossible": False}, empty]}]
    return json.dumps({"version": "v2.0", "data": [{"title": "Orla", "paragraphs": paragraphs}]})


def test_squad_2(tmp_path):
    write(tmp_path / "train-v2.0.json", squad())
    write(tmp_path / "dev-v2.0.json", squad())
    task = load_task("public:squad_v2", path=tmp_path)
    assert set(task) == {"train", "validation"}
    assert task["train"].features == load_task("qa_spans", "train").features
    assert task["train"][0]["answers"] == {"text": ["1802"], "answer_start": [30]}
    assert task["train"][1] == {
        "id": "q2",
        "title": "Orla",
        "context": PASSAGE,
        "question": "By whom?",
        "answers": {"text": [], "answer_start": []},
    }
    # The Hub has the same rows as a table.
    task["train"].to_parquet(tmp_path / "train-00000-of-00001.parquet")
    again = load_task("public:squad_v2", "train", path=tmp_path / "train-00000-of-00001.parquet")
    assert again.to_list() == task["train"].to_list()


def test_an_answer_not_at_its_offset_is_left_out_with_a_warning(tmp_path):
    path = write(tmp_path / "dev-v2.0.json", squad(start=29))
    with pytest.warns(
        UserWarning,
        match="left out 1 with an answer that is not at its offset, first .*question 'q1'",
    ):
        assert load_task("public:squad_v2", "validation", path=path)["id"] == ["q2"]


def test_ag_news(tmp_path):
    path = write(
        tmp_path / "train.csv",
        '"3","Corn up","Say ""buyers"", in May"\n"4","New probe","It flies."\n',
    )
    rows = load_task("public:ag_news", "train", path=path)
    assert rows.features["label"].names == ["World", "Sports", "Business", "Sci/Tech"]
    assert rows["text"][0] == 'Corn up Say "buyers", in May' and rows["label"] == [2, 3]
    assert rows.column_names == load_task("market_sentiment", "test").column_names
    write(path, 'text,label\n"Corn up",2\n')  # the columns of the Hub
    assert load_task("public:ag_news", "train", path=path)["label"] == [2]
    write(path, '"5","Corn up","No such class"\n')
    with pytest.raises(ValueError, match=r"train\.csv: row 1 is .*wants a class from 1 to 4"):
        load_task("public:ag_news", path=path)


def test_tnews(tmp_path):
    lines = [
        {"label": "108", "label_desc": "news_edu", "sentence": "小学开学了", "keywords": ""},
        {"label": "116", "label_desc": "news_game", "sentence": "新游戏上线", "keywords": "游戏"},
    ]
    write(
        tmp_path / "train.json",
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines),
    )
    write(
        tmp_path / "test.json", json.dumps({"id": 0, "sentence": "没有标签", "keywords": ""}) + "\n"
    )
    write(tmp_path / "labels.json", '{"label": "108", "label_desc": "news_edu"}\n')
    with pytest.warns(UserWarning, match="left out 1 without a label"):
        task = load_task("public:tnews", path=tmp_path)
    assert set(task) == {"train"}  # the labels of the test part are not published
    label = task["train"].features["label"]
    assert [label.int2str(value) for value in task["train"]["label"]] == ["news_edu", "news_game"]
    assert label.num_classes == 15 and task["train"]["text"] == ["小学开学了", "新游戏上线"]


def test_financial_phrasebank(tmp_path):
    text = (
        "Sales at Mäki rose , mail ir@maki .@positive\nThe board meets .@neutral\nA loss "
        ".@negative\n"
    )
    path = write(tmp_path / "FinancialPhraseBank-v1.0" / "Sentences_AllAgree.txt", text, "latin-1")
    write(path.with_name("Sentences_50Agree.txt"), "Not read .@neutral\n", "latin-1")
    write(path.with_name("README.txt"), "Not read\n")
    rows = load_task("public:financial_phrasebank", "train", path=tmp_path)
    assert rows.features["label"] == load_task("market_sentiment", "train").features["label"]
    assert rows["text"] == ["Sales at Mäki rose , mail ir@maki .", "The board meets .", "A loss ."]
    assert rows["label"] == [2, 1, 0]
    write(path, "No label here\n")
    with pytest.raises(
        ValueError, match=r"Sentences_AllAgree\.txt: line 1 has no @; wants sentence@label"
    ):
        load_task("public:financial_phrasebank", path=path)
    write(path, "A loss .@bad\n")
    with pytest.raises(ValueError, match=r"line 1: \"label\" is 'bad'; wants one of negative"):
        load_task("public:financial_phrasebank", path=path)


def clinc():
    rows = {
        "train": [["pay my bill", "pay_bill"], ["tell a joke", "tell_joke"]],
        "oos_train": [["why rain", "oos"]],
    }
    rows |= {
        "val": [["a joke please", "tell_joke"]],
        "oos_val": [],
        "test": [["pay it", "pay_bill"]],
    }
    return rows | {"oos_test": [["who won", "oos"]]}


def test_clinc150(tmp_path):
    path = write(tmp_path / "data_full.json", json.dumps(clinc()))
    task = load_task("public:clinc150", path=path)
    assert task.num_rows == {"train": 3, "validation": 1, "test": 2}
    intent = task["train"].features["intent"]
    assert intent.names == [
        "pay_bill",
        "tell_joke",
        "out_of_scope",
    ]  # "oos" has the name that ours has
    assert task["test"]["intent"] == [0, 2]
    assert task["test"].column_names == load_task("support_intent", "test").column_names
    assert load_task("public:clinc150", path=tmp_path, limit=1)["test"].features["intent"] == intent
    write(path, json.dumps({**clinc(), "oos_val": [["only text"]]}))
    with pytest.raises(
        ValueError,
        match=r"data_full\.json: oos_val, row 1 is \['only text'\]; wants \[text, intent\]",
    ):
        load_task("public:clinc150", path=path)
    write(path, json.dumps({"train": []}))
    with pytest.raises(ValueError, match=r'data_full\.json: has no "oos_train"; it has train'):
        load_task("public:clinc150", path=path)


def test_banking77(tmp_path):
    with (tmp_path / "train.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [["text", "category"], ["My card, where is it?", "card_arrival"], ["hi", "atm"]]
        )
    rows = load_task("public:banking77", "train", path=tmp_path)
    assert rows.features["intent"].names == ["atm", "card_arrival"] and rows["intent"] == [1, 0]
    # Parquet files of the Hub have numbers, and the names beside them.
    features = Features(
        {"text": Value("string"), "label": ClassLabel(names=["b_second", "a_first"])}
    )
    Dataset.from_dict({"text": ["one"], "label": [0]}, features=features).to_parquet(
        tmp_path / "test.parquet"
    )
    rows = load_task("public:banking77", "test", path=tmp_path / "test.parquet")
    assert rows.features["intent"].int2str(rows[0]["intent"]) == "b_second"
    write(tmp_path / "train.csv", "text,label\nhello,11\n")
    with pytest.raises(
        ValueError, match=r"train\.csv: row 1 has the number '11' as its label; wants a name"
    ):
        load_task("public:banking77", path=tmp_path / "train.csv")


def test_opus_100(tmp_path):
    folder = tmp_path / "opus-100-corpus" / "v1.0" / "supervised" / "en-zh"
    for part in ("train", "dev", "test"):
        write(folder / f"opus.en-zh-{part}.en", "It rains.\u2028Still.\nGood.\n")
        write(folder / f"opus.en-zh-{part}.zh", "下雨了。\n好。\n")
    task = load_task("public:opus100_en_zh", path=tmp_path)
    ours = load_task("translation_en_zh", "train").features
    assert set(task) == {"train", "validation", "test"} and task["train"].features == ours
    assert list(task["test"]["translation"])[1] == {"en": "Good.", "zh": "好。"}
    assert load_task(
        "public:opus100_en_zh", path=folder / "opus.en-zh-dev.zh", limit=1
    ).num_rows == {"validation": 1}
    write(folder / "opus.en-zh-dev.zh", "下雨了。\n")
    with pytest.raises(
        ValueError, match=r"opus\.en-zh-dev\.en and opus\.en-zh-dev\.zh do not have the same number"
    ):
        load_task("public:opus100_en_zh", path=folder)
    (folder / "opus.en-zh-dev.zh").unlink()
    with pytest.raises(FileNotFoundError, match=r"opus\.en-zh-dev\.zh: no such file"):
        load_task("public:opus100_en_zh", path=folder)
    write(
        tmp_path / "train.jsonl", '{"translation": {"en": "Yes.", "zh": "是。"}}\n'
    )  # the columns of the Hub
    assert (
        load_task("public:opus100_en_zh", path=tmp_path / "train.jsonl")["train"][0]["translation"][
            "zh"
        ]
        == "是。"
    )


def test_xsum(tmp_path):
    body = (
        "[SN]URL[SN]\nhttp://example.org\n\n[SN]TITLE[SN]\nThe mill\n\n[SN]FIRST-SENTENCE[SN]\nA "
        "mill burned.\n\n"
    )
    write(
        tmp_path / "bbc-summary-data" / "11.summary",
        body + "[SN]RESTBODY[SN]\nIt stood in Orla.\nNobody was hurt.\n",
    )
    splits = write(
        tmp_path / "XSum-TRAINING-DEV-TEST-SPLIT-90-5-5.json", '{"test": ["11"], "train": []}'
    )
    task = load_task("public:xsum", path=tmp_path)
    assert task["test"].features == load_task("summaries", "test").features and set(task) == {
        "test"
    }
    row = {
        "id": "11",
        "text": "It stood in Orla.\nNobody was hurt.",
        "summary": "A mill burned.",
        "theme": "news",
    }
    assert task["test"][0] == row
    write(splits, '{"test": ["12"]}')
    with pytest.raises(FileNotFoundError, match=r"12\.summary: no such file"):
        load_task("public:xsum", path=splits)
    write(tmp_path / "test.jsonl", '{"document": "It stood.", "summary": "A mill.", "id": "7"}\n')
    assert load_task("public:xsum", "test", path=tmp_path / "test.jsonl")["text"] == ["It stood."]
    write(tmp_path / "test.jsonl", '{"document": "It stood.", "highlights": "A mill."}\n')
    with pytest.raises(
        ValueError, match=r'test\.jsonl: line 1 has no "summary"; it has document, highlights'
    ):
        load_task("public:xsum", path=tmp_path / "test.jsonl")


def test_lcsts(tmp_path):
    doc = "<doc id={}>\n{}    <summary>\n        {}\n    </summary>\n"
    doc += "    <short_text>\n        {}\n    </short_text>\n</doc>\n"
    rated = "    <human_label>{}</human_label>\n"
    write(tmp_path / "PART_I.txt", doc.format(0, "", "磨坊着火", "奥拉的磨坊昨晚着火。") * 2)
    rows = doc.format(0, rated.format(5), "好", "很好的摘要。") + doc.format(
        1, rated.format(2), "坏", "不好的摘要。"
    )
    write(tmp_path / "PART_III.txt", rows)
    task = load_task("public:lcsts", path=tmp_path)
    assert task.num_rows == {"train": 2, "test": 1}
    assert task["train"][0]["summary"] == "磨坊着火" and task["test"][0]["text"] == "很好的摘要。"
    write(tmp_path / "PART_III.txt", rows[:-8])
    with pytest.raises(ValueError, match=r"PART_III\.txt: line \d+: the file ends inside a <doc>"):
        load_task("public:lcsts", path=tmp_path)
    write(tmp_path / "PART_III.txt", "<doc id=0>\n</doc>\n")
    with pytest.raises(
        ValueError, match=r"PART_III\.txt: line 1: this <doc> has no <summary> and <short_text>"
    ):
        load_task("public:lcsts", path=tmp_path)


def test_wikitext(tmp_path):
    lines = (
        " \n = The mill = \n \n It stood in Orla . \n \n = = History = = \n \n It burned . \n = "
        "Orla = \n \n A town .\n"
    )
    write(tmp_path / "wiki.train.raw", lines)
    write(tmp_path / "wiki.valid.raw", " = One = \n \n Text .\n")
    task = load_task("public:wikitext", path=tmp_path)
    assert task["train"].column_names == ["text", "domain", "source"] and set(task) == {
        "train",
        "validation",
    }
    assert task["train"]["text"] == [
        "= The mill =\nIt stood in Orla .\n= = History = =\nIt burned .",
        "= Orla =\nA town .",
    ]
    assert set(task["train"]["domain"]) == {"wikitext"}
    (tmp_path / "wiki.train.raw").write_bytes(b" = A = \n caf\xe9 \n")
    with pytest.raises(ValueError, match=r"wiki\.train\.raw: line 2 is not valid UTF-8"):
        load_task("public:wikitext", path=tmp_path)


def test_tinystories(tmp_path):
    text = (
        "Once a hen sang.\n\nThe end.\n<|endoftext|>\nA fox "
        "slept.\n<|endoftext|>\n\n<|endoftext|>\nA last one.\n"
    )
    path = write(tmp_path / "TinyStoriesV2-GPT4-valid.txt", text)
    with pytest.warns(UserWarning, match="left out 1 with empty text"):
        rows = load_task("public:tinystories", "validation", path=path)
    assert rows["text"] == ["Once a hen sang.\n\nThe end.", "A fox slept.", "A last one."]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the limit comes before the empty story
        assert len(load_task("public:tinystories", "validation", path=path, limit=2)) == 2


def test_the_hub_gives_the_same_features(monkeypatch):
    """Stands in for the Hub: the columns and labels of its repositories, our rows."""
    asked = []
    features = Features(
        {"text": Value("string"), "intent": ClassLabel(names=["pay_bill", "oos", "tell_joke"])}
    )
    rows = Dataset.from_dict({"text": ["pay it", "why rain"], "intent": [0, 1]}, features=features)

    def load_dataset(repository, config=None, revision=None):
        asked.append((repository, config, revision))
        return DatasetDict({"train": rows, "test": rows.select([1])})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = load_task("public:clinc150")
    assert asked == [("clinc/clinc_oos", "plus", None)]
    assert task["train"].features["intent"].names == ["pay_bill", "out_of_scope"]
    assert task.num_rows == {"train": 2, "test": 1} and task["test"]["intent"] == [1]


@pytest.mark.parametrize("name", sorted(PUBLIC_SETS))
def test_out_of_reach_one_line_says_what_is_missing_and_what_to_use(monkeypatch, name):
    def load_dataset(*args, **kwargs):
        raise OSError("no route\nsecond line")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ConnectionError) as caught:
        load_task(f"public:{name}")
    message = str(caught.value)
    assert "\n" not in message and message.startswith(
        f"public:{name}: {PUBLIC_SETS[name].title} is not on this machine"
    )
    instead = re.search(r"use the course's own: load_(task|corpus)\('(\w+)'\)$", message)
    assert instead and (instead[2] in task_names() or instead[2] == "stories")


def test_wrong_names_files_and_folders_are_named(tmp_path):
    assert len(public_names()) == 11 and "public:wikitext" in public_names()
    with pytest.raises(ValueError, match="name: got 'public:squad'; wants one of public:ag_news"):
        load_task("public:squad")
    with pytest.raises(FileNotFoundError, match="absent: no such file"):
        load_task("public:xsum", path=tmp_path / "absent")
    with pytest.raises(ValueError, match=r"has no file of LCSTS; wants names such as PART_I\.txt"):
        load_task("public:lcsts", path=tmp_path)
    with pytest.raises(
        ValueError, match=r"train\.tsv: unknown file type '\.tsv'; wants one of \.parquet"
    ):
        load_task("public:banking77", path=write(tmp_path / "train.tsv", "text\tcategory\n"))
    empty = write(tmp_path / "train.jsonl", '{"text": " ", "label": "x"}\n')
    with (
        pytest.warns(UserWarning),
        pytest.raises(ValueError, match=r"public:banking77: found no usable rows in "),
    ):
        load_task("public:banking77", path=empty)
